"""Which worker holds which shard. Never changes a byte, so it may follow the cluster as it comes and goes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

Homes = dict[int, int]
"""Worker of each shard."""


def balanced(
    homes: Mapping[int, int], shards: int, workers: Sequence[int], most: Mapping[int, int] | None = None
) -> Homes:
    """Homes for all shards on these workers, as even as can be, moving as few shards as possible.

    Args:
        homes: Where shards are now; those on workers that are not listed, or missing, are moved.
        shards: How many there are.
        workers: At least one.
        most: How many a worker may hold, where it may not hold any number; heeded as far as all find a place.
    """
    assert workers, "shards need a worker"
    held: dict[int, list[int]] = {worker: [] for worker in workers}
    for shard in range(shards):
        if homes.get(shard) in held:
            held[homes[shard]].append(shard)
    # Those that hold most keep the larger share.
    by_load = sorted(workers, key=lambda worker: (-len(held[worker]), worker))
    share = _shares(by_load, shards, most or {})
    settled = {shard: worker for worker in workers for shard in held[worker][: share[worker]]}
    room = [worker for worker in sorted(workers) for _ in range(share[worker] - len(held[worker]))]
    homeless = [shard for shard in range(shards) if shard not in settled]
    return {**settled, **dict(zip(homeless, _in_turn(room), strict=True))}


def _shares(workers: Sequence[int], shards: int, most: Mapping[int, int]) -> dict[int, int]:
    """How many shards each worker holds; of those who hold one more than others the first ones do."""
    if sum(most.get(worker, shards) for worker in workers) < shards:
        most = {}
    share: dict[int, int] = {}
    left = list(workers)
    while True:
        least, extra = divmod(shards - sum(share.values()), len(left))
        full = [worker for worker in left if most.get(worker, shards) <= least]
        if not full or len(full) == len(left):
            break
        share |= {worker: most[worker] for worker in full}
        left = [worker for worker in left if worker not in full]
    # Whoever may hold no more than the least does not take one of those that are over.
    left.sort(key=lambda worker: most.get(worker, shards) <= least)
    return share | {worker: least + (place < extra) for place, worker in enumerate(left)}


def groups(homes: Mapping[int, int]) -> dict[int, tuple[int, ...]]:
    """The shards of each worker."""
    held: dict[int, list[int]] = {}
    for shard, worker in sorted(homes.items()):
        held.setdefault(worker, []).append(shard)
    return {worker: tuple(shards) for worker, shards in held.items()}


def _in_turn(room: Iterable[int]) -> list[int]:
    """The free places such that consecutive shards go to different workers."""
    left: dict[int, int] = {}
    for worker in room:
        left[worker] = left.get(worker, 0) + 1
    places = []
    while left:
        for worker in list(left):
            places.append(worker)
            left[worker] -= 1
            if not left[worker]:
                del left[worker]
    return places
