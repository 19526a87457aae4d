"""Rows of episodes that have not ended yet, column by column."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hydrahive.replay.ring import Fields


class Unfinished:
    """Keeps each column's rows since its last episode ended, in pages of one fragment's length."""

    def __init__(self, columns: int, page_rows: int, fields: Fields) -> None:
        """Begin without rows."""
        self._page_rows, self._fields = page_rows, fields
        self._pages: list[list[int]] = [[] for _ in range(columns)]
        self._skip = [0] * columns
        """Rows of each column's first page that are not its episode's."""
        self._lost = [0] * columns
        """Rows of each column's episode that were given up."""
        self._free: list[int] = []
        self._pool = {name: np.zeros((0, page_rows, *shape), dtype) for name, (shape, dtype) in fields.items()}

    @property
    def nbytes(self) -> int:
        """Memory of the pages."""
        return sum(array.nbytes for array in self._pool.values())

    def add(self, first_column: int, rows: Mapping[str, np.ndarray]) -> None:
        """Append a page to each of some columns: `[page_rows, columns, ...]` of each array."""
        columns = next(iter(rows.values())).shape[1]
        while len(self._free) < columns:
            self._grow()
        pages = [self._free.pop() for _ in range(columns)]
        for name, array in self._pool.items():
            array[pages] = rows[name].swapaxes(0, 1)
        for i, page in enumerate(pages):
            if not self._pages[first_column + i]:
                self._skip[first_column + i] = 0
            self._pages[first_column + i].append(page)

    def give_up_beyond(self, rows: int) -> list[int]:
        """Drop the longest columns' rows until there are no more than this; which columns they were."""
        given_up = []
        lengths = self.lengths()
        while lengths.sum() > rows:
            column = int(lengths.argmax())
            self._free += self._pages[column]
            self._lost[column] += int(lengths[column])
            self._pages[column], self._skip[column] = [], 0
            lengths[column] = 0
            given_up.append(column)
        return given_up

    def take(self, column: int, end: int) -> tuple[dict[str, np.ndarray], int]:
        """Take out the rows of a column's episode, up to row `end` of its newest page; and how many were given up."""
        pages = self._pages[column]
        stop = (len(pages) - 1) * self._page_rows + end + 1
        rows, lost = self._rows(column, stop), self._lost[column]
        self._lost[column] = 0
        self._free += pages[:-1]
        self._pages[column] = pages[-1:]
        self._skip[column] = end + 1
        return rows, lost

    def leave(self, column: int) -> bool:
        """Forget the episode of a column that went on until its newest page; whether there was one."""
        pages = self._pages[column]
        went_on = len(pages) > 1 or self._lost[column] > 0
        self._free += pages[:-1]
        self._pages[column], self._skip[column], self._lost[column] = pages[-1:], 0, 0
        return went_on

    def skip(self, column: int, rows: int) -> None:
        """Leave out the first rows of a column's newest page, in which no episode was played."""
        assert len(self._pages[column]) == 1, "no episode is under way"
        self._skip[column] = rows

    def settle(self, columns: range) -> None:
        """Give back pages of which no row is left, once a fragment's ends are taken out."""
        for column in columns:
            if self._pages[column] and self._skip[column] == self._page_rows and len(self._pages[column]) == 1:
                self._free += self._pages[column]
                self._pages[column] = []
                self._skip[column] = 0

    @property
    def rows(self) -> int:
        """Rows of all columns."""
        return int(self.lengths().sum())

    def lengths(self) -> np.ndarray:
        """Rows of each column, int64."""
        counts = [len(pages) * self._page_rows - skip for pages, skip in zip(self._pages, self._skip, strict=True)]
        return np.array(counts, np.int64)

    def state(self) -> dict[str, np.ndarray]:
        """The columns' rows one behind the other, and their `lengths`."""
        ends = self.lengths()
        parts = [self._rows(column, None) for column in range(len(ends)) if ends[column]]
        joined = (
            {name: np.concatenate([part[name] for part in parts]) for name in self._fields}
            if parts
            else {name: np.zeros((0, *shape), dtype) for name, (shape, dtype) in self._fields.items()}
        )
        return {**joined, "lengths": ends, "lost": np.array(self._lost, np.int64)}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from `state`."""
        for column, pages in enumerate(self._pages):
            self._free += pages
            self._pages[column], self._skip[column] = [], 0
        self._lost = state["lost"].tolist()
        start = 0
        for column, length in enumerate(state["lengths"].tolist()):
            pages = -(-length // self._page_rows)
            while len(self._free) < pages:
                self._grow()
            taken = [self._free.pop() for _ in range(pages)]
            skip = pages * self._page_rows - length
            for name, array in self._pool.items():
                padded = np.zeros((pages * self._page_rows, *array.shape[2:]), array.dtype)
                padded[skip:] = state[name][start : start + length]
                array[taken] = padded.reshape(pages, self._page_rows, *array.shape[2:])
            self._pages[column], self._skip[column] = taken, skip
            start += length

    def _rows(self, column: int, stop: int | None) -> dict[str, np.ndarray]:
        pages, skip = self._pages[column], self._skip[column]
        return {name: array[pages].reshape(-1, *array.shape[2:])[skip:stop] for name, array in self._pool.items()}

    def _grow(self) -> None:
        """A page more for each column."""
        count, more = next(iter(self._pool.values())).shape[0], len(self._pages)
        for name, array in self._pool.items():
            self._pool[name] = np.concatenate([array, np.zeros((more, *array.shape[1:]), array.dtype)])
        self._free += range(count, count + more)
