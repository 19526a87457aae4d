"""The newest env steps of all columns, finished episodes or not; each frame is kept once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from hydrahive.core.fragment import MASKED, Fragment
from hydrahive.core.replayed import Transitions
from hydrahive.core.state import State
from hydrahive.replay.episodes import Layout, first_column


class Places(NamedTuple):
    """Some rows: the step since the run's beginning, and the column, `[S]` int64 each."""

    times: np.ndarray
    columns: np.ndarray


class Rows:
    """A ring of steps for each column; all columns go on together, a fragment's length at a time.

    Attributes:
        time: Steps that each column has taken.
        size: Steps that each column keeps.
    """

    def __init__(self, layout: Layout, capacity: int) -> None:
        """Lay out rings of `capacity` rows in all, in whole fragments; of at least two."""
        steps = layout.fragment_length
        least = steps + layout.steps + layout.stack
        self.layout, self.time = layout, 0
        self.size = steps * -(-max(least, -(-capacity // layout.columns)) // steps)
        self._arrays = {
            name: np.zeros((self.size, layout.columns, *shape), dtype)
            for name, (shape, dtype) in layout.row_fields().items()
        }
        shape = layout.observation_shape
        self._cut_keys = np.zeros(0, np.int64)
        self._cut_observations = np.zeros((0, *shape), layout.observation_dtype)

    @property
    def oldest(self) -> int:
        """The first step that is still kept."""
        return max(0, self.time - self.size)

    @property
    def nbytes(self) -> int:
        """Memory of the rings."""
        return sum(array.nbytes for array in self._arrays.values()) + self._cut_observations.nbytes

    def append(self, fragments: Sequence[Fragment]) -> State:
        """Take a round, one fragment of each shard; its rows, as `between` gives them."""
        steps = self.layout.fragment_length
        new = {name: np.zeros((steps, *array.shape[1:]), array.dtype) for name, array in self._arrays.items()}
        keys, seen = [np.zeros(0, np.int64)], [self._cut_observations[:0]]
        for fragment in fragments:
            first = first_column(fragment)
            own = slice(first, first + fragment.actions.shape[1])
            for name in ("actions", "rewards", "terminated", "truncated", "valid"):
                new[name][:, own] = getattr(fragment, name)
            new["frames"][:, own] = fragment.observations[fragment.stack - 1 : -1]
            if self.layout.masks:
                new["legal"][:, own] = fragment.behaviour != np.float32(MASKED)
            cut = fragment.cut_rows.astype(np.int64)
            keys.append(self.keys(Places(self.time + cut[:, 0], first + cut[:, 1])))
            seen.append(fragment.cut_observations)
        together = np.concatenate(keys)
        order = np.argsort(together, kind="stable")
        rows = {**new, "cut_keys": together[order], "cut_observations": np.concatenate(seen)[order]}
        self.append_rows(rows)
        return rows

    def append_rows(self, rows: Mapping[str, np.ndarray]) -> None:
        """Take rows `[K, columns, ...]` of each array, as `between` gives them."""
        count = len(rows["valid"])
        at = np.arange(self.time, self.time + count) % self.size
        for name, array in self._arrays.items():
            array[at] = rows[name]
        self.time += count
        kept = np.searchsorted(self._cut_keys, self.oldest * self.layout.columns)
        if len(rows["cut_keys"]) or kept > len(self._cut_keys) // 2:
            self._cut_keys = np.concatenate([self._cut_keys[kept:], rows["cut_keys"]])
            observations = [self._cut_observations[kept:], rows["cut_observations"]]
            self._cut_observations = np.concatenate(observations)

    def between(self, start: int, end: int) -> State:
        """A copy of the rows from step `start` up to `end`, and of the last observations of episodes cut in them."""
        at = np.arange(start, end) % self.size
        low, high = np.searchsorted(self._cut_keys, np.array([start, end]) * self.layout.columns)
        cuts = {"cut_keys": self._cut_keys[low:high], "cut_observations": self._cut_observations[low:high]}
        return {name: array[at] for name, array in self._arrays.items()} | {k: v.copy() for k, v in cuts.items()}

    def keys(self, places: Places) -> np.ndarray:
        """The names of rows."""
        named: np.ndarray = places.times * self.layout.columns + places.columns
        return named

    def places(self, keys: np.ndarray) -> Places:
        """The rows of names."""
        return Places(*np.divmod(keys, self.layout.columns))

    def whole(self, start: int, end: int) -> np.ndarray:
        """Which rows from step `start` up to `end` can be drawn, `[K, columns]` bool.

        That is who was played, and whose next `layout.steps` steps are known or end its episode before.
        """
        times = np.arange(start, end)
        valid, ended = self.read("valid", times), self.ended(times)
        whole, going = valid.copy(), valid & ~ended
        for k in range(1, self.layout.steps + 1):
            following = self.read("valid", times + k)
            whole &= following | ~going  # nobody knows where a row led to whose agent just vanished
            going &= following & ~self.ended(times + k)
        return whole

    def transitions(self, places: Places, probabilities: np.ndarray, rows: int) -> Transitions:
        """Lay rows out with what came of them; they can be drawn."""
        times, columns = places
        steps = np.full(len(times), self.layout.steps)
        rewards = np.zeros((self.layout.steps, len(times)), np.float32)
        terminated, truncated = np.zeros((2, len(times)), np.bool_)
        going = np.ones(len(times), np.bool_)
        for k in range(self.layout.steps):
            at = ((times + k) % self.size, columns)
            rewards[k] = np.where(going, self._arrays["rewards"][at], 0)
            ends = going & self._arrays["terminated"][at], going & self._arrays["truncated"][at]
            terminated |= ends[0]
            truncated |= ends[1]
            steps[ends[0] | ends[1]] = k + 1
            going &= ~(ends[0] | ends[1])
        led_to = Places(times + steps, columns)
        following = self._observations(led_to)
        if truncated.any():
            last = Places((times + steps - 1)[truncated], columns[truncated])
            following[truncated] = self._cut_observations[np.searchsorted(self._cut_keys, self.keys(last))]
        legal = np.zeros((len(times), 0), np.bool_)
        if self.layout.masks:
            legal = self._arrays["legal"][led_to.times % self.size, columns] | (terminated | truncated)[:, None]
        return Transitions(
            keys=self.keys(places),
            observations=self._observations(places),
            actions=self._arrays["actions"][times % self.size, columns],
            rewards=rewards,
            steps=steps,
            terminated=terminated,
            following=following,
            legal=legal,
            probabilities=probabilities,
            rows=rows,
        )

    def truncated(self, places: Places) -> np.ndarray:
        """Of which rows the episode was truncated, `[S]` bool."""
        cut: np.ndarray = self._arrays["truncated"][places.times % self.size, places.columns]
        return cut

    def seen_at(self, places: Places, cut: np.ndarray) -> np.ndarray:
        """Observations `[S, ...]` of single frames; where `cut`, `[S]` bool, the last one of the episode before it."""
        seen: np.ndarray = self._arrays["frames"][places.times % self.size, places.columns]
        if cut.any():
            last = Places(places.times[cut] - 1, places.columns[cut])
            seen[cut] = self._cut_observations[np.searchsorted(self._cut_keys, self.keys(last))]
        return seen

    def read(self, name: str, times: np.ndarray | int) -> np.ndarray:
        """All columns of one array at some steps, `[K, columns, ...]`."""
        read: np.ndarray = self._arrays[name][times % self.size]
        return read

    def ended(self, times: np.ndarray | int) -> np.ndarray:
        """Which rows of some steps were their episode's last, `[K, columns]` bool."""
        ended: np.ndarray = self.read("terminated", times) | self.read("truncated", times)
        return ended

    def _observations(self, places: Places) -> np.ndarray:
        """Observations `[S, ...]`; of stacked frames, with zeros where the episode had no frame yet."""
        times, columns = places
        frames, stack = self._arrays["frames"], self.layout.stack
        if stack == 1:
            seen: np.ndarray = frames[times % self.size, columns]
            return seen
        observations: np.ndarray = np.zeros((len(times), stack, *frames.shape[2:]), frames.dtype)
        going = np.ones(len(times), np.bool_)
        for age in range(stack):
            at = ((times - age) % self.size, columns)
            observations[going, stack - 1 - age] = frames[at[0][going], columns[going]]
            before = (times - age - 1) % self.size
            going &= (times > age) & self._arrays["valid"][before, columns]
            going &= ~(self._arrays["terminated"] | self._arrays["truncated"])[before, columns]
        return observations
