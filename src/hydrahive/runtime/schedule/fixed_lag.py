"""The schedule that makes a run reproducible: which fragment is computed when, with which weights, and learned where.

It never depends on who computes a fragment, how often, or when: what is lost is made again with the same bytes.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field, replace

from hydrahive.core.errors import FragmentError, HydrahiveError, LearnerLostError, LostError
from hydrahive.core.fragment import FragmentSummary
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.fleet.fleet import Fleet, Ref, Stock
from hydrahive.runtime.runs.boundary import Boundary
from hydrahive.runtime.schedule.dataflow import Cut, Part, Replayed, Schedule, Taken, Update
from hydrahive.runtime.schedule.placement import Homes, balanced, groups

LOOK_SECONDS = 0.5
"""Time after which a wait for a round is interrupted to look for stragglers."""

HEDGE_SECONDS = 5.0
"""No worker is a straggler before it is later than this, and later than replaying its shards would take."""


@dataclass
class Hedge:
    """A second computation of a straggler's shards, elsewhere."""

    straggler: int
    homes: Homes
    rounds: dict[int, list[Part]] = field(default_factory=dict)
    snapshots: dict[int, dict[int, Taken]] = field(default_factory=dict)


class FixedLag(Schedule):
    """Round r acts with version max(0, r - lag) and is learned in update r, whoever computes it and when.

    Fragments are submitted as soon as their weights have a reference. An update is submitted only when its whole
    round is ready; until then a fragment's reference may be replaced by another that holds the same bytes.

    When something is lost, everything under way is waited for, and what is missing is made again: shards that
    still stand where they should go on, the others are restored from the last boundary and replayed with the
    versions that acted since. The learner never steps back.
    """

    def __init__(self, fleet: Fleet, config: RunConfig, start: Boundary | None, replayed: Replayed) -> None:
        """Begin at `start` or at round 0."""
        super().__init__(fleet, config, start, replayed)
        self._boundary = start
        self._settled_progress = self._progress
        self._next_round = self._progress.updates
        self._rounds: dict[int, list[Part]] = {}
        self._snapshots: dict[int, list[Taken]] = {}
        self._hedge: Hedge | None = None
        self._seconds_per_fragment = 0.0
        self._failures: Counter[tuple[int, int]] = Counter()
        self._losses_since_update = 0
        self._replayed_steps = 0
        self._warm: set[int] = set()

    def updates(self) -> Generator[Update, None, None]:
        """Train; one item for each update, in order, until `stop.env_steps` is reached.

        Raises:
            LearnerLostError: If the learner is gone; a new schedule must begin at the last boundary.
            HydrahiveError: If a fragment failed too often.
        """
        while not self._is_over() or self._pending:
            try:
                if not self._is_over():
                    self._spread()
                    self._submit_rounds()
                    self._submit_update()
                # A round that is ready had its weights, so all updates but the newest lag + 1 are done: no waiting.
                # Inline, every update is done when the call returns.
                under_way = self._config.lag + 1 if self._fleet.worker_count else 0
                while self._pending and (self._is_over() or len(self._pending) > under_way):
                    yield self._oldest_update()
            except LearnerLostError:
                raise
            except (LostError, FragmentError) as trouble:
                self._recover_from(trouble)

    def _submit_rounds(self) -> None:
        stop = self._config.stop.updates
        while self._next_round <= self._progress.updates + self._config.lag and self._next_round != stop:
            self._snapshot_if_due()
            round_ = self._next_round
            self._rounds[round_] = []
            for worker, shards in groups(self._homes).items():
                self._rounds[round_].append(self._simulated(worker, shards, round_))
            self._next_round += 1

    def _simulated(self, worker: int, shards: tuple[int, ...], round_: int) -> Part:
        acting = max(0, round_ - self._config.lag)
        return self._part(worker, shards, round_, acting, self._weights[acting])

    def _snapshot_if_due(self) -> None:
        """Take the shards between the last round submitted and the next, if the run is cut or may end there."""
        ahead = self._next_round - self._progress.updates
        most = self._progress.env_steps + ahead * self._config.max_steps_per_round
        may_end = most >= self._config.stop.env_steps
        if ahead and (may_end or self._is_boundary(self._next_round)):
            self._snapshots[self._next_round] = self._snapshot_shards()

    def _submit_update(self) -> None:
        version = self._progress.updates
        summaries = self._whole_round(version)
        progress = self._progress.after(summaries)
        is_due = self._is_over(progress) or self._is_boundary(version + 1)
        if is_due and version + 1 not in self._snapshots:
            assert self._next_round == version + 1, "a later round has begun and nobody took the shards before it"
            self._snapshots[version + 1] = self._snapshot_shards()
        acting = max(0, version - self._config.lag)
        pending = self._submitted_update(version, self._rounds[version], acting, self._weights[acting], summaries)
        self._progress, self._weights[version + 1] = progress, pending.weights
        self._pending.append(replace(pending, progress=progress, cut=self._cut() if is_due else None))

    def _whole_round(self, round_: int) -> list[FragmentSummary]:
        """Wait until every fragment of a round is ready, wherever it lies; their summaries in shard order."""
        began = time.monotonic()
        while not self._fleet.ready([ref for part in self._rounds[round_] for ref in _refs(part)], LOOK_SECONDS):
            self._look_for_stragglers(round_, time.monotonic() - began)
        if self._hedge:
            self._drop_hedge()
        opened = [summary for part in self._rounds[round_] for summary in self._fleet.get(part.summaries)]
        self._seconds_per_fragment = sum(summary.seconds for summary in opened) / len(opened)
        self._warm |= {part.worker for part in self._rounds[round_]}
        opened.sort(key=lambda summary: summary.shard)
        assert [summary.shard for summary in opened] == list(range(self._config.shards)), (
            "not one fragment of each shard"
        )
        return opened

    def _cut(self) -> Cut:
        """The cut behind the update that was just submitted."""
        version = self._progress.updates
        kept = range(max(0, version - self._config.lag), version + 1)
        versions = {v: self._weights[v] for v in kept}
        learner, is_boundary = self._fleet.learner_state(), self._is_boundary(version)
        return Cut(learner, self._snapshots[version], versions, is_boundary, self._replay_state())

    def _oldest_update(self) -> Update:
        update = self._settled(self._pending[0])
        self._pending.popleft()
        update.metrics["rounds_in_flight"] = self._next_round - update.progress.updates
        self._settled_progress = update.progress
        self._losses_since_update = 0
        updates = update.progress.updates
        self._rounds.pop(updates - 1, None)
        self._snapshots = {at: refs for at, refs in self._snapshots.items() if at > updates}
        if update.boundary and update.boundary.resumable:
            self._boundary = update.boundary
            first_kept = updates - self._config.lag
            self._weights = {version: ref for version, ref in self._weights.items() if version >= first_kept}
        return update

    # Elasticity: shards follow the workers.

    def _spread(self) -> None:
        """Move shards from workers that leave, and to workers that have joined."""
        workers = self._workers()
        if set(workers) == set(self._homes.values()) or (
            len(workers) > self._config.shards and self._is_spread(workers)
        ):
            return
        homes = balanced(self._homes, self._config.shards, workers)
        for shard, worker in homes.items():
            before = self._homes[shard]
            if worker != before:
                if not self._config.env.snapshot_kind.goes_on or self._fleet.audits(self._fleet.facts(before)):
                    # What it would hand over between two boundaries nobody could check, and an environment that is
                    # rebuilt would go on in another way: it is computed again.
                    self._walk(shard, worker, self._restored(shard, worker), set(), set(), {}, {})
                else:
                    self._lease(worker, shard, self._fleet.snapshot(before, shard), self._next_round)
                self._fleet.release(before, shard)
        self._homes = homes
        self._fleet.note_homes(homes, self._next_round)

    def _is_spread(self, workers: Iterable[int]) -> bool:
        held = Counter(self._homes.values())
        return set(held) <= set(workers) and max(held.values()) == 1

    # Stragglers: hedged, and the loser is ended.

    def _look_for_stragglers(self, round_: int, waited_s: float) -> None:
        late = [part for part in self._rounds[round_] if not self._fleet.ready([part.summaries], 0)]
        if self._hedge:
            self._judge_hedge(round_)
            return
        done = {part.worker for part in self._rounds[round_]} - {part.worker for part in late}
        stayers = sorted(done & set(self._fleet.workers()))
        for part in late if stayers else []:
            rounds = self._next_round - self._base_round()
            replay_s = rounds * self._seconds_per_fragment * len(part.shards)
            if waited_s > max(HEDGE_SECONDS, replay_s) and self._may_be_hedged(part):
                self._begin_hedge(part.worker, stayers, waited_s)
                return

    def _may_be_hedged(self, late: Part) -> bool:
        """Not while a worker compiles its first fragment, nor while its shards are moving: losing it mends that."""
        due = range(self._progress.updates, self._next_round)
        held = {part.shards for at in due for part in self._rounds[at] if part.worker == late.worker}
        return late.worker in self._warm and held == {self._held_by(late.worker)}

    def _begin_hedge(self, straggler: int, elsewhere: list[int], waited_s: float) -> None:
        shards = self._held_by(straggler)
        self.replayed.hedged += 1
        self._fleet.listener(
            "hedged",
            f"env worker {straggler} is {waited_s:.0f} s late; its shards {_listed(shards)} are computed a second time",
            worker=straggler,
            shards=list(shards),
        )
        self._hedge = hedge = Hedge(straggler, {shard: elsewhere[i % len(elsewhere)] for i, shard in enumerate(shards)})
        wanted = range(self._progress.updates, self._next_round)
        for shard, worker in hedge.homes.items():
            position = self._restored(shard, worker)
            self._walk(shard, worker, position, set(wanted), set(self._snapshots), hedge.rounds, hedge.snapshots)

    def _judge_hedge(self, round_: int) -> None:
        """The straggler is ended once its shards have been computed elsewhere; should it be first, the copy goes."""
        hedge = self._hedge
        assert hedge is not None
        if not self._fleet.ready([part.summaries for part in hedge.rounds[round_]], 0):
            return
        for at, parts in hedge.rounds.items():
            self._rounds[at] = [part for part in self._rounds[at] if part.worker != hedge.straggler] + parts
        for at, taken in hedge.snapshots.items():
            for shard, given in taken.items():
                self._snapshots[at][shard] = given
        self._homes |= hedge.homes
        self._hedge = None
        self._fleet.dismiss(hedge.straggler, "it was too late, its work is already done elsewhere")
        self._fleet.note_homes(self._homes, self._next_round)

    def _drop_hedge(self) -> None:
        assert self._hedge is not None
        for shard, worker in self._hedge.homes.items():
            if self._homes[shard] != worker:
                self._fleet.release(worker, shard)
        self._hedge = None

    def _held_by(self, worker: int) -> tuple[int, ...]:
        return tuple(shard for shard, home in self._homes.items() if home == worker)

    # Losses: what is missing is made again.

    def _recover_from(self, trouble: HydrahiveError) -> None:
        """Recover, also from what is lost meanwhile.

        Raises:
            LearnerLostError: If the learner is gone.
            HydrahiveError: If a fragment failed too often, or one loss follows the other.
        """
        while True:
            try:
                self._recover(trouble)
            except LearnerLostError:
                raise
            except (LostError, FragmentError) as more:
                trouble = more
            else:
                return

    def _recover(self, trouble: HydrahiveError) -> None:
        """Wait for everything under way, see what is there, and have the rest made again.

        Raises:
            LearnerLostError: If the learner is gone.
            HydrahiveError: If a fragment failed too often, or one loss follows the other.
        """
        self.replayed.notice()
        self._count(trouble)
        stock = self._fleet.stock()
        self._blame(stock.suspects, "it hung")
        done = stock.version
        self._replayed_steps = 0
        self._forget_what_failed(done)
        if self._config.replay:
            self._step_with_replay(stock)
        self._rounds = {
            round_: [part for part in self._rounds.get(round_, ()) if self._is_good(part, stock)]
            for round_ in range(done, self._next_round)
        }
        missing_snapshots = {at: self._missing_shards(at) for at in self._snapshots}
        self._rehome(stock, trouble)
        for shard, worker in self._homes.items():
            needed = {at for at, parts in self._rounds.items() if not any(shard in part.shards for part in parts)}
            snapshots = {at for at, shards in missing_snapshots.items() if shard in shards}
            position = stock.positions.get(worker, {}).get(shard)
            self._mend(shard, worker, position, needed, snapshots)
        self._fleet.note_homes(self._homes, self._next_round)
        self.replayed.add(self._replayed_steps, done)
        text = f"going on at update {done}: {self._replayed_steps:,} env steps are simulated again"
        self._fleet.listener("recovering", text, updates=done, env_steps=self._replayed_steps)

    def _count(self, trouble: HydrahiveError) -> None:
        if isinstance(trouble, FragmentError):
            self._fleet.listener(
                "fragment_failed", f"{trouble}", shard=trouble.shard, round=trouble.round, traceback=trouble.trace
            )
            self._blame([(trouble.shard, trouble.round)], str(trouble))
        self._losses_since_update += 1
        if self._losses_since_update > 2 * self._config.faults.attempts:
            raise HydrahiveError(
                f"{self._losses_since_update} losses without an update in between; the last: {trouble}"
            )

    def _blame(self, fragments: Iterable[tuple[int, int]], why: str) -> None:
        for shard, round_ in fragments:
            self._failures[shard, round_] += 1
            attempts = self._failures[shard, round_]
            if attempts >= self._config.faults.attempts:
                raise HydrahiveError(f"shard {shard}, round {round_} failed {attempts} times ({why})")

    def _forget_what_failed(self, done: int) -> None:
        """Go back to what the learner has done: later updates failed, and with them all that needed their weights."""
        while self._pending and self._pending[-1].progress.updates > done:
            self._pending.pop()
        self._progress = self._pending[-1].progress if self._pending else self._settled_progress
        assert self._progress.updates == done, "the learner is where nobody sent it"
        self._next_round = min(self._next_round, done + self._config.lag + 1)
        self._weights = {version: ref for version, ref in self._weights.items() if version <= done}
        self._snapshots = {at: refs for at, refs in self._snapshots.items() if at <= self._next_round}
        self._hedge = None

    def _step_with_replay(self, stock: Stock) -> None:
        """Have the replay's sample for the next update again.

        Raises:
            LearnerLostError: If the replay has taken more or less than the learner has learned.
        """
        if stock.replay_position != stock.version:
            raise LearnerLostError(f"the replay is at round {stock.replay_position}, the learner at {stock.version}")
        self._sample = self._fleet.sample()
        cuts = [pending.progress.updates for pending in self._pending if pending.cut]
        self._replay_cut_at = max([*cuts, self._base_round()])

    def _is_good(self, part: Part, stock: Stock) -> bool:
        if part.worker not in stock.positions:
            return False
        try:
            self._fleet.get(part.summaries)
        except (LostError, FragmentError):
            return False
        return True

    def _missing_shards(self, round_: int) -> set[int]:
        """The shards whose snapshot before a round was not taken, or was taken at another."""
        missing = set()
        for shard, taken in enumerate(self._snapshots[round_]):
            try:
                taken_at = int(self._fleet.get(taken.state)["round"][0])
            except LostError:
                taken_at = -1
            if taken_at != round_:
                missing.add(shard)
        return missing

    def _rehome(self, stock: Stock, trouble: HydrahiveError) -> None:
        workers = self._fleet.workers()
        alive = {shard: worker for shard, worker in self._homes.items() if worker in stock.positions}
        if isinstance(trouble, FragmentError) and len(workers) > 1:
            elsewhere = [worker for worker in workers if worker != alive.get(trouble.shard)]
            alive[trouble.shard] = elsewhere[trouble.round % len(elsewhere)]
            self._homes = {**balanced(alive, self._config.shards, workers), trouble.shard: alive[trouble.shard]}
        else:
            self._homes = balanced(alive, self._config.shards, workers)

    def _mend(self, shard: int, worker: int, position: int | None, needed: set[int], snapshots: set[int]) -> None:
        """Bring a shard to the next round on its worker, and make what is missing of it on the way."""
        first = min(needed | snapshots, default=self._next_round)
        taken: dict[int, dict[int, Taken]] = {}
        if (worker, shard) not in self._leased_since:
            position = None  # it was left there by an earlier schedule, and may be of another line
        if position is None or not self._base_round() <= position <= first:
            position = self._restored(shard, worker)
        self._walk(shard, worker, position, needed, snapshots, self._rounds, taken)
        for at, given in taken.items():
            self._snapshots[at][shard] = given[shard]

    def _restored(self, shard: int, worker: int) -> int:
        """Restore a shard from the last boundary on a worker, to be walked from there; the round it stands at."""
        self._lease(worker, shard, self._boundary.shard(shard) if self._boundary else None, self._base_round())
        self._replayed_steps += (self._next_round - self._base_round()) * self._config.max_steps_per_fragment
        return self._base_round()

    def _walk(
        self,
        shard: int,
        worker: int,
        position: int,
        needed: set[int],
        snapshots: set[int],
        rounds: dict[int, list[Part]],
        taken: dict[int, dict[int, Taken]],
    ) -> None:
        """Simulate a shard from `position` to the next round; keep the rounds and snapshots that are needed."""
        for round_ in range(position, self._next_round + 1):
            if round_ in snapshots:
                taken.setdefault(round_, {})[shard] = Taken(worker, self._fleet.snapshot(worker, shard))
            if round_ < self._next_round:
                part = self._simulated(worker, (shard,), round_)
                if round_ in needed:
                    rounds.setdefault(round_, []).append(part)

    def _base_round(self) -> int:
        return self._boundary.updates if self._boundary else 0


def _refs(part: Part) -> tuple[Ref, Ref]:
    return part.fragments, part.summaries


def _listed(shards: Iterable[int]) -> str:
    return ", ".join(map(str, shards))
