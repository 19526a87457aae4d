"""Losses: a lost worker, result or fragment is made again here, with the same bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from hydrahive.core.errors import FragmentError, HydrahiveError, LearnerLostError, LostError
from hydrahive.runtime.fleet.refs import Stock
from hydrahive.runtime.schedule.dataflow import Part, Taken
from hydrahive.runtime.schedule.hedging import Hedging
from hydrahive.runtime.schedule.line import Line
from hydrahive.runtime.schedule.placement import balanced


class Recovery:
    """Makes what is lost again: what stands where it should goes on, the rest is walked from the last boundary."""

    def __init__(self, line: Line, hedging: Hedging) -> None:
        """Nothing is lost yet."""
        self._line, self._hedging = line, hedging
        self._failures: Counter[tuple[int, int]] = Counter()
        self._losses_since_update = 0

    def note_update(self) -> None:
        """An update is done: losses before it no longer count."""
        self._losses_since_update = 0

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
        line = self._line
        line.replayed.notice()
        self._count(trouble)
        stock = line.fleet.stock()
        self._blame(stock.suspects, "it hung")
        done = stock.version
        line.replayed_steps = 0
        line.forget_behind(done)
        self._hedging.forget()
        if line.config.replay:
            self._step_with_replay(stock)
        line.rounds = {
            round_: [part for part in line.rounds.get(round_, ()) if self._is_good(part, stock)]
            for round_ in range(done, line.next_round)
        }
        missing_snapshots = {at: self._missing_shards(at) for at in line.snapshots}
        self._rehome(stock, trouble)
        for shard, worker in line.homes.items():
            needed = {at for at, parts in line.rounds.items() if not any(shard in part.shards for part in parts)}
            snapshots = {at for at, shards in missing_snapshots.items() if shard in shards}
            position = stock.positions.get(worker, {}).get(shard)
            self._mend(shard, worker, position, needed, snapshots)
        line.fleet.note_homes(line.homes, line.next_round)
        line.replayed.add(line.replayed_steps, done)
        text = f"going on at update {done}: {line.replayed_steps:,} env steps are simulated again"
        line.fleet.listener("recovering", text, updates=done, env_steps=line.replayed_steps)

    def _count(self, trouble: HydrahiveError) -> None:
        if isinstance(trouble, FragmentError):
            self._line.fleet.listener(
                "fragment_failed", f"{trouble}", shard=trouble.shard, round=trouble.round, traceback=trouble.trace
            )
            self._blame([(trouble.shard, trouble.round)], str(trouble))
        self._losses_since_update += 1
        if self._losses_since_update > 2 * self._line.config.faults.attempts:
            raise HydrahiveError(
                f"{self._losses_since_update} losses without an update in between; the last: {trouble}"
            )

    def _blame(self, fragments: Iterable[tuple[int, int]], why: str) -> None:
        for shard, round_ in fragments:
            self._failures[shard, round_] += 1
            attempts = self._failures[shard, round_]
            if attempts >= self._line.config.faults.attempts:
                raise HydrahiveError(f"shard {shard}, round {round_} failed {attempts} times ({why})")

    def _step_with_replay(self, stock: Stock) -> None:
        """Have the replay's sample for the next update again.

        Raises:
            LearnerLostError: If the replay has taken more or less than the learner has learned.
        """
        line = self._line
        if stock.replay_position != stock.version:
            raise LearnerLostError(f"the replay is at round {stock.replay_position}, the learner at {stock.version}")
        line.sample = line.fleet.sample()
        cuts = [pending.progress.updates for pending in line.pending if pending.cut]
        line.replay_cut_at = max([*cuts, line.base_round()])

    def _is_good(self, part: Part, stock: Stock) -> bool:
        if part.worker not in stock.positions:
            return False
        try:
            self._line.fleet.get(part.summaries)
        except (LostError, FragmentError):
            return False
        return True

    def _missing_shards(self, round_: int) -> set[int]:
        """The shards whose snapshot before a round was not taken, or was taken at another."""
        missing = set()
        for shard, taken in enumerate(self._line.snapshots[round_]):
            try:
                taken_at = int(self._line.fleet.get(taken.state)["round"][0])
            except LostError:
                taken_at = -1
            if taken_at != round_:
                missing.add(shard)
        return missing

    def _rehome(self, stock: Stock, trouble: HydrahiveError) -> None:
        line = self._line
        workers = line.fleet.workers()
        alive = {shard: worker for shard, worker in line.homes.items() if worker in stock.positions}
        if isinstance(trouble, FragmentError) and len(workers) > 1:
            elsewhere = [worker for worker in workers if worker != alive.get(trouble.shard)]
            alive[trouble.shard] = elsewhere[trouble.round % len(elsewhere)]
            line.homes = {
                **balanced(alive, line.config.shards, workers),
                trouble.shard: alive[trouble.shard],
            }
        else:
            line.homes = balanced(alive, line.config.shards, workers)

    def _mend(self, shard: int, worker: int, position: int | None, needed: set[int], snapshots: set[int]) -> None:
        """Bring a shard to the next round on its worker, and make what is missing of it on the way."""
        line = self._line
        first = min(needed | snapshots, default=line.next_round)
        taken: dict[int, dict[int, Taken]] = {}
        if (worker, shard) not in line.leased_since:
            position = None  # it was left there by an earlier schedule, and may be of another line
        if position is None or not line.base_round() <= position <= first:
            position = line.restored(shard, worker)
        line.walk(shard, worker, position, needed, snapshots, line.rounds, taken)
        for at, given in taken.items():
            line.snapshots[at][shard] = given[shard]
