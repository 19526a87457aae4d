"""Which worker holds which shard. Never changes a byte, so it may follow the cluster as it comes and goes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

Homes = dict[int, int]
"""Worker of each shard."""


def balanced(homes: Mapping[int, int], shards: int, workers: Sequence[int]) -> Homes:
    """Homes for all shards on these workers, as even as can be, moving as few shards as possible.

    Args:
        homes: Where shards are now; those on workers that are not listed, or missing, are moved.
        shards: How many there are.
        workers: At least one.
    """
    assert workers, "shards need a worker"
    least, extra = divmod(shards, len(workers))
    held: dict[int, list[int]] = {worker: [] for worker in workers}
    for shard in range(shards):
        if homes.get(shard) in held:
            held[homes[shard]].append(shard)
    # Those that hold most keep the larger share.
    by_load = sorted(workers, key=lambda worker: (-len(held[worker]), worker))
    share = {worker: least + (place < extra) for place, worker in enumerate(by_load)}
    settled = {shard: worker for worker in workers for shard in held[worker][: share[worker]]}
    room = [worker for worker in sorted(workers) for _ in range(share[worker] - len(held[worker]))]
    homeless = [shard for shard in range(shards) if shard not in settled]
    return {**settled, **dict(zip(homeless, _in_turn(room), strict=True))}


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
