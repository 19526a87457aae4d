"""What both schedules share: beginning at a boundary, cutting the run, and opening what the learner returned."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import NamedTuple

from hydrahive.core.errors import (
    DivergedError,
    FragmentError,
    HydrahiveError,
    LearnerLostError,
    LostError,
    OutOfStepError,
    RefusedWorkError,
)
from hydrahive.core.fragment import HERE, FragmentId, FragmentSummary
from hydrahive.core.receipt import told_digest
from hydrahive.core.state import State, nested, under
from hydrahive.ledger.posting import WorkerFacts
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.fleet.interface import Fleet
from hydrahive.runtime.fleet.refs import Ref
from hydrahive.runtime.roles.intake import Leased, shard_state, summaries
from hydrahive.runtime.roles.learner import Learned
from hydrahive.runtime.runs.boundary import Block, Boundary, Progress
from hydrahive.runtime.schedule.placement import Homes, balanced
from hydrahive.runtime.schedule.updates import Episodes, Update, Work


@dataclass(frozen=True)
class Part:
    """A worker's share of a round: references to its fragments and to their summaries.

    Attributes:
        worker: Who.
        shards: Which.
        round: Of the fragments that were asked for.
        version: That was to act.
        fragments: What came.
        summaries: What was said of it.
        leased_since: For each shard the round from which on the worker has had it.
    """

    worker: int
    shards: tuple[int, ...]
    round: int
    version: int
    fragments: Ref
    summaries: Ref
    leased_since: dict[int, int]

    @property
    def refs(self) -> tuple[Ref, Ref]:
        """Both."""
        return self.fragments, self.summaries


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
    lent: Mapping[int, str]
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
    """A run's dataflow from a boundary on: what both schedules share.

    Attributes:
        fleet: Carries out the calls.
        config: The run's.
        replayed: What losses have cost so far.
        progress: The run's after the update that was submitted last.
        weights: The versions that may still act, by number.
        pending: Updates that were submitted, oldest first.
        sample: What the replay gives with the next update; None without one.
        judged: What the last update found of replayed rows, where the replay is to hear of it.
        blocks: The replay's stored episodes at the newest boundary.
        replay_cut_at: The update of the newest cut for which the replay's state was asked.
        most_shards: How many a worker may hold, as it was when they were handed out last.
        homes: The worker of each shard.
        leased_since: From which round on a worker has had a shard.
    """

    def __init__(self, fleet: Fleet, config: RunConfig, start: Boundary | None, replayed: Replayed) -> None:
        """Begin at `start`, whose state the learner already has, or at version 0; hand out the shards."""
        self.fleet, self.config, self.replayed = fleet, config, replayed
        self.progress = start.progress if start else Progress()
        versions = start.versions() if start else {}
        self.weights = {version: fleet.put(array) for version, array in versions.items()} or {0: fleet.weights()}
        self.pending: deque[Pending] = deque()
        self._out_of_step: Counter[int] = Counter()
        self.sample = fleet.sample() if config.replay else None
        self.judged = fleet.judged() if config.replay and config.algorithm.judges else None
        self.blocks = start.blocks if start else ()
        self.replay_cut_at = self.progress.updates
        self.most_shards = fleet.most_shards()
        self.homes: Homes = balanced({}, config.shards, self.workers(), self.most_shards)
        self.leased_since: dict[tuple[int, int], int] = {}
        for shard, worker in self.homes.items():
            state = start.shard(shard) if start else None
            self.lease(worker, shard, state, int(state["round"][0]) if state else 0)
        fleet.note_homes(self.homes, self.progress.updates)

    def lease(self, worker: int, shard: int, state: State | Ref | None, round_: int) -> None:
        """Give a worker a shard that stands, or will stand, at this round."""
        self.fleet.adopt(worker, shard, state)
        self.leased_since[worker, shard] = round_

    def part(self, worker: int, shards: tuple[int, ...], round_: int, version: int, weights: Ref) -> Part:
        """Have a worker compute its shards' fragments of a round."""
        fragments, summaries = self.fleet.simulate(worker, shards, round_, version, weights)
        since = {shard: self.leased_since[worker, shard] for shard in shards}
        return Part(worker, shards, round_, version, fragments, summaries, since)

    def opened(self, part: Part) -> list[FragmentSummary]:
        """What a worker says of its share of a round, once it is known to be that.

        Raises:
            RefusedWorkError: If it is not; names the worker.
            LostError: If it, or the worker, is gone.
            FragmentError: If an environment failed.
        """
        about = self.fleet.waits.of("round", f"round {part.round} of env worker {part.worker}")
        try:  # once for each part of a round: no blocks that cost more than what is done in them
            with about:
                given = self.fleet.get(part.summaries)
        except HydrahiveError as error:
            raise self._held_to_account(error, part.worker, part.shards, part.round) from None
        try:
            return summaries(self.config, given, part.shards, part.round)
        except RefusedWorkError as refused:
            raise refused.by(part.worker) from None

    def state_of(self, taken: Taken, shard: int, round_: int) -> State:
        """A shard's state that a worker gives; `round_` -1: of any round. Errors as `opened`."""
        about = self.fleet.waits.of("state", f"the state of shard {shard}, from env worker {taken.worker}")
        try:
            with about:
                given = self.fleet.get(taken.state)
        except HydrahiveError as error:
            raise self._held_to_account(error, taken.worker, (shard,), round_) from None
        try:
            return shard_state(self.config, given, shard, round_)
        except RefusedWorkError as refused:
            raise refused.by(taken.worker) from None

    def _held_to_account(
        self, error: HydrahiveError, worker: int, shards: Sequence[int], round_: int
    ) -> HydrahiveError:
        """What a worker's own call raised is held against it, never against the run: what is to be raised instead.

        What the learner has raised comes through here, too: later rounds wait for the weights that it did not make. A
        worker's own word is taken for a failure of its own fragment and for its being out of step only.
        """
        self._raise_what_the_learner_did()
        is_its_own = isinstance(error, FragmentError) and error.shard in shards and error.round == round_
        is_told = is_its_own or (isinstance(error, LostError) and not isinstance(error, LearnerLostError))
        if isinstance(error, OutOfStepError):
            self._out_of_step[worker] += 1
            is_told = self._out_of_step[worker] <= self.config.faults.attempts
        if is_told and not isinstance(error, RefusedWorkError):
            return error
        return RefusedWorkError(shards[0], round_, str(error)).by(worker)

    def _raise_what_the_learner_did(self) -> None:
        """Raise what the first update under way that has failed has failed with; later calls failed because of it."""
        for pending in self.pending:
            if self.fleet.ready([pending.learned], 0):
                self._learned(pending)

    def refuse(self, refused: RefusedWorkError) -> None:
        """Do without whoever gave what was refused.

        Raises:
            DivergedError: If it is what a policy gives that has diverged, and who computed it is believed.
        """
        if refused.worker is None:  # the learner refused it, and that was heard through a call that waited for weights
            with suppress(RefusedWorkError), _attributed([part for pending in self.pending for part in pending.parts]):
                raise refused
        if refused.worker is None:
            raise HydrahiveError(f"nobody has given what was refused: {refused}")
        if refused.of_the_policy and self.fleet.is_own(refused.worker):
            raise DivergedError(f"what the policy gives is not finite any more ({refused.what})")
        self.fleet.refuse(refused.worker, refused)

    def submitted_update(
        self,
        version: int,
        parts: Sequence[Part],
        acting: int,
        acting_weights: Ref,
        opened: Sequence[Sequence[FragmentSummary]],
    ) -> Pending:
        """Have parts, of which `opened` was said, learned, and then taken by the replay; `cut` is to be filled in."""
        said = in_order(opened)
        told = {summary.shard: told_digest(summary) for summary in said} if self.fleet.may_audit else {}
        fragments = [part.fragments for part in parts]
        leased = [self._leased(part, of_part) for part, of_part in zip(parts, opened, strict=True)]
        with _attributed(parts):  # an inline fleet carries out the call at once
            weights, learned, judged = self.fleet.update(
                version, fragments, leased, self.sample, keep_actions=[self._is_audited(part) for part in parts]
            )
        replayed = None
        if self.config.replay:
            summaries_of = [part.summaries for part in parts]
            self.sample, replayed = self.fleet.take(version, fragments, summaries_of, leased, self.judged)
            self.judged = judged if self.config.algorithm.judges else None
        episodes = Episodes.of(said)
        lends, pairs = self.fleet.lends, zip(parts, opened, strict=True)
        lent = {one.shard: one.lent for part, of_part in pairs if lends(part.worker) for one in of_part}
        return Pending(
            learned, weights, self.progress, tuple(parts), acting, acting_weights, told, lent, episodes, replayed, None
        )

    def _is_audited(self, part: Part) -> bool:
        """Whether its actions may be asked for; of rounds before an audited worker had a shard they are made again."""
        worker, may_audit = part.worker, self.fleet.may_audit
        return may_audit and not self.fleet.lends(worker) and self.fleet.audits(self.fleet.facts(worker))

    def _leased(self, part: Part, said: Sequence[FragmentSummary]) -> tuple[Leased, ...]:
        """What was asked of a worker, whatever comes: its fragments are known by these names."""
        run_id, segment = self.fleet.run_id, self.fleet.segment
        return tuple(
            Leased(FragmentId(run_id, segment, part.round, shard), part.version, one.env_steps)
            for shard, one in zip(part.shards, said, strict=True)
        )

    def workers(self) -> list[int]:
        """Those that shards may lie on now.

        Raises:
            LostError: If there are none.
        """
        workers = self.fleet.workers()
        if not workers:
            raise LostError("all env workers are gone")
        return workers

    def settled(self, pending: Pending) -> Update:
        """Wait for an update, and for the cut behind it.

        Raises:
            HydrahiveError: What stopped the learner.
        """
        learned = self._learned(pending)
        self._out_of_step.clear()
        replayed = self.fleet.get(pending.replayed) if pending.replayed is not None else None
        with self.fleet.waits.of("boundary", f"what update {pending.progress.updates} can be continued from"):
            boundary = self._closed(pending.cut, pending.progress) if pending.cut else None
        givers = tuple(self.fleet.own(taken.worker) for taken in pending.cut.shards) if pending.cut else ()
        workers = tuple(
            tuple(self._doer(part.worker, shard, pending) for shard in part.shards) for part in pending.parts
        )
        since = tuple(part.leased_since for part in pending.parts)
        helped = tuple((self.fleet.facts(one.worker), one) for one in learned.helped)
        self.fleet.note_helped(learned.helped)
        acting = pending.acting, pending.acting_weights
        work = Work(learned.consumed, workers, since, *acting, pending.told, helped, pending.lent)
        return Update(
            learned.metrics, pending.progress, pending.weights, work, pending.episodes, replayed, boundary, givers
        )

    def _doer(self, worker: int, shard: int, pending: Pending) -> WorkerFacts:
        """Who is to be named for a fragment: whoever acted in it."""
        return self.fleet.own(worker) if pending.lent.get(shard) == HERE else self.fleet.facts(worker)

    def _learned(self, pending: Pending) -> Learned:
        about = self.fleet.waits.of("update", f"update {pending.progress.updates} of the learner")
        with about, _attributed(pending.parts):
            learned: Learned = self.fleet.get(pending.learned)
        return learned

    def _closed(self, cut: Cut, progress: Progress) -> Boundary:
        state: State = nested("learner", self.fleet.get(cut.learner))
        for shard, taken in enumerate(cut.shards):
            state |= nested(f"shards/{shard}", self.state_of(taken, shard, progress.updates))
        state |= nested("versions", {str(version): self.fleet.get(ref) for version, ref in cut.versions.items()})
        blocks: tuple[Block, ...] = ()
        if cut.replay is not None:
            replay = self.fleet.get(cut.replay)
            state |= nested("replay", under("state", replay))
            newest = Block({name: array.copy() for name, array in under("block", replay).items()})
            oldest = int(state["replay/oldest"][0])
            blocks = tuple(block for block in (*self.blocks, newest) if block.is_needed_from(oldest))
        if cut.resumable:
            self.blocks = blocks
        return Boundary({name: array.copy() for name, array in state.items()}, progress, cut.resumable, blocks)

    def replay_state(self) -> Ref | None:
        """The replay's state at a cut behind the update submitted last, with what is new since the cut before."""
        if not self.config.replay:
            return None
        state = self.fleet.replay_state(self.replay_cut_at)
        self.replay_cut_at = self.progress.updates
        return state

    def snapshot_shards(self) -> list[Taken]:
        """Every shard's state after all calls made so far, in shard order."""
        of_workers: dict[int, list[int]] = {}
        for shard in range(self.config.shards):
            of_workers.setdefault(self.homes[shard], []).append(shard)
        taken: dict[int, Taken] = {}
        for worker, shards in of_workers.items():
            states = self.fleet.snapshots(worker, shards)
            taken |= {shard: Taken(worker, state) for shard, state in zip(shards, states, strict=True)}
        return [taken[shard] for shard in range(self.config.shards)]

    def is_boundary(self, version: int) -> bool:
        """Whether the run is cut behind so many updates."""
        return version % self.config.boundary_every == 0

    def is_over(self, progress: Progress | None = None) -> bool:
        """Whether the run ends with what is submitted, or at `progress`."""
        at, stop = progress or self.progress, self.config.stop
        return at.env_steps >= stop.env_steps or (stop.updates is not None and at.updates >= stop.updates)


@contextmanager
def _attributed(parts: Sequence[Part]) -> Iterator[None]:
    """Say of refused work who gave it."""
    try:
        yield
    except RefusedWorkError as refused:
        given = (part for part in parts if refused.shard in part.shards and part.round == refused.round)
        part = next(given, None)
        raise (refused if part is None else refused.by(part.worker)) from None


def in_order(opened: Sequence[Sequence[FragmentSummary]]) -> list[FragmentSummary]:
    """The summaries of a round's parts, in shard order; those of one shard as they came."""
    return sorted((summary for part in opened for summary in part), key=lambda summary: summary.shard)
