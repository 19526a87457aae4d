"""What both schedules share: beginning at a boundary, cutting the run, and opening what the learner returned."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hydrahive.core.errors import HydrahiveError, LostError
from hydrahive.core.fragment import FragmentSummary
from hydrahive.core.receipt import Consumed, told_digest
from hydrahive.core.state import State, nested, under
from hydrahive.core.watched import Frame
from hydrahive.ledger.posting import WorkerFacts
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.fleet.fleet import Fleet, Ref
from hydrahive.runtime.roles.learner import Learned
from hydrahive.runtime.roles.replay import ReplayTold
from hydrahive.runtime.runs.boundary import Block, Boundary, Progress
from hydrahive.runtime.schedule.placement import Homes, balanced


@dataclass(frozen=True)
class Work:
    """Who computed what an update learned from.

    Attributes:
        consumed: What the learner said of the fragments, by part.
        workers: Each part's worker.
        leased_since: For each part the rounds from which on its worker had its shards, by shard.
        acting: The version that acted, under a fixed lag.
        weights: That version.
        told: Digests of what the workers said of the fragments besides their bytes, by shard, where they are audited.
    """

    consumed: tuple[tuple[Consumed, ...], ...]
    workers: tuple[WorkerFacts, ...]
    leased_since: tuple[dict[int, int], ...]
    acting: int
    weights: Ref
    told: Mapping[int, str]

    def by_fragment(self) -> Iterator[tuple[Consumed, WorkerFacts, int]]:
        """Each consumed fragment, its worker, and the round from which on that had the shard."""
        for part, worker, since in zip(self.consumed, self.workers, self.leased_since, strict=True):
            for fragment in part:
                yield fragment, worker, since[fragment.id.shard]


@dataclass(frozen=True)
class Episodes:
    """What finished in a round, in shard order.

    Attributes:
        scores: Of the episodes.
        lengths: Theirs, in env steps.
        detours: What careful exploration did, as `hydrahive.policies.exploration.DETOUR_COUNTS`; empty without.
        facts: What the environments tell of the episodes besides, by name.
        frames: Pictures of what is watched.
        env_steps: Of the round's fragments, each with its shard.
    """

    scores: list[float]
    lengths: list[int]
    detours: list[int]
    facts: dict[str, list[float]]
    frames: tuple[Frame, ...] = ()
    env_steps: tuple[tuple[int, int], ...] = ()

    @staticmethod
    def of(summaries: Sequence[FragmentSummary]) -> Episodes:
        """What these fragments' summaries tell."""
        return Episodes(
            [score for summary in summaries for score in summary.scores.tolist()],
            [length for summary in summaries for length in summary.lengths.tolist()],
            np.sum([summary.detours for summary in summaries], axis=0).tolist(),
            {
                name: [value for summary in summaries for value in summary.facts.get(name, np.empty(0)).tolist()]
                for name in dict.fromkeys(name for summary in summaries for name in summary.facts)
            },
            tuple(frame for summary in summaries for frame in summary.frames),
            tuple((summary.shard, summary.env_steps) for summary in summaries),
        )


@dataclass(frozen=True)
class Update:
    """An update that is done.

    Attributes:
        metrics: The learner's figures.
        progress: The run's, after it.
        weights: The version it made.
        work: Who computed what it learned from.
        episodes: What finished in its round.
        replay: What the replay said after it; None without one.
        boundary: The cut behind it, where one is due.
        givers: At a cut, who gave each shard's state.
    """

    metrics: dict[str, float]
    progress: Progress
    weights: Ref
    work: Work
    episodes: Episodes
    replay: ReplayTold | None = None
    boundary: Boundary | None = None
    givers: tuple[WorkerFacts, ...] = ()


@dataclass(frozen=True)
class Part:
    """A worker's share of a round: references to its fragments and to their summaries.

    `leased_since` holds for each shard the round from which on the worker has had it.
    """

    worker: int
    shards: tuple[int, ...]
    fragments: Ref
    summaries: Ref
    leased_since: dict[int, int]


class Taken(NamedTuple):
    """A shard's state, and the worker that gives it."""

    worker: int
    state: Ref


@dataclass(frozen=True)
class Cut:
    """A boundary in the making; what it refers to may still be replaced by the same bytes from elsewhere."""

    learner: Ref
    shards: list[Taken]
    versions: dict[int, Ref]
    resumable: bool
    replay: Ref | None = None


@dataclass(frozen=True)
class Pending:
    """An update that was handed to the learner; `parts` are those that it learns from."""

    learned: Ref
    weights: Ref
    progress: Progress
    parts: tuple[Part, ...]
    acting: int
    acting_weights: Ref
    told: Mapping[int, str]
    episodes: Episodes
    replayed: Ref | None
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
        self._sample = fleet.sample() if config.replay else None
        self._blocks = start.blocks if start else ()
        self._replay_cut_at = self._progress.updates
        self._homes: Homes = balanced({}, config.shards, self._workers())
        self._leased_since: dict[tuple[int, int], int] = {}
        for shard, worker in self._homes.items():
            state = start.shard(shard) if start else None
            self._lease(worker, shard, state, int(state["round"][0]) if state else 0)
        fleet.note_homes(self._homes, self._progress.updates)

    def _lease(self, worker: int, shard: int, state: State | Ref | None, round_: int) -> None:
        """Give a worker a shard that stands, or will stand, at this round."""
        self._fleet.adopt(worker, shard, state)
        self._leased_since[worker, shard] = round_

    def _part(self, worker: int, shards: tuple[int, ...], round_: int, version: int, weights: Ref) -> Part:
        """Have a worker compute its shards' fragments of a round."""
        fragments, summaries = self._fleet.simulate(worker, shards, round_, version, weights)
        since = {shard: self._leased_since[worker, shard] for shard in shards}
        return Part(worker, shards, fragments, summaries, since)

    def _submitted_update(
        self,
        version: int,
        parts: Sequence[Part],
        acting: int,
        acting_weights: Ref,
        summaries: Sequence[FragmentSummary],
    ) -> Pending:
        """Have parts learned, and then taken by the replay; `cut` is still to be filled in."""
        told = {summary.shard: told_digest(summary) for summary in summaries} if self._fleet.may_audit else {}
        fragments = [part.fragments for part in parts]
        weights, learned = self._fleet.update(version, fragments, self._sample, keep_actions=self._fleet.may_audit)
        replayed = None
        if self._config.replay:
            self._sample, replayed = self._fleet.take(version, fragments, [part.summaries for part in parts])
        episodes = Episodes.of(summaries)
        return Pending(
            learned, weights, self._progress, tuple(parts), acting, acting_weights, told, episodes, replayed, None
        )

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
        learned: Learned = self._fleet.get(pending.learned)
        replayed = self._fleet.get(pending.replayed) if pending.replayed is not None else None
        boundary = self._closed(pending.cut, pending.progress) if pending.cut else None
        givers = tuple(self._fleet.facts(taken.worker) for taken in pending.cut.shards) if pending.cut else ()
        workers = tuple(self._fleet.facts(part.worker) for part in pending.parts)
        for part, worker, fragments in zip(pending.parts, workers, learned.consumed, strict=True):
            if fragments and sorted(fragment.id.shard for fragment in fragments) != sorted(part.shards):
                raise HydrahiveError(f"worker {worker.name} of {worker.owner} returned fragments that nobody asked for")
        since = tuple(part.leased_since for part in pending.parts)
        work = Work(learned.consumed, workers, since, pending.acting, pending.acting_weights, pending.told)
        return Update(
            learned.metrics, pending.progress, pending.weights, work, pending.episodes, replayed, boundary, givers
        )

    def _closed(self, cut: Cut, progress: Progress) -> Boundary:
        state: State = nested("learner", self._fleet.get(cut.learner))
        for shard, taken in enumerate(cut.shards):
            state |= nested(f"shards/{shard}", self._fleet.get(taken.state))
        state |= nested("versions", {str(version): self._fleet.get(ref) for version, ref in cut.versions.items()})
        blocks: tuple[Block, ...] = ()
        if cut.replay is not None:
            replay = self._fleet.get(cut.replay)
            state |= nested("replay", under("state", replay))
            newest = Block({name: array.copy() for name, array in under("block", replay).items()})
            oldest = int(state["replay/oldest"][0])
            blocks = tuple(block for block in (*self._blocks, newest) if block.is_needed_from(oldest))
        if cut.resumable:
            self._blocks = blocks
        return Boundary({name: array.copy() for name, array in state.items()}, progress, cut.resumable, blocks)

    def _replay_state(self) -> Ref | None:
        """The replay's state at a cut behind the update submitted last, with what is new since the cut before."""
        if not self._config.replay:
            return None
        state = self._fleet.replay_state(self._replay_cut_at)
        self._replay_cut_at = self._progress.updates
        return state

    def _snapshot_shards(self) -> list[Taken]:
        homes = [self._homes[shard] for shard in range(self._config.shards)]
        return [Taken(worker, self._fleet.snapshot(worker, shard)) for shard, worker in enumerate(homes)]

    def _is_boundary(self, version: int) -> bool:
        return version % self._config.boundary_every == 0

    def _is_over(self, progress: Progress | None = None) -> bool:
        at, stop = progress or self._progress, self._config.stop
        return at.env_steps >= stop.env_steps or (stop.updates is not None and at.updates >= stop.updates)
