"""The Trainer: drives the schedule, keeps the story, writes the boundaries, and ends the run well."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from hydrahive.core.durable import write_whole
from hydrahive.core.errors import DivergedError, HydrahiveError
from hydrahive.core.sink import Sink
from hydrahive.runtime.boundary import Boundary, Progress
from hydrahive.runtime.checkpoints import Checkpoint
from hydrahive.runtime.config import RunConfig
from hydrahive.runtime.dataflow import Update, schedule_of
from hydrahive.runtime.fleet import Fleet, Ref
from hydrahive.runtime.interrupts import Interrupted, Interrupts
from hydrahive.runtime.run_folder import Identity, RunFolder


class Trainer:
    """Trains one run to its end, from version 0 or from a checkpoint; the fleet already holds that state."""

    def __init__(
        self,
        config: RunConfig,
        folder: RunFolder,
        identity: Identity,
        fleet: Fleet,
        sinks: Sequence[Sink],
        start: Checkpoint | None,
    ) -> None:
        """Take over the run.

        Args:
            config: The run's.
            folder: Where it is written; claimed by this process.
            identity: What the run is.
            fleet: Learner and workers, with the state to begin at.
            sinks: Where its story goes.
            start: The checkpoint to begin at.
        """
        self._config, self._folder, self._identity, self._fleet, self._sinks = config, folder, identity, fleet, sinks
        self._start = start
        self._store = folder.checkpoints(config.checkpoint.keep)
        self._schedule = schedule_of(config, fleet, start.boundary if start else None)
        self._newest: Boundary | None = start.boundary if start else None
        self._newest_resumable = self._newest
        self._on_disk = {start.boundary.updates} if start else set()
        self._seconds_before = start.seconds if start else 0.0
        self._started = time.perf_counter()
        self._window: list[dict[str, float]] = []
        self._window_start = (0, 0.0)
        self._evaluations: list[tuple[Progress, float, Ref]] = []
        self._lags: list[float] = []

    def run(self, interrupts: Interrupts) -> dict[str, Any]:
        """Train until the run's stop and give its summary.

        Raises:
            Interrupted: After Ctrl-C or SIGTERM; the newest boundary is on disk.
            HydrahiveError: If something stopped the run; the newest boundary is on disk.
        """
        self._started = time.perf_counter()
        self._window_start = (self._newest.progress.env_steps if self._newest else 0, self._started)
        try:
            for update in self._schedule.updates():
                self._take(update)
                if update.boundary and self._at_boundary(update.boundary, interrupts):
                    break
            with interrupts.held_back():
                return self._finish()
        except Interrupted as interrupted:
            self._save_newest()
            self._event("interrupted", self._how_to_resume(f"stopped by {interrupted}"), signal=str(interrupted))
            raise
        except HydrahiveError as error:
            self._save_newest()
            kind = "diverged" if isinstance(error, DivergedError) else "failed"
            self._event(kind, self._how_to_resume(f"{kind}: {error}"))
            raise

    @property
    def _seconds(self) -> float:
        return self._seconds_before + time.perf_counter() - self._started

    def _take(self, update: Update) -> None:
        """Write what is due after an update."""
        updates = update.progress.updates
        self._window.append(update.metrics)
        self._lags.append(update.metrics["lag"])
        # A row at every boundary makes a resumed run's rows the same as an undisturbed one's.
        if updates % self._config.metrics_every == 0 or update.boundary:
            self._row(update.progress, self._seconds, self._averages(update.progress))
        every = self._config.evaluate_every
        if every and updates % every == 0:
            self._evaluations.append((update.progress, self._seconds, self._fleet.evaluate(update.weights)))
        self._write_evaluations(wait=False)

    def _averages(self, progress: Progress) -> dict[str, float]:
        """The window's mean figures (counters: the newest), and the speed over it."""
        newest = self._window[-1]
        averages = {name: sum(row[name] for row in self._window) / len(self._window) for name in newest}
        averages["gradient_steps"] = newest["gradient_steps"]
        averages["lag_max"] = max(row["lag_max"] for row in self._window)
        steps, since = self._window_start
        now = time.perf_counter()
        averages["steps_per_second"] = (progress.env_steps - steps) / max(now - since, 1e-9)
        self._window, self._window_start = [], (progress.env_steps, now)
        return averages

    def _row(self, progress: Progress, seconds: float, values: dict[str, Any]) -> None:
        row = {
            "rounds": progress.updates,
            "updates": progress.updates,
            "env_steps": progress.env_steps,
            "episodes": progress.episodes,
            "seconds": round(seconds, 3),
            "score_mean": progress.score_mean,
            "score_max": progress.score_max,
            **values,
        }
        for sink in self._sinks:
            sink.row(row)

    def _event(self, kind: str, text: str, **fields: object) -> None:
        for sink in self._sinks:
            sink.event(kind, text, **fields)

    def _at_boundary(self, boundary: Boundary, interrupts: Interrupts) -> bool:
        """Keep a boundary, write it if its turn has come, and say whether the run ends here."""
        self._newest = boundary
        if boundary.resumable:
            self._newest_resumable = boundary
            number = boundary.updates // self._config.boundary_every
            if number % self._config.checkpoint.every_boundaries == 0:
                with interrupts.held_back():
                    self._save(boundary)
        return boundary.progress.reached(self._config.stop, self._seconds)

    def _save(self, boundary: Boundary) -> None:
        if boundary.updates not in self._on_disk:
            self._store.write(boundary, self._seconds, self._identity.machine_class)
            self._on_disk.add(boundary.updates)

    def _save_newest(self) -> None:
        if self._newest_resumable:
            self._save(self._newest_resumable)

    def _how_to_resume(self, what: str) -> str:
        if self._newest_resumable is None:
            return f"{what}; no boundary was reached yet, the same command starts over"
        at = self._newest_resumable.progress.env_steps
        return f"{what}; the run is kept up to {at:,} env steps, the same command resumes it there"

    def _write_evaluations(self, *, wait: bool) -> None:
        while self._evaluations and self._fleet.ready([self._evaluations[0][2]], None if wait else 0):
            progress, seconds, ref = self._evaluations.pop(0)
            figures = self._fleet.get(ref).summary()
            values = {f"evaluation_{name}": value for name, value in figures.items()}
            self._row(progress, seconds, {"gradient_steps": progress.updates, **values})

    def _finish(self) -> dict[str, Any]:
        """Write the end of the run: the checkpoints it can be continued from and judged by, and the summary."""
        seconds = self._seconds
        self._write_evaluations(wait=True)
        assert self._newest is not None, "a run ends at a boundary"
        self._save_newest()
        self._save(self._newest)
        summary = summary_of(self._newest, seconds, self._identity, self._config, self._folder.name)
        if self._config.schedule == "free-running":
            summary["lag"] = sum(self._lags) / len(self._lags)
        summary |= {"workers": self._fleet.worker_count, "resumed": self._start is not None}
        write_whole(self._folder.summary, json.dumps(summary, indent=1).encode())
        self._event("finished", f"finished after {summary['env_steps']:,} env steps", digest=summary["digest"])
        return summary


def summary_of(
    boundary: Boundary, seconds: float, identity: Identity, config: RunConfig, run_name: str
) -> dict[str, Any]:
    """What a run came to, from its last boundary."""
    progress = boundary.progress
    _, gradient_steps, _ = (int(value) for value in boundary.learner()["counters"])
    return {
        "run": run_name,
        "run_id": identity.run_id,
        "env_steps": progress.env_steps,
        "updates": progress.updates,
        "gradient_steps": gradient_steps,
        "seconds": round(seconds, 3),
        "steps_per_second": round(progress.env_steps / seconds, 1) if seconds else None,
        "digest": boundary.digest(),
        "state_digest": boundary.state_digest(),
        "machine_class": identity.machine_class,
        "episodes": progress.episodes,
        "score_mean": progress.score_mean,
        "score_max": progress.score_max,
        "workers": config.workers if isinstance(config.workers, int) else None,
        "schedule": config.schedule,
        "reproducible": config.schedule == "fixed-lag" and config.stop.seconds is None,
        "lag": config.lag,
        "resumed": False,
    }
