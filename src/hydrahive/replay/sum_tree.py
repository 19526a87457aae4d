"""Draws among very many places in proportion to their weights."""

from __future__ import annotations

import numpy as np

FAN = 32
"""Children of a node: few levels, each of which numpy goes through for all draws at once."""


class SumTree:
    """Integer weights of places, and the sums of ever larger groups of them.

    Weights are integers so that sums do not depend on the order in which they came about.
    """

    def __init__(self, places: int) -> None:
        """Begin with weights of 0."""
        self._levels: list[np.ndarray] = []
        while not self._levels or places > 1:
            groups = -(-places // FAN)
            self._levels.append(np.zeros(groups * FAN, np.int64))
            places = groups

    @property
    def total(self) -> int:
        """The sum of all weights."""
        return int(self._levels[-1].sum())

    @property
    def nbytes(self) -> int:
        """Memory of all levels."""
        return sum(level.nbytes for level in self._levels)

    def weights(self, places: np.ndarray) -> np.ndarray:
        """The weights of some places."""
        weights: np.ndarray = self._levels[0][places]
        return weights

    def set(self, places: np.ndarray, weights: np.ndarray) -> None:
        """Give places `[K]` other weights; of a place that is named twice the last one counts."""
        self._levels[0][places] = weights
        for below, level in zip(self._levels, self._levels[1:], strict=False):
            places = np.unique(places // FAN)
            level[places] = below.reshape(-1, FAN)[places].sum(1)

    def find(self, ranks: np.ndarray) -> np.ndarray:
        """The places `[S]` at which ranks from 0 to below `total` lie, if weights are laid end to end."""
        places = np.zeros(len(ranks), np.int64)
        for level in reversed(self._levels):
            ends = level.reshape(-1, FAN)[places].cumsum(1)
            within = (ends <= ranks[:, None]).sum(1)
            before = np.take_along_axis(ends, np.maximum(within - 1, 0)[:, None], 1)[:, 0]
            ranks = ranks - np.where(within > 0, before, 0)
            places = places * FAN + within
        return places
