"""Elasticity: shards follow the workers as they come and go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from hydrahive.runtime.schedule.line import Line
from hydrahive.runtime.schedule.placement import balanced


def spread(line: Line) -> None:
    """Move shards from workers that leave, and to workers that have joined."""
    workers = line.workers()
    if set(workers) == set(line.homes.values()) or (len(workers) > line.config.shards and _is_spread(line, workers)):
        return
    homes = balanced(line.homes, line.config.shards, workers)
    for shard, worker in homes.items():
        before = line.homes[shard]
        if worker != before:
            if not line.config.env.snapshot_kind.goes_on or line.fleet.audits(line.fleet.facts(before)):
                # What it would hand over between two boundaries nobody could check, and an environment that is
                # rebuilt would go on in another way: it is computed again.
                line.walk(shard, worker, line.restored(shard, worker), set(), set(), {}, {})
            else:
                line.lease(worker, shard, line.fleet.snapshot(before, shard), line.next_round)
            line.fleet.release(before, shard)
    line.homes = homes
    line.fleet.note_homes(homes, line.next_round)


def _is_spread(line: Line, workers: Iterable[int]) -> bool:
    held = Counter(line.homes.values())
    return set(held) <= set(workers) and max(held.values()) == 1
