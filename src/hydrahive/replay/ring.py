"""Rows of several arrays in a ring: written at its head, read anywhere."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

Fields = Mapping[str, tuple[tuple[int, ...], np.dtype]]
"""For each array the shape and dtype of one row."""


class Ring:
    """Preallocated arrays of `size` rows each; row `p` of all that was ever written lies at `p` modulo `size`."""

    def __init__(self, size: int, fields: Fields) -> None:
        """Lay out the arrays."""
        self.head = 0
        self._size = size
        self._arrays = {name: np.zeros((size, *shape), dtype) for name, (shape, dtype) in fields.items()}

    @property
    def nbytes(self) -> int:
        """Memory of the arrays."""
        return sum(array.nbytes for array in self._arrays.values())

    def write(self, rows: Mapping[str, np.ndarray]) -> int:
        """Append rows and give the position of the first one."""
        start = self.head
        count = len(next(iter(rows.values())))
        assert count <= self._size, "more rows than the ring has"
        at = start % self._size
        until_end = min(count, self._size - at)
        for name, array in self._arrays.items():
            array[at : at + until_end] = rows[name][:until_end]
            array[: count - until_end] = rows[name][until_end:]
        self.head += count
        return start

    def read(self, name: str, positions: np.ndarray) -> np.ndarray:
        """The rows of one array at `positions`, in their shape."""
        # `mode="wrap"` would take the size off again and again, which takes ever longer as positions grow.
        return self._arrays[name].take(positions % self._size, axis=0)

    def between(self, start: int, end: int) -> dict[str, np.ndarray]:
        """A copy of the rows from `start` up to `end`, of all arrays."""
        positions = np.arange(start, end)
        return {name: self.read(name, positions) for name in self._arrays}
