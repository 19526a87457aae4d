"""ATH's buckets: which episodes reach how deep, for any sequence length at once."""

from __future__ import annotations

from bisect import bisect_left, insort

import numpy as np

from hydrahive.replay.episodes import Episode

NUMBER_BITS = 40
NUMBER_MASK = (1 << NUMBER_BITS) - 1


class Depths:
    """Episodes in the order of their length, then of their number.

    An episode of `n` chunks stands in the buckets 0 to `min(n, buckets) - 1`; those of bucket i with sequences of
    length L are therefore the episodes of more than `i L` frames, or where only whole chunks count of at least
    `(i + 1) L`: the end of one list, whatever the gear. So a shift of gears changes nothing here, and an episode is put
    in and taken out once.
    """

    def __init__(self, buckets: int, *, only_whole: bool) -> None:
        """Begin without episodes."""
        self._buckets, self._only_whole = buckets, only_whole
        self._keys: list[int] = []

    def add(self, episode: Episode) -> None:
        """Put an episode in."""
        insort(self._keys, _key(episode))

    def remove(self, episode: Episode) -> None:
        """Take an episode out."""
        place = bisect_left(self._keys, _key(episode))
        assert self._keys[place] == _key(episode), "it is in the list"
        del self._keys[place]

    def first(self, bucket: int, length: int) -> int:
        """Where in the list a bucket's episodes begin; they go on to its end."""
        frames = (bucket + 1) * length if self._only_whole else bucket * length + 1
        return bisect_left(self._keys, frames << NUMBER_BITS)

    def counts(self, length: int) -> list[int]:
        """Episodes in each bucket with sequences of this length; they never grow with the depth."""
        return [len(self._keys) - self.first(bucket, length) for bucket in range(self._buckets)]

    def deep(self, length: int, deepest: int) -> int:
        """The counts of the deepest buckets, summed."""
        buckets = range(self._buckets - deepest, self._buckets)
        return sum(len(self._keys) - self.first(bucket, length) for bucket in buckets)

    def numbers(self, ranks: np.ndarray) -> list[int]:
        """The numbers of the episodes at some places of the list."""
        keys = self._keys
        return [keys[rank] & NUMBER_MASK for rank in ranks.tolist()]


def _key(episode: Episode) -> int:
    return (episode.frames << NUMBER_BITS) | episode.number
