"""Uniform sequence replay: the plain alternative that ATH is compared with."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np

from hydrahive.replay.config import Uniform
from hydrahive.replay.episodes import Chunks, Episode, Layout
from hydrahive.replay.memory import SequenceReplay

TRIM_AFTER = 10_000
"""Episodes that have left before their places in the list are given up."""


class UniformReplay(SequenceReplay):
    """Every chunk of every stored episode is equally likely.

    Chunks are aligned to the episode's end; its first one begins with it, and overlaps the next where it must.
    """

    config: Uniform

    def __init__(self, config: Uniform, layout: Layout) -> None:
        """Begin empty."""
        super().__init__(config, layout)
        self._numbers: list[int] = []
        self._ends: list[int] = []  # of each episode, the chunks stored up to and with it
        self._first = 0  # those before it have left
        text = f"sequences of {config.sequence}, {config.capacity:,} frames"
        self._tell("replay_initialised", text, sequence=config.sequence)

    def _added(self, episode: Episode) -> None:
        chunks = -(-episode.frames // self.config.sequence)
        self._numbers.append(episode.number)
        self._ends.append((self._ends[-1] if self._ends else 0) + chunks)

    def _left(self, episode: Episode) -> None:
        assert self._numbers[self._first] == episode.number, "the oldest leaves first"
        self._first += 1
        if self._first > TRIM_AFTER:
            # The last one that has left stays: those behind it are counted from its end.
            del self._numbers[: self._first - 1], self._ends[: self._first - 1]
            self._first = 1

    def _batch(self) -> tuple[int, int]:
        return self.config.sequence, self.config.batch

    def _before(self) -> int:
        """Chunks of the episodes that have left."""
        return self._ends[self._first - 1] if self._first else 0

    def _available(self) -> int:
        return self._ends[-1] - self._before() if self._ends else 0

    def _chosen(self, count: int, generator: np.random.Generator) -> Chunks:
        ranks = self._before() + (generator.random(count) * self._available()).astype(np.int64)
        places = [bisect_right(self._ends, rank, lo=self._first) for rank in ranks.tolist()]
        episodes = [self._episodes[self._numbers[place]] for place in places]
        length = self.config.sequence
        frames = np.array([episode.frames for episode in episodes], np.int64)
        behind = np.array([self._ends[place] for place in places]) - ranks  # chunks from this one to the end
        return Chunks(episodes, np.maximum(frames - behind * length, 0), length)
