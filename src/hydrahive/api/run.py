"""A run, as Python programs see it."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hydrahive.runtime.config.plain import as_plain
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.runs.run_folder import RunFolder, find_run, runs_folder
from hydrahive.telemetry.jsonl import read_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hydrahive.api.policy import Policy


class Columns(dict[str, np.ndarray]):
    """Values side by side, by name; not a number where a row has none."""

    def __missing__(self, name: str) -> np.ndarray:
        """Name what there is instead."""
        near = difflib.get_close_matches(name, self, n=4, cutoff=0.4) or sorted(self)
        raise KeyError(f"{name!r} is no column; there are {', '.join(near)}")


class Run:
    """A run on the disk, finished or not; what it tells is read anew each time."""

    def __init__(self, run: str | Path, runs: str | Path | None = None) -> None:
        """Open a run by its name, or by its folder.

        Args:
            run: Its name or folder.
            runs: Folder or URI in which names are looked up; by default `$HYDRAHIVE_RUNS`, else `./runs`.

        Raises:
            UsageError: If there is none; names the nearest.
        """
        self._runs = runs
        self.folder: RunFolder = find_run(runs_folder(runs), str(run))

    def __repr__(self) -> str:
        summary = self.summary
        steps = f", {summary['env_steps']:,} env steps" if summary else ", not finished"
        return f"Run({self.name!r}{steps})"

    @property
    def name(self) -> str:
        """Its folder's."""
        return self.folder.name

    @property
    def path(self) -> Path:
        """Its folder."""
        return self.folder.path

    @cached_property
    def config(self) -> RunConfig:
        """With every key."""
        return self.folder.config()

    @property
    def summary(self) -> dict[str, Any] | None:
        """What it came to; None before its end."""
        return self.folder.read_summary()

    @property
    def finished(self) -> bool:
        """Whether it was trained to its end."""
        return self.summary is not None

    @property
    def digest(self) -> str:
        """Of its newest checkpoint's weights: alike wherever and however it was computed.

        Raises:
            UsageError: If it has no checkpoint yet.
        """
        from hydrahive.runtime.runs.newest import newest_checkpoint

        return newest_checkpoint(self.folder).digest

    @property
    def rows(self) -> Columns:
        """Its metrics: a column for each name, a row for each update that was told of; every row has all counters."""
        told: dict[int, dict[str, Any]] = {}
        rows: list[dict[str, Any]] = list(read_rows(self.folder.metrics))
        for row in rows:  # an evaluation's figures come in a row of their own, and later
            told[row["updates"]] = row | told.get(row["updates"], {})
        return as_columns(told[updates] for updates in sorted(told))

    @property
    def episodes(self) -> Columns:
        """Its finished episodes, in order: `score`, `length`, and the counters of the update that they ended in."""
        rows: list[dict[str, Any]] = list(read_rows(self.folder.episodes, "scores"))
        told = []
        for row in rows:
            counters = {name: value for name, value in row.items() if name not in ("scores", "lengths")}
            lengths = row.get("lengths") or [np.nan] * len(row["scores"])
            for score, length in zip(row["scores"], lengths, strict=False):
                told.append({**counters, "score": score, "length": length})
        return as_columns(told)

    @property
    def events(self) -> list[dict[str, Any]]:
        """What happened: `kind`, `text`, `time` and facts."""
        return list(read_rows(self.folder.events, "kind"))

    def resume(self, **overrides: Any) -> Run:
        """Go on with it, to another end for example: `run.resume(stop={"env_steps": 100_000})`; see `train`."""
        from hydrahive.api.training import Wanted, trained

        wanted = Wanted(self.folder.path / "config.yaml", self.name, self._place, "required")
        return Run(trained(wanted, overrides), self._place)

    def evaluate(
        self,
        episodes: int = 100,
        actions: Literal["convention", "greedy", "sampled"] | None = None,
        *,
        newest: bool = False,
    ) -> dict[str, float]:
        """Play its policy on held-out seeds: mean with its 95% interval, median, range, and what the game tells.

        Args:
            episodes: How many.
            actions: `greedy`, `sampled`, or as is usual for the environment; by default as the config says.
            newest: Whether to play its newest policy though its pilot has found a better one.
        """
        from hydrahive.runtime.inspect.playing import load_policy
        from hydrahive.runtime.roles.evaluation import evaluate

        config, policy, _ = load_policy(self.folder, newest=newest)
        if actions:
            config = dataclasses.replace(config, evaluate_actions=actions)
        return evaluate(config, policy, episodes).summary()

    def play(self, out: str | Path | None = None, episode: int = 0) -> Path:
        """Record a held-out episode as a GIF or MP4, by default as `episode.gif` in its folder; where it lies."""
        from hydrahive.runtime.inspect.playing import record_run

        path = self.folder.recording if out is None else Path(out)
        record_run(self.folder, path, episode)
        return path

    def export(self, out: str | Path | None = None, form: Literal["onnx", "torch"] = "onnx") -> dict[str, Any]:
        """Write its policy for programs that do not know Hydrahive; what it is.

        Args:
            out: A folder; by default `policy` in its own.
            form: ONNX, or a program of torch's; either with a `policy.py` that runs it.

        Raises:
            HydrahiveError: If it cannot be told so, or would act otherwise; nothing was written.
        """
        from hydrahive.runtime.inspect.exporting import export

        return export(self.folder, self.folder.path / "policy" if out is None else Path(out), form)

    def report(self, out: str | Path | None = None) -> Path:
        """Write it as one page, by default as `report.html` in its folder; where it lies."""
        from hydrahive.runtime.inspect.reports import write_report

        path = self.folder.path / "report.html" if out is None else Path(out)
        write_report(self.folder, path)
        return path

    def policy(self) -> Policy:
        """Its policy: its pilot's best, where it has one, else its newest."""
        from hydrahive.api.policy import Policy

        return Policy(self.folder)

    def plot(self, *names: str, x: str = "env_steps") -> Figure:
        """Curves of columns of its rows; a notebook shows them.

        Args:
            *names: Columns; by default `score_mean`, and `evaluation_mean` where there are evaluations.
            x: The column that they are drawn over.

        Raises:
            KeyError: If there is no such column.
        """
        from hydrahive.api.pictures import Shown

        rows = self.rows
        wanted = names or [name for name in ("score_mean", "evaluation_mean") if name in rows]
        figure = Shown(figsize=(6.4, 3.2), layout="constrained")
        axes = figure.subplots()
        for name in wanted:
            known = np.isfinite(rows[name])
            axes.plot(rows[x][known], rows[name][known], label=name.replace("_", " "))
        axes.set_xlabel(x.replace("_", " "))
        axes.set_title(self.name)
        axes.grid(visible=True, alpha=0.3)
        axes.legend()
        return figure

    def to_dict(self) -> dict[str, Any]:
        """Config and summary as plain data, for whatever keeps such things."""
        kept: dict[str, Any] = json.loads(json.dumps({"config": as_plain(self.config), "summary": self.summary}))
        return kept

    @property
    def _place(self) -> str | Path:
        return self.folder.path.parent if self._runs is None else self._runs


def as_columns(rows: Iterable[Mapping[str, Any]]) -> Columns:
    """Rows of numbers side by side: float64, or integers where all of a column are; texts are left out."""
    told = list(rows)
    names = dict.fromkeys(name for row in told for name, value in row.items() if isinstance(value, int | float))
    columns = Columns()
    for name in names:
        values = [row.get(name) for row in told]
        whole = all(isinstance(value, int) and not isinstance(value, bool) for value in values)
        numbers = [value if isinstance(value, int | float) else np.nan for value in values]
        columns[name] = np.array(numbers, np.int64 if whole else np.float64)
    return columns
