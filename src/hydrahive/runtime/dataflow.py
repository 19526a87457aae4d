"""The schedules: which fragment is computed when, with which weights, and learned in which update."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from hydrahive.core.fragment import FragmentSummary
from hydrahive.core.state import State, nested
from hydrahive.runtime.boundary import Boundary, Progress
from hydrahive.runtime.config import RunConfig
from hydrahive.runtime.fleet import Fleet, Ref


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
class _Cut:
    """A boundary in the making."""

    learner: Ref
    shards: list[Ref]
    versions: dict[int, Ref]
    resumable: bool


@dataclass(frozen=True)
class _Pending:
    """An update that was handed to the learner."""

    metrics: Ref
    weights: Ref
    progress: Progress
    cut: _Cut | None


class Schedule:
    """What both schedules share: the beginning, and opening what the learner returned."""

    def __init__(self, fleet: Fleet, config: RunConfig, start: Boundary | None) -> None:
        """Begin at `start`, whose state the fleet already has, or at version 0."""
        self._fleet, self._config = fleet, config
        self._progress = start.progress if start else Progress()
        versions = start.versions() if start else {}
        self._weights = {version: fleet.put(array) for version, array in versions.items()} or {0: fleet.weights()}
        self._pending: deque[_Pending] = deque()

    def _settled(self, pending: _Pending) -> Update:
        """Wait for an update, and for the cut behind it.

        Raises:
            HydrahiveError: What stopped the learner.
        """
        metrics: dict[str, float] = self._fleet.get(pending.metrics)
        boundary = self._closed(pending.cut, pending.progress) if pending.cut else None
        return Update(metrics, pending.progress, pending.weights, boundary)

    def _closed(self, cut: _Cut, progress: Progress) -> Boundary:
        state: State = nested("learner", self._fleet.get(cut.learner))
        for shard, ref in enumerate(cut.shards):
            state |= nested(f"shards/{shard}", self._fleet.get(ref))
        state |= nested("versions", {str(version): self._fleet.get(ref) for version, ref in cut.versions.items()})
        return Boundary({name: array.copy() for name, array in state.items()}, progress, cut.resumable)


class FixedLag(Schedule):
    """Round r acts with version max(0, r - lag) and is learned in update r, whoever computes it and when.

    Fragments are submitted as soon as their weights have a reference. An update is submitted only when its whole
    round is ready; until then a fragment's reference could be replaced by another that holds the same bytes.
    """

    def __init__(self, fleet: Fleet, config: RunConfig, start: Boundary | None) -> None:
        """Begin at `start` or at round 0."""
        super().__init__(fleet, config, start)
        self._next_round = self._progress.updates
        self._rounds: deque[list[tuple[Ref, Ref]]] = deque()
        self._snapshots: dict[int, list[Ref]] = {}

    def updates(self) -> Generator[Update, None, None]:
        """Train; one item for each update, in order, until `stop.env_steps` is reached."""
        lag, last = self._config.lag, False
        while not last:
            self._submit_rounds()
            parts, summaries = self._oldest_round()
            version = self._progress.updates
            self._progress = self._progress.after(summaries)
            last = self._progress.env_steps >= self._config.stop.env_steps
            self._weights[version + 1], metrics = self._fleet.update(version, parts)
            cut = self._cut() if last or self._is_boundary(version + 1) else None
            self._pending.append(_Pending(metrics, self._weights[version + 1], self._progress, cut))
            self._weights.pop(version - lag, None)
            # A round that is ready had its weights, so all updates but the newest lag + 1 are done: no waiting.
            # Inline, every update is done when the call returns.
            under_way = lag + 1 if self._fleet.worker_count else 0
            while self._pending and (last or len(self._pending) > under_way):
                yield self._settled(self._pending.popleft())

    def _submit_rounds(self) -> None:
        version, lag = self._progress.updates, self._config.lag
        while self._next_round <= version + lag:
            self._snapshot_if_due()
            round_ = self._next_round
            acting = max(0, round_ - lag)
            groups = self._fleet.groups()
            self._rounds.append([self._fleet.simulate(g, round_, acting, self._weights[acting]) for g in groups])
            self._next_round += 1

    def _snapshot_if_due(self) -> None:
        """Take the shards between the last round submitted and the next, if the run is cut or may end there."""
        ahead = self._next_round - self._progress.updates
        most = self._progress.env_steps + ahead * self._config.max_steps_per_round
        may_end = most >= self._config.stop.env_steps
        if ahead and (may_end or self._is_boundary(self._next_round)):
            self._snapshots[self._next_round] = self._snapshot_shards()

    def _snapshot_shards(self) -> list[Ref]:
        return [self._fleet.snapshot(shard) for shard in range(self._config.shards)]

    def _oldest_round(self) -> tuple[list[Ref], list[FragmentSummary]]:
        """Wait until every fragment of the oldest round is ready, wherever it lies."""
        parts, summaries = zip(*self._rounds.popleft(), strict=True)
        self._fleet.ready([*parts, *summaries], None)
        opened = [summary for ref in summaries for summary in self._fleet.get(ref)]
        return list(parts), sorted(opened, key=lambda summary: summary.shard)

    def _cut(self) -> _Cut:
        """The cut behind the update that was just submitted."""
        version = self._progress.updates
        shards = self._snapshots.pop(version, None)
        if shards is None:
            assert self._next_round == version, "a later round has begun and nobody took the shards before it"
            shards = self._snapshot_shards()
        self._snapshots = {at: refs for at, refs in self._snapshots.items() if at > version}
        kept = range(max(0, version - self._config.lag), version + 1)
        versions = {v: self._weights[v] for v in kept}
        return _Cut(self._fleet.learner_state(), shards, versions, self._is_boundary(version))

    def _is_boundary(self, version: int) -> bool:
        return version % self._config.boundary_every == 0


class FreeRunning(Schedule):
    """The exception: every worker always acts with the newest weights, and fragments are learned as they come.

    Not reproducible; the lag is measured instead of decided. Here to show what reproducibility costs.
    """

    AHEAD = 2
    """Rounds of a worker under way, and updates under way: enough that nobody waits for a message."""

    def __init__(self, fleet: Fleet, config: RunConfig, start: Boundary | None) -> None:
        """Begin at `start` or at version 0."""
        super().__init__(fleet, config, start)
        self._acting = self._progress.updates
        self._next_rounds = {group: int(start.shard(group[0])["round"][0]) if start else 0 for group in fleet.groups()}
        self._under_way: dict[Ref, tuple[tuple[int, ...], Ref]] = {}

    def updates(self) -> Generator[Update, None, None]:
        """Train; one item for each update, in order, until `stop.env_steps` is reached."""
        for group in self._next_rounds:
            for _ in range(self.AHEAD):
                self._submit(group)
        last = False
        while not last:
            parts, summaries = self._about_a_round()
            version = self._progress.updates
            self._progress = self._progress.after(summaries)
            last = self._progress.env_steps >= self._config.stop.env_steps
            weights, metrics = self._fleet.update(version, parts)
            self._weights[version + 1] = weights
            boundary = (version + 1) % self._config.boundary_every == 0
            cut = self._cut() if last or boundary else None
            self._pending.append(_Pending(metrics, weights, self._progress, cut))
            while self._pending and (last or len(self._pending) > self.AHEAD):
                yield self._settled(self._pending.popleft())

    def _about_a_round(self) -> tuple[list[Ref], list[FragmentSummary]]:
        """At least as many fragments as a round has, whichever come first."""
        parts: list[Ref] = []
        summaries: list[FragmentSummary] = []
        while len(summaries) < self._config.shards:
            for pending in self._pending:
                if self._fleet.ready([pending.metrics], 0):
                    self._acting = pending.progress.updates
            self._weights = {version: ref for version, ref in self._weights.items() if version >= self._acting}
            ref = self._fleet.any_ready(list(self._under_way))[0]
            group, part = self._under_way.pop(ref)
            parts.append(part)
            summaries += self._fleet.get(ref)
            self._submit(group)
        return parts, summaries

    def _submit(self, group: tuple[int, ...]) -> None:
        weights = self._weights[self._acting]
        part, summaries = self._fleet.simulate(group, self._next_rounds[group], self._acting, weights)
        self._under_way[summaries] = (group, part)
        self._next_rounds[group] += 1

    def _cut(self) -> _Cut:
        version = self._progress.updates
        shards = [self._fleet.snapshot(shard) for shard in range(self._config.shards)]
        return _Cut(self._fleet.learner_state(), shards, {version: self._weights[version]}, True)


def schedule_of(config: RunConfig, fleet: Fleet, start: Boundary | None) -> FixedLag | FreeRunning:
    """The configured schedule, beginning at `start`."""
    kinds: dict[str, Any] = {"fixed-lag": FixedLag, "free-running": FreeRunning}
    schedule: FixedLag | FreeRunning = kinds[config.schedule](fleet, config, start)
    return schedule
