"""What is told of a run while it is trained: rows of metrics, events, and the episodes that finish."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydrahive.core.sink import Sink
from hydrahive.core.state import SnapshotKind
from hydrahive.envs.vector import MOST_REMARKS
from hydrahive.runtime.accounting.run_accounts import RunAccounts
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.fleet.interface import Fleet
from hydrahive.runtime.runs.boundary import Progress
from hydrahive.runtime.schedule.dataflow import Replayed
from hydrahive.runtime.schedule.updates import Update
from hydrahive.runtime.training.clock import Clock
from hydrahive.telemetry.jsonl import JsonlSink


class Story:
    """Tells the run's sinks; every update is told once, however often it is done.

    Attributes:
        taken: How far the run is in it.
        sinks: Where it goes.
        lag_sum, lag_count: Of the updates' mean lags.
    """

    def __init__(
        self,
        config: RunConfig,
        fleet: Fleet,
        sinks: Sequence[Sink],
        accounts: RunAccounts,
        replayed: Replayed,
        clock: Clock,
        start: Progress,
    ) -> None:
        """Go on at `start`."""
        self._config, self._fleet, self._accounts = config, fleet, accounts
        self._replayed, self._clock = replayed, clock
        self.sinks, self.taken = sinks, start
        self.lag_sum, self.lag_count = 0.0, 0
        self._window: list[dict[str, float]] = []
        self._remarks: set[str] = set()
        self._facts: dict[str, list[float]] = {}
        self._window_start = (start.env_steps, clock.seconds)

    def begin(self) -> None:
        """Training begins now: the first row's speed is measured from here."""
        self._window_start = (self.taken.env_steps, self._clock.seconds)

    def take(self, update: Update) -> None:
        """Tell of an update that is done for the first time."""
        self.taken = update.progress
        self._tell_recovery()
        self._window.append(update.metrics)
        self.lag_sum, self.lag_count = self.lag_sum + update.metrics.get("lag", 0.0), self.lag_count + 1
        updates = update.progress.updates
        if update.replay:
            for event in update.replay.events:
                self.event(event.kind, event.text, updates=updates, episode=event.episode, **event.facts)
        self._tell_oddities(update)
        self._tell_episodes(update)
        for name, values in update.episodes.facts.items():
            self._facts.setdefault(name, []).extend(values)
        # A row at every boundary makes a resumed run's rows the same as an undisturbed one's.
        if updates % self._config.metrics_every == 0 or update.boundary:
            figures = update.replay.figures if update.replay else {}
            self.row(update.progress, self._clock.seconds, {**self._averages(update.progress), **figures})

    def sync(self) -> None:
        """Have what was written be on the disk, before a checkpoint says that the run has come so far."""
        for sink in self.sinks:
            if isinstance(sink, JsonlSink):
                sink.sync()

    def row(self, progress: Progress, seconds: float, values: dict[str, Any]) -> None:
        """Write a row of metrics: the run's counters, and these values."""
        row = {
            "rounds": progress.updates,
            "updates": progress.updates,
            "env_steps": progress.env_steps,
            "episodes": progress.episodes,
            "seconds": round(seconds, 3),
            "score_mean": progress.score_mean,
            "score_max": progress.score_max,
            "recoveries": self._replayed.recoveries,
            "replayed_env_steps": self._replayed.env_steps,
            "env_workers": self._fleet.worker_count,
            **self._accounts.figures(),
            **values,
        }
        for sink in self.sinks:
            sink.row(row)

    def event(self, kind: str, text: str, **fields: object) -> None:
        """Tell what has happened: a stable kind, a sentence for people, and the facts."""
        for sink in self.sinks:
            sink.event(kind, text, **fields)

    def _tell_oddities(self, update: Update) -> None:
        """Tell once what is odd about the environments, and that none of their episodes can end."""
        config, said = self._config, list(update.episodes.remarks)
        if update.boundary and config.env.snapshot_kind == SnapshotKind.RESTARTED and not update.progress.episodes:
            between = config.boundary_every * config.fragment_length
            said.append(
                f"no episode has ended: without snapshots all of them are cut each {between:,} steps; raise "
                f"boundary_every (now {config.boundary_every}) until that is more than an episode has"
            )
        for text in said:
            if text not in self._remarks and len(self._remarks) < MOST_REMARKS:
                self._remarks.add(text)
                self.event("environment", text, updates=update.progress.updates)

    def _tell_episodes(self, update: Update) -> None:
        """Write down the scores of what finished, from which a run's whole story is told afterwards."""
        told, progress = update.episodes, update.progress
        if not told.scores and not any(told.detours):
            return
        facts: dict[str, Any] = {
            "updates": progress.updates,
            "env_steps": progress.env_steps,
            "seconds": round(self._clock.seconds, 3),
            "episodes": progress.episodes,
            "scores": told.scores,
            "lengths": told.lengths,
        }
        if "epsilon" in update.metrics:
            facts["epsilon"] = update.metrics["epsilon"]
        if update.replay and "replay_gear" in update.replay.figures:
            facts["gear"] = update.replay.figures["replay_gear"]
        if any(told.detours):
            facts["detours"] = told.detours
        for sink in self.sinks:
            sink.episodes(facts)

    def _tell_recovery(self) -> None:
        seconds = self._replayed.back_after(self.taken.updates)
        if seconds is not None:
            text = f"recovered {seconds:.1f} s after the loss was noticed"
            self.event("recovered", text, seconds=round(seconds, 3), updates=self.taken.updates)

    def _averages(self, progress: Progress) -> dict[str, float]:
        """The window's mean figures (counters: the newest), and the speed over it."""
        newest = self._window[-1]
        names = dict.fromkeys(name for row in self._window for name in row)
        rows_with = {name: [row[name] for row in self._window if name in row] for name in names}
        averages = {name: sum(values) / len(values) for name, values in rows_with.items()}
        averages["gradient_steps"] = newest["gradient_steps"]
        if "lag_max" in newest:
            averages["lag_max"] = max(row["lag_max"] for row in self._window)
        steps, since = self._window_start
        now = self._clock.seconds
        averages["steps_per_second"] = (progress.env_steps - steps) / max(now - since, 1e-9)
        self._window, self._window_start = [], (progress.env_steps, now)
        # A fact may say nothing of an episode, as the way to a goal of one that reached none.
        told = {name: [value for value in values if value == value] for name, values in self._facts.items()}
        averages |= {f"episode_{name}": sum(values) / len(values) for name, values in told.items() if values}
        self._facts = {}
        return averages
