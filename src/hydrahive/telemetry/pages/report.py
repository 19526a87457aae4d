"""A run on one page: what it came to, its recording, curves, episodes, what happened, tokens, config."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from hydrahive.telemetry.pages.page import ACCENT, ALARM, FAINT, INK, folded, page, pictures, recording, table
from hydrahive.telemetry.pages.snapshot import of_scores
from hydrahive.telemetry.snapshot import About, clock, value_text
from hydrahive.telemetry.story import Story

COUNTERS = ("rounds", "updates", "env_steps", "episodes", "seconds", "gradient_steps", "learning_rate", "lag_max")
"""Columns that are told in other ways, or of which a curve says nothing."""

TROUBLE = ("lost", "recovering", "recovered", "failed", "diverged", "interrupted", "hedged", "tainted", "resumed")
"""What the kinds of events that tell of losses and what came of them begin or end with."""

Drawn = tuple[str, Callable[[Axes], None]]


@dataclass(frozen=True)
class Told:
    """What a report is made of.

    Attributes:
        about: What the run is.
        summary: What it came to, by name.
        story: What happened in it.
        evaluations: Its rows that hold evaluations.
        tokens: Who computed it: rows of (account, env steps, tokens).
        episode: A recording's bytes and its kind (`gif`, `mp4`); None without one.
    """

    about: About
    summary: Mapping[str, str]
    story: Story
    evaluations: Sequence[Mapping[str, Any]]
    tokens: Sequence[Sequence[str]]
    episode: tuple[bytes, str] | None


def report_page(told: Told) -> bytes:
    """The page."""
    about, story = told.about, told.story
    recorded = recording(*told.episode, "a held-out episode") if told.episode else ""
    parts = [
        f"<h1>{escape(about.title)}</h1>",
        f"<div class='beside'>{table(('', ''), list(told.summary.items()))}{recorded}</div>",
        f"<h2>Curves</h2>{pictures(_curves(told)) or '<p>no update was told of yet</p>'}",
        f"<h2>Episodes</h2>{pictures(of_scores(story.scores)) or '<p>no episode has finished yet</p>'}",
        f"<h2>Losses and recoveries</h2>{_happened(_troubles(story), 'none: nothing was lost')}",
        f"<h2>Who computed it</h2>{table(('account', 'env steps', 'tokens'), told.tokens, 'nobody was paid')}",
        folded("Everything that happened", _happened(story.events, "nothing")),
        *(
            folded(
                f"Config: {name}", table(("key", "value"), [(key, value_text(value)) for key, value in keys.items()])
            )
            for name, keys in about.config.items()
        ),
    ]
    return page(f"{about.title}: report", "".join(parts))


def _config(keys: Mapping[str, Any]) -> str:
    return table(("key", "value"), [(key, value_text(value)) for key, value in keys.items()])


def _curves(told: Told) -> list[Drawn]:
    rows = told.story.rows
    drawn: list[Drawn] = []
    if rows:
        drawn.append(("Score", partial(_score, told)))
    told_otherwise = {*COUNTERS, "score_mean", "score_max"}
    names = dict.fromkeys(["loss", *(key for row in rows for key in row)])
    for name in names:
        x, y = _column(rows, name)
        is_flat = len(y) < 2 or np.ptp(y) <= 1e-6 * np.abs(y).max()
        if not is_flat and name not in told_otherwise and not _is_the_machines(name):
            drawn.append((name.replace("_", " "), partial(_line, x, y)))
    return drawn


def _is_the_machines(name: str) -> bool:
    """Whether a column tells of accounts or of what surviving took, which tables tell."""
    return name.startswith(("credited_", "conservation_", "outstanding_", "evaluation_", "recover", "replayed_"))


def _column(rows: Sequence[Mapping[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Where a column has numbers: env steps, values."""
    told = [(row["env_steps"], row[name]) for row in rows if isinstance(row.get(name), int | float)]
    values = np.array(told, np.float64).reshape(-1, 2)
    kept = values[np.isfinite(values[:, 1])]
    return kept[:, 0], kept[:, 1]


def _score(told: Told, axes: Axes) -> None:
    x, y = _column(told.story.rows, "score_mean")
    axes.plot(x, y, color=FAINT, lw=1.2, label="training, last 100 episodes")
    if told.evaluations:
        x, y = _column(told.evaluations, "evaluation_mean")
        axes.plot(x, y, color=ACCENT, lw=1.6, marker=".", label="evaluation, held-out seeds")
    for event in _troubles(told.story):
        if event["kind"] == "recovering" and "updates" in event:
            at = next((row["env_steps"] for row in told.story.rows if row["updates"] >= event["updates"]), None)
            if at is not None:
                axes.axvline(at, color=ALARM, lw=0.8, ls=":")
    axes.set_xlabel("env steps (dotted: something was lost, and computed again)", fontsize=8)
    axes.legend(frameon=False, fontsize=8)


def _line(x: np.ndarray, y: np.ndarray, axes: Axes) -> None:
    axes.plot(x, y, color=ACCENT, lw=1)
    axes.axhline(y[-1], color=INK, lw=0.4, alpha=0.4)
    axes.set_xlabel(f"env steps; {y[-1]:,.4g} at the end", fontsize=8)


def _troubles(story: Story) -> list[dict[str, Any]]:
    return [event for event in story.events if any(part in event["kind"] for part in TROUBLE)]


def _happened(events: Sequence[Mapping[str, Any]], nothing: str) -> str:
    began = events[0].get("time", 0.0) if events else 0.0
    rows = [(clock(max(0.0, event.get("time", began) - began)), event["kind"], event["text"]) for event in events]
    return table(("after", "event", "what happened"), rows, nothing)
