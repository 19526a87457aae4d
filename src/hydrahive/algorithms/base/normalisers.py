"""Running statistics of what a run has seen, merged in a fixed order (Chan et al. 1979)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

import numpy as np

from hydrahive.core.fragment import Fragment
from hydrahive.core.state import State


class Statistics:
    """Count, mean and sum of squared deviations of vectors, float64."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        """Of nothing yet."""
        self.count = 0
        self.mean, self.m2 = np.zeros(shape), np.zeros(shape)

    def merge(self, rows: np.ndarray) -> None:
        """Take in rows `[N, *shape]`."""
        if not len(rows):
            return
        count, mean = len(rows), rows.mean(axis=0, dtype=np.float64)
        m2 = np.square(rows - mean).sum(axis=0)
        # Chan et al. 1979, equation 2.1: d = mean_B - mean_A; mean = mean_A + d n_B / n;
        # M2 = M2_A + M2_B + d^2 n_A n_B / n.
        total = self.count + count
        apart = mean - self.mean
        self.mean = self.mean + apart * count / total
        self.m2 = self.m2 + m2 + np.square(apart) * self.count * count / total
        self.count = total

    def deviation(self) -> np.ndarray:
        """The standard deviation; 1 where nothing has varied."""
        if self.count < 2:
            return np.ones_like(self.mean)
        variance = self.m2 / self.count
        return np.sqrt(np.where(variance > VARIES, variance, 1.0))

    def state(self) -> State:
        """As arrays."""
        return {"count": np.array([self.count], np.int64), "mean": self.mean.copy(), "m2": self.m2.copy()}

    def restore(self, state: State) -> None:
        """Continue from `state`."""
        self.count = int(state["count"][0])
        self.mean, self.m2 = state["mean"].copy(), state["m2"].copy()


VARIES = 1e-8
"""Variance below which something counts as constant."""


class Returns:
    """The deviation of discounted returns, by which rewards are scaled (Engstrom et al. 2020, section 3).

    The running return of each environment goes on from round to round and starts anew with each episode.
    """

    def __init__(self, discount: float) -> None:
        """Of nothing yet."""
        self.statistics = Statistics((1,))
        self.discount = discount
        self._running: dict[int, np.ndarray] = {}
        """Of each shard's environments."""

    def merge(self, fragments: Sequence[Fragment]) -> None:
        """Take in a round; without a fixed schedule a shard may have several fragments in it, in order, or none."""
        of_shards: dict[int, list[Fragment]] = {}
        for fragment in fragments:
            of_shards.setdefault(fragment.id.shard, []).append(fragment)
        for at_once in zip_longest(*of_shards.values()):
            self._merge([fragment for fragment in at_once if fragment is not None])

    def _merge(self, fragments: Sequence[Fragment]) -> None:
        """Take in at most one fragment of each shard."""
        rewards, ended, valid = (
            np.concatenate(arrays, axis=1)
            for arrays in zip(*((f.rewards, f.terminated | f.truncated, f.valid) for f in fragments), strict=True)
        )
        shards, envs = [fragment.id.shard for fragment in fragments], fragments[0].rewards.shape[1]
        running = np.concatenate([self._running.get(shard, np.zeros(envs)) for shard in shards])
        seen = np.zeros(rewards.shape)
        for t in range(len(rewards)):
            running = running * self.discount + rewards[t]
            seen[t] = running
            running = np.where(ended[t] | ~valid[t], 0.0, running)
        self._running |= zip(shards, np.split(running, len(shards)), strict=True)
        self.statistics.merge(seen[valid][:, None])

    def state(self) -> State:
        """As arrays."""
        shards = sorted(self._running)
        running = np.stack([self._running[shard] for shard in shards]) if shards else np.zeros((0, 0))
        return {**self.statistics.state(), "running": running, "shards": np.array(shards, np.int64)}

    def restore(self, state: State) -> None:
        """Continue from `state`."""
        self.statistics.restore(state)
        self._running = dict(zip(state["shards"].tolist(), state["running"].copy(), strict=True))
