"""The snapshot report of a run, as ai-hydra's users know it: its parts, and how they read as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydrahive.policies.exploration import DETOUR_COUNTS
from hydrahive.telemetry.run_table import table
from hydrahive.telemetry.story import BUCKETS, Story


@dataclass(frozen=True)
class About:
    """What a run is, besides its story.

    Attributes:
        title: The run's name.
        facts: Who, when and how far, by name.
        config: The fully expanded config, by section (`run`, `env`, `policy`, ...), each dotted key with its value.
    """

    title: str
    facts: Mapping[str, str]
    config: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Section:
    """A part of the report: a table under a title, or a sentence where there is nothing to tabulate."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    nothing: str = ""


def sections(about: About, story: Story, every: int) -> list[Section]:
    """The report's tables, in order; `every`: episodes between two lines of a table over time."""
    config = [
        Section(f"Config: {name}", ("key", "value"), [(key, value_text(value)) for key, value in keys.items()])
        for name, keys in about.config.items()
    ]
    milestones = story.milestones(every)
    events = [event for event in story.events if event["kind"] != BUCKETS]
    parts = [
        Section("Run", ("", ""), list(about.facts.items())),
        *config,
        Section("Events", ("event", "what happened"), [(event["kind"], event["text"]) for event in events], "none"),
        Section(
            "High scores",
            ("episode", "score", "time", "epsilon"),
            [
                (f"{one.episode:,}", f"{one.score:g}", clock(one.seconds), _epsilon(one.epsilon))
                for one in story.records()
            ],
            "no episode has finished yet",
        ),
        Section(
            "Scores and gears",
            ("episode", "time", "gear", "sequence", "batch", "mean", "median", "recent mean", "recent median"),
            [
                (
                    f"{one.episode:,}",
                    clock(one.seconds),
                    *(map(str, one.gear) if one.gear else ("-", "-", "-")),
                    *(f"{value:.2f}" for value in (one.mean, one.median, one.recent_mean, one.recent_median)),
                )
                for one in milestones
            ],
            "no episode has finished yet",
        ),
    ]
    depth = max((len(one.buckets) for one in milestones), default=0)
    if depth:
        numbered = tuple(f"b{i + 1}" for i in range(depth))
        rows = [(f"{one.episode:,}", *map(str, one.buckets)) for one in milestones if one.buckets]
        parts.append(Section("Buckets: episodes by temporal depth", ("episode", *numbered), rows))
    if story.detours:
        header = ("episodes", *(name.replace("_", " ") for name in DETOUR_COUNTS))
        rows_of_detours = [(f"{hundred:,}", *(f"{count:,}" for count in counts)) for hundred, counts in story.detours]
        parts.append(Section("Careful exploration", header, rows_of_detours))
    return parts


def snapshot_text(about: About, parts: Sequence[Section]) -> str:
    """The report as plain text."""
    title = f"Snapshot of {about.title}"
    blocks = [f"{title}\n{'=' * len(title)}"]
    for part in parts:
        if not part.rows:
            body = part.nothing
        elif any(part.header):
            body = table(part.header, part.rows)
        else:
            width = max(len(row[0]) for row in part.rows)
            body = "\n".join(f"{name:<{width}}  {value}" for name, value in part.rows)
        blocks.append(f"{part.title}\n{'-' * len(part.title)}\n{body}")
    return "\n\n".join(blocks) + "\n"


def clock(seconds: float) -> str:
    """A time as hours, minutes and seconds, as in `1:02:03`."""
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def value_text(value: Any) -> str:
    """A config's value, for people."""
    return "none" if value is None else str(value)


def _epsilon(epsilon: float | None) -> str:
    return "-" if epsilon is None else f"{epsilon:.4f}"
