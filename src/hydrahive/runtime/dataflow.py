"""What both schedules share: beginning at a boundary, cutting the run, and opening what the learner returned."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

from hydrahive.core.errors import LostError
from hydrahive.core.state import State, nested
from hydrahive.runtime.boundary import Boundary, Progress
from hydrahive.runtime.config import RunConfig
from hydrahive.runtime.fleet import Fleet, Ref
from hydrahive.runtime.placement import Homes, balanced


@dataclass(frozen=True)
class Update:
    """An update that is done.

    Attributes:
        metrics: The learner's figures.
        progress: The run's, after it.
        weights: The version it made.
        boundary: The cut behind it, where one is due.
    """

    metrics: dict[str, float]
    progress: Progress
    weights: Ref
    boundary: Boundary | None


@dataclass(frozen=True)
class Part:
    """A worker's share of a round: references to its fragments and to their summaries."""

    worker: int
    shards: tuple[int, ...]
    fragments: Ref
    summaries: Ref


@dataclass(frozen=True)
class Cut:
    """A boundary in the making; what it refers to may still be replaced by the same bytes from elsewhere."""

    learner: Ref
    shards: list[Ref]
    versions: dict[int, Ref]
    resumable: bool


@dataclass(frozen=True)
class Pending:
    """An update that was handed to the learner."""

    metrics: Ref
    weights: Ref
    progress: Progress
    cut: Cut | None


@dataclass
class Replayed:
    """What losses have cost so far.

    Attributes:
        recoveries: How often something lost was made again.
        env_steps: Env steps that were simulated again for it.
        hedged: Workers whose fragments were computed a second time because they were late.
    """

    recoveries: int = 0
    env_steps: int = 0
    hedged: int = 0
    _noticed_at: float | None = None
    _back_after: int | None = None

    def notice(self) -> None:
        """Something is lost."""
        if self._noticed_at is None:
            self._noticed_at = time.perf_counter()

    def add(self, env_steps: int, updates: int) -> None:
        """It is being made again; the run is back once the learner has done an update after `updates`."""
        self.recoveries += 1
        self.env_steps += env_steps
        self._back_after = updates

    def back_after(self, updates: int) -> float | None:
        """Seconds from noticing a loss to this update, if it is the first one that shows the run is back."""
        if self._noticed_at is None or self._back_after is None or updates <= self._back_after:
            return None
        seconds = time.perf_counter() - self._noticed_at
        self._noticed_at = self._back_after = None
        return seconds


class Schedule:
    """A run's dataflow from `start` on."""

    def __init__(self, fleet: Fleet, config: RunConfig, start: Boundary | None, replayed: Replayed) -> None:
        """Begin at `start`, whose state the learner already has, or at version 0; hand out the shards."""
        self._fleet, self._config, self.replayed = fleet, config, replayed
        self._progress = start.progress if start else Progress()
        versions = start.versions() if start else {}
        self._weights = {version: fleet.put(array) for version, array in versions.items()} or {0: fleet.weights()}
        self._pending: deque[Pending] = deque()
        self._homes: Homes = balanced({}, config.shards, self._workers())
        for shard, worker in self._homes.items():
            fleet.adopt(worker, shard, start.shard(shard) if start else None)
        fleet.note_homes(self._homes, self._progress.updates)

    def _workers(self) -> list[int]:
        workers = self._fleet.workers()
        if not workers:
            raise LostError("all env workers are gone")
        return workers

    def _settled(self, pending: Pending) -> Update:
        """Wait for an update, and for the cut behind it.

        Raises:
            HydrahiveError: What stopped the learner.
        """
        metrics: dict[str, float] = self._fleet.get(pending.metrics)
        boundary = self._closed(pending.cut, pending.progress) if pending.cut else None
        return Update(metrics, pending.progress, pending.weights, boundary)

    def _closed(self, cut: Cut, progress: Progress) -> Boundary:
        state: State = nested("learner", self._fleet.get(cut.learner))
        for shard, ref in enumerate(cut.shards):
            state |= nested(f"shards/{shard}", self._fleet.get(ref))
        state |= nested("versions", {str(version): self._fleet.get(ref) for version, ref in cut.versions.items()})
        return Boundary({name: array.copy() for name, array in state.items()}, progress, cut.resumable)

    def _snapshot_shards(self) -> list[Ref]:
        return [self._fleet.snapshot(self._homes[shard], shard) for shard in range(self._config.shards)]

    def _is_boundary(self, version: int) -> bool:
        return version % self._config.boundary_every == 0

    def _is_over(self, progress: Progress | None = None) -> bool:
        return (progress or self._progress).env_steps >= self._config.stop.env_steps
