from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from hydrahive.runtime.schedule.placement import balanced, groups


@given(
    st.integers(1, 40), st.sets(st.integers(0, 9), min_size=1), st.dictionaries(st.integers(0, 39), st.integers(0, 9))
)
def test_shards_are_spread_evenly_and_few_move(shards, workers, homes):
    placed = balanced(homes, shards, sorted(workers))
    assert set(placed) == set(range(shards))
    loads = Counter(placed.values())
    assert set(loads) <= workers
    assert max(loads.values()) - min(loads[worker] for worker in workers) <= 1
    # No placement that is as even moves fewer shards than each worker's surplus and the homeless ones.
    held = Counter(homes[shard] for shard in range(shards) if homes.get(shard) in workers)
    least, extra = divmod(shards, len(workers))
    by_load = sorted((held[worker] for worker in workers), reverse=True)
    surplus = sum(max(0, load - least - (place < extra)) for place, load in enumerate(by_load))
    moved = sum(1 for shard in range(shards) if homes.get(shard) in workers and placed[shard] != homes[shard])
    assert moved == surplus


def test_balanced_homes_stay_as_they_are():
    homes = {0: 3, 1: 5, 2: 3}
    assert balanced(homes, 3, [3, 5]) == homes
    assert groups(homes) == {3: (0, 2), 5: (1,)}
