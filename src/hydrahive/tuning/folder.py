"""A sweep's folder: what it is, its trials, who copied whom, and who won."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from hydrahive.core.durable import read_json, write_whole
from hydrahive.core.errors import HydrahiveError, UsageError
from hydrahive.runtime.config.parsing import load_run_config
from hydrahive.runtime.config.plain import as_plain, dump, first_difference
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.runs.locks import locked
from hydrahive.runtime.runs.run_folder import RunFolder
from hydrahive.tuning.config import SweepConfig, sweep_of


@dataclass(frozen=True)
class Exploit:
    """A trial that went on as a copy of another.

    Attributes:
        trial: Its number.
        donor: The other's.
        donor_updates: Where the copy was taken.
        values: What it went on with, by key.
    """

    trial: int
    donor: int
    donor_updates: int
    values: dict[str, Any]


@dataclass(frozen=True)
class Decision:
    """What was decided at a milestone.

    Attributes:
        milestone: Which one.
        scores: Of the trials that were compared, by number; None for one that had nothing to show.
        exploits: Who copied whom.
    """

    milestone: int
    scores: dict[int, float | None]
    exploits: list[Exploit] = field(default_factory=list)

    @staticmethod
    def from_plain(plain: dict[str, Any]) -> Decision:
        """The inverse of `asdict` through JSON."""
        scores = {int(number): score for number, score in plain["scores"].items()}
        return Decision(plain["milestone"], scores, [Exploit(**one) for one in plain["exploits"]])


@dataclass(frozen=True)
class Ending:
    """How a trial ended.

    Attributes:
        status: `done`, `pruned`, `diverged`, `failed`, `out of memory` or `died`.
        reason: In words; empty where it is done.
        milestone: The last one it reached.
    """

    status: str
    reason: str
    milestone: int


class SweepFolder:
    """`<runs>/<sweep>/`: `sweep.yaml`, a run for each trial, `lineage.jsonl`, `winner.json`, `report.html`."""

    def __init__(self, path: Path) -> None:
        """The folder at `path`, which need not exist yet."""
        self.path, self.name = path, path.name
        self.lineage = path / "lineage.jsonl"
        self.winner = path / "winner.json"
        self.winner_config = path / "winner.yaml"
        self.warm_config = path / "warm.yaml"
        self.report = path / "report.html"
        self.study = path / "optuna.journal"
        self.tensorboard = path / "tb"

    def exists(self) -> bool:
        """Whether a sweep was begun here."""
        return (self.path / "sweep.yaml").is_file()

    def config(self) -> SweepConfig:
        """What the sweep is.

        Raises:
            HydrahiveError: If the file cannot be read.
        """
        path = self.path / "sweep.yaml"
        try:
            return sweep_of(yaml.safe_load(path.read_text("utf-8")))
        except (OSError, yaml.YAMLError, TypeError, ValueError) as error:
            raise HydrahiveError(f"{path} cannot be read: {error}") from None

    def refuse_run(self) -> None:
        """Keep a sweep out of a run's folder.

        Raises:
            UsageError: If a run lies there.
        """
        if RunFolder(self.path).exists():
            raise UsageError(f"--name: {self.name!r} is a run; choose another for the sweep")

    def is_portable(self) -> bool:
        """Whether its runs pin the CPU's instruction sets."""
        return load_run_config(self.path / "base.yaml").portable

    def create(self, config: SweepConfig, base: RunConfig) -> None:
        """Write down what the sweep is, and the run that it varies; one that was begun must be the same.

        Raises:
            UsageError: If it is another.
        """
        if self.exists():
            old, new = as_plain(self.config().settled()), as_plain(config)
            for key in ("cpus_per_trial", "attempts", *(() if config.search.depends_on_results else ("concurrent",))):
                del old[key], new[key]  # these change no trial
            changed = next(((key, old.get(key), new[key]) for key in new if old.get(key) != new[key]), None)
            changed = changed or first_difference(load_run_config(self.path / "base.yaml"), base)
            if changed:
                key, was, given = changed
                raise UsageError(
                    f"{key}: sweep {self.name!r} was begun with {was!r}, now {given!r} is given; choose another --name"
                )
        self.path.mkdir(parents=True, exist_ok=True)
        write_whole(self.path / "base.yaml", dump(base).encode())
        write_whole(self.path / "sweep.yaml", yaml.safe_dump(as_plain(config), sort_keys=False).encode())

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Keep other processes from running this sweep at the same time.

        Raises:
            UsageError: If one is already at it.
        """
        with locked(self.path / "lock", f"sweep {self.name!r} is being run by another process"):
            yield

    def run(self, name: str) -> RunFolder:
        """A trial's run."""
        return RunFolder(self.path / name)

    def decisions(self) -> list[Decision]:
        """What was decided so far, in order."""
        return [Decision.from_plain(plain) for plain in read_lines(self.lineage)]

    def decide(self, decision: Decision) -> None:
        """Write a decision down; from then on it stands."""
        append_line(self.lineage, asdict(decision))

    def ending(self, name: str) -> Ending | None:
        """How a trial ended; None if it has not."""
        plain = read_json(self.path / name / "ending.json")
        return Ending(**plain) if plain else None

    def end(self, name: str, ending: Ending) -> None:
        """Write down how a trial ended; once written, that stands."""
        if self.ending(name) is not None:
            return
        (self.path / name).mkdir(parents=True, exist_ok=True)
        write_whole(self.path / name / "ending.json", json.dumps(asdict(ending), indent=1).encode())

    def reports(self, name: str) -> list[dict[str, Any]]:
        """What a trial reported at its milestones, in order."""
        return read_lines(self.path / name / "milestones.jsonl")


def trial_name(number: int) -> str:
    """The run of a trial."""
    return f"trial-{number:03d}"


def again_name(number: int, seed: int) -> str:
    """The run of a trial that is trained again."""
    return f"again-{number:03d}-s{seed}"


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects in a file of JSON lines; a last line that is not whole was never written."""
    if not path.is_file():
        return []
    text = path.read_text("utf-8")
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def append_line(path: Path, plain: dict[str, Any]) -> None:
    """Add an object to a file of JSON lines, durably, and what a crash has cut short is dropped."""
    write_lines(path, [*read_lines(path), plain])


def write_lines(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write a file of JSON lines, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, "".join(json.dumps(row) + "\n" for row in rows).encode())
