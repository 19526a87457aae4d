"""Losses: a lost worker, result or fragment is made again here, with the same bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from hydrahive.core.errors import (
    FragmentError,
    HydrahiveError,
    LearnerLostError,
    LostError,
    RefusedWorkError,
)
from hydrahive.runtime.fleet.refs import Stock
from hydrahive.runtime.schedule.dataflow import Part, Taken
from hydrahive.runtime.schedule.hedging import Hedging
from hydrahive.runtime.schedule.in_flight import InFlight
from hydrahive.runtime.schedule.placement import balanced


class Recovery:
    """Makes what is lost again: what stands where it should goes on, the rest is walked from the last boundary."""

    def __init__(self, flight: InFlight, hedging: Hedging) -> None:
        """Nothing is lost yet."""
        self._flight, self._hedging = flight, hedging
        self._failures: Counter[tuple[int, int]] = Counter()
        self._failed_by: Counter[int] = Counter()
        self._losses_since_update = 0
        self._most_workers = flight.fleet.worker_count
        self._failed_at: int | None = None

    def note_update(self) -> None:
        """An update is done: losses before it no longer count."""
        self._losses_since_update = 0
        self._most_workers = self._flight.fleet.worker_count
        self._failed_by.clear()

    def recover_from(self, trouble: HydrahiveError) -> None:
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
        flight = self._flight
        flight.replayed.notice()
        self._count(trouble)
        stock = flight.fleet.stock()
        self._blame(stock.suspects, "it hung")
        done = stock.version
        failed = self._failed_again(done)
        flight.replayed_steps = 0
        flight.forget_behind(done)
        self._hedging.forget()
        if flight.config.replay:
            self._step_with_replay(stock)
        flight.rounds = {
            # What was said of a round may be there though what it was said of is gone.
            round_: [p for p in flight.rounds.get(round_, ()) if round_ != failed and self._is_good(p, stock)]
            for round_ in range(done, flight.next_round)
        }
        missing_snapshots = {at: self._missing_shards(at) for at in flight.snapshots}
        self._rehome(stock, trouble)
        for shard, worker in flight.homes.items():
            needed = {at for at, parts in flight.rounds.items() if not any(shard in part.shards for part in parts)}
            snapshots = {at for at, shards in missing_snapshots.items() if shard in shards}
            position = stock.positions.get(worker, {}).get(shard)
            self._mend(shard, worker, position, needed, snapshots)
        flight.fleet.note_homes(flight.homes, flight.next_round)
        flight.replayed.add(flight.replayed_steps, done)
        text = f"going on at update {done}: {flight.replayed_steps:,} env steps are simulated again"
        flight.fleet.listener("recovering", text, updates=done, env_steps=flight.replayed_steps)

    def _failed_again(self, done: int) -> int | None:
        """The update that was submitted and lost for the second time, the learner alive.

        Something that it was given is gone, though what was said of it is there: nothing of its round is trusted then.
        """
        submitted = any(pending.progress.updates > done for pending in self._flight.pending)
        before, self._failed_at = self._failed_at, done if submitted else None
        return done if submitted and before == done else None

    def _count(self, trouble: HydrahiveError) -> None:
        if isinstance(trouble, RefusedWorkError):
            self._flight.refuse(trouble)
            self._blame([(trouble.shard, trouble.round)], trouble.what)
        elif isinstance(trouble, FragmentError):
            self._flight.fleet.listener(
                "fragment_failed", f"{trouble}", shard=trouble.shard, round=trouble.round, traceback=trouble.trace
            )
            self._blame([(trouble.shard, trouble.round)], str(trouble))
            self._do_without_who_fails(trouble)
        self._losses_since_update += 1
        # Each of its workers may leave once, as spot nodes do that are taken away together.
        self._most_workers = max(self._most_workers, self._flight.fleet.worker_count)
        if self._losses_since_update > 2 * self._flight.config.faults.attempts + self._most_workers:
            raise HydrahiveError(
                f"{self._losses_since_update} losses without an update in between; the last: {trouble}"
            )

    def _do_without_who_fails(self, trouble: FragmentError) -> None:
        """Another account's worker on which one fragment after the other fails ends no run, and is done without.

        It may be the environment's fault, so nobody is held to account for it.
        """
        worker = self._flight.homes[trouble.shard]
        self._failed_by[worker] += 1
        if self._failed_by[worker] > 1 and not self._flight.fleet.is_own(worker):
            text = f"{self._failed_by[worker]} fragments failed there in a row; the last: {trouble.what}"
            failed = RefusedWorkError(trouble.shard, trouble.round, text, of_the_policy=True)
            self._flight.refuse(failed.by(worker))

    def _blame(self, fragments: Iterable[tuple[int, int]], why: str) -> None:
        for shard, round_ in fragments:
            self._failures[shard, round_] += 1
            attempts = self._failures[shard, round_]
            if attempts >= self._flight.config.faults.attempts:
                raise HydrahiveError(f"shard {shard}, round {round_} failed {attempts} times ({why})")

    def _step_with_replay(self, stock: Stock) -> None:
        """Have the replay's sample for the next update again.

        Raises:
            LearnerLostError: If the replay has taken more or less than the learner has learned.
        """
        flight = self._flight
        if stock.replay_position != stock.version:
            raise LearnerLostError(f"the replay is at round {stock.replay_position}, the learner at {stock.version}")
        flight.sample = flight.fleet.sample()
        flight.judged = flight.fleet.judged() if flight.config.algorithm.judges else None
        cuts = [pending.progress.updates for pending in flight.pending if pending.cut]
        flight.replay_cut_at = max([*cuts, flight.base_round()])

    def _is_good(self, part: Part, stock: Stock) -> bool:
        if part.worker not in stock.positions:
            return False
        try:
            self._flight.opened(part)
        except RefusedWorkError as refused:
            self._flight.refuse(refused)
            return False
        except (LostError, FragmentError):
            return False
        return True

    def _missing_shards(self, round_: int) -> set[int]:
        """The shards whose snapshot before a round was not taken, or was taken at another."""
        missing = set()
        for shard, taken in enumerate(self._flight.snapshots[round_]):
            try:
                self._flight.state_of(taken, shard, round_)
            except (LostError, FragmentError):
                missing.add(shard)
        return missing

    def _rehome(self, stock: Stock, trouble: HydrahiveError) -> None:
        flight = self._flight
        workers = flight.fleet.workers()
        alive = {shard: worker for shard, worker in flight.homes.items() if worker in stock.positions}
        if isinstance(trouble, FragmentError) and len(workers) > 1:
            elsewhere = [worker for worker in workers if worker != alive.get(trouble.shard)]
            alive[trouble.shard] = elsewhere[trouble.round % len(elsewhere)]
            flight.homes = {
                **balanced(alive, flight.config.shards, workers, flight.fleet.most_shards()),
                trouble.shard: alive[trouble.shard],
            }
        else:
            flight.homes = balanced(alive, flight.config.shards, workers, flight.fleet.most_shards())

    def _mend(self, shard: int, worker: int, position: int | None, needed: set[int], snapshots: set[int]) -> None:
        """Bring a shard to the next round on its worker, and make what is missing of it on the way."""
        flight = self._flight
        first = min(needed | snapshots, default=flight.next_round)
        taken: dict[int, dict[int, Taken]] = {}
        if (worker, shard) not in flight.leased_since:
            position = None  # it was left there by an earlier schedule, and may be of another line
        if position is None or not flight.base_round() <= position <= first:
            position = flight.restored(shard, worker)
        flight.walk(shard, worker, position, needed, snapshots, flight.rounds, taken)
        for at, given in taken.items():
            flight.snapshots[at][shard] = given[shard]
