"""Stragglers: their shards are computed a second time elsewhere, and who comes second is ended."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from hydrahive.core.errors import FragmentError, LostError
from hydrahive.runtime.schedule.dataflow import Part, Taken
from hydrahive.runtime.schedule.in_flight import InFlight
from hydrahive.runtime.schedule.placement import Homes

HEDGE_SECONDS = 5.0
"""No worker is a straggler before it is later than this, and later than replaying its shards would take."""


@dataclass
class Hedge:
    """A second computation of a straggler's shards, elsewhere."""

    straggler: int
    homes: Homes
    rounds: dict[int, list[Part]] = field(default_factory=dict)
    snapshots: dict[int, dict[int, Taken]] = field(default_factory=dict)


class Hedging:
    """Looks for stragglers while a round is waited for; hedges one at a time."""

    def __init__(self, flight: InFlight) -> None:
        """Hedge nobody yet."""
        self._flight = flight
        self._hedge: Hedge | None = None
        self._warm: set[int] = set()
        """Workers that have done a fragment: who has not may be compiling."""
        self._seconds_per_fragment = 0.0

    def note_round(self, parts: Iterable[Part], seconds_per_fragment: float) -> None:
        """A round is whole: who computed it, and how long a fragment took."""
        self._seconds_per_fragment = seconds_per_fragment
        self._warm |= {part.worker for part in parts}

    def forget(self) -> None:
        """What was hedged is lost with everything under way."""
        self._hedge = None

    def look(self, round_: int, waited_s: float) -> None:
        """See who is late with a round that has been waited for so long, and whether a hedge has won."""
        flight = self._flight
        late = [part for part in flight.rounds[round_] if not flight.fleet.ready([part.summaries], 0)]
        if self._hedge:
            self._judge_hedge(round_)
            return
        done = {part.worker for part in flight.rounds[round_]} - {part.worker for part in late}
        stayers = sorted(done & set(flight.fleet.workers()))
        for part in late if stayers else []:
            rounds = flight.next_round - flight.base_round()
            replay_s = rounds * self._seconds_per_fragment * len(part.shards)
            if waited_s > max(HEDGE_SECONDS, replay_s) and self._may_be_hedged(part):
                self._begin_hedge(part.worker, stayers, waited_s)
                return

    def drop(self) -> None:
        """The round is whole: whoever was hedged has come first, and the copy goes."""
        if self._hedge is None:
            return
        for shard, worker in self._hedge.homes.items():
            if self._flight.homes[shard] != worker:
                self._flight.fleet.release(worker, shard)
        self._hedge = None

    def _may_be_hedged(self, late: Part) -> bool:
        """Not while a worker compiles its first fragment, nor while its shards are moving: losing it mends that."""
        flight = self._flight
        due = range(flight.progress.updates, flight.next_round)
        held = {part.shards for at in due for part in flight.rounds[at] if part.worker == late.worker}
        return late.worker in self._warm and held == {flight.held_by(late.worker)}

    def _begin_hedge(self, straggler: int, elsewhere: list[int], waited_s: float) -> None:
        flight = self._flight
        shards = flight.held_by(straggler)
        flight.replayed.hedged += 1
        listed = ", ".join(map(str, shards))
        text = f"env worker {straggler} is {waited_s:.0f} s late; its shards {listed} are computed a second time"
        flight.fleet.listener("hedged", text, worker=straggler, shards=list(shards))
        self._hedge = hedge = Hedge(straggler, {shard: elsewhere[i % len(elsewhere)] for i, shard in enumerate(shards)})
        wanted = range(flight.progress.updates, flight.next_round)
        for shard, worker in hedge.homes.items():
            position = flight.restored(shard, worker)
            flight.walk(shard, worker, position, set(wanted), set(flight.snapshots), hedge.rounds, hedge.snapshots)

    def _judge_hedge(self, round_: int) -> None:
        """The straggler is ended once its shards have been computed elsewhere; should it be first, the copy goes."""
        flight = self._flight
        hedge = self._hedge
        assert hedge is not None
        if not flight.fleet.ready([part.summaries for part in hedge.rounds[round_]], 0):
            return
        try:  # ready is also what has failed
            for part in hedge.rounds[round_]:
                flight.opened(part)
        except (LostError, FragmentError) as loss:
            self._hedge = None
            flight.fleet.listener("hedge_lost", f"the second computation is lost, the first is waited for: {loss}")
            return
        for at, parts in hedge.rounds.items():
            flight.rounds[at] = [part for part in flight.rounds[at] if part.worker != hedge.straggler] + parts
        for at, taken in hedge.snapshots.items():
            for shard, given in taken.items():
                flight.snapshots[at][shard] = given
        flight.homes |= hedge.homes
        self._hedge = None
        flight.fleet.dismiss(hedge.straggler, "it was too late, its work is already done elsewhere")
        flight.fleet.note_homes(flight.homes, flight.next_round)
