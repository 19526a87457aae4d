"""Elasticity: shards follow the workers as they come and go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from hydrahive.runtime.schedule.in_flight import InFlight
from hydrahive.runtime.schedule.placement import balanced


def spread(flight: InFlight) -> None:
    """Move shards from workers that leave, and to workers that have joined."""
    workers, most = flight.workers(), flight.fleet.most_shards()
    is_as_before = most == flight.most_shards
    if is_as_before and (
        set(workers) - {worker for worker, count in most.items() if not count} == set(flight.homes.values())
        or (len(workers) > flight.config.shards and _is_spread(flight, workers))
    ):
        return
    flight.most_shards = most
    homes = balanced(flight.homes, flight.config.shards, workers, most)
    for shard, worker in homes.items():
        before = flight.homes[shard]
        if worker != before:
            if not flight.config.env.snapshot_kind.goes_on or not flight.fleet.hands_over(before):
                # What it would hand over between two boundaries nobody could check, and an environment that is
                # rebuilt would go on in another way: it is computed again.
                flight.walk(shard, worker, flight.restored(shard, worker), set(), set(), {}, {})
            else:
                flight.lease(worker, shard, flight.fleet.snapshot(before, shard), flight.next_round)
            flight.fleet.release(before, shard)
    flight.homes = homes
    flight.fleet.note_homes(homes, flight.next_round)


def _is_spread(flight: InFlight, workers: Iterable[int]) -> bool:
    held = Counter(flight.homes.values())
    return set(held) <= set(workers) and max(held.values()) == 1
