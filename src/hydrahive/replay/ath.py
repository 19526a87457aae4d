"""Adaptive Temporal Horizon: replay that adapts how long its sequences are and how deep in episodes they lie."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from hydrahive.core.replayed import ReplayEvent
from hydrahive.replay.config import Ath
from hydrahive.replay.depths import Depths
from hydrahive.replay.episodes import Chunks, Episode, Layout
from hydrahive.replay.gearbox import Gearbox, GearState
from hydrahive.replay.memory import SequenceReplay


class AthReplay(SequenceReplay):
    """ai-hydra's replay: see `hydrahive.replay.config.Ath` for its rules and what they mend."""

    config: Ath

    def __init__(self, config: Ath, layout: Layout) -> None:
        """Begin empty, in the first gear."""
        super().__init__(config, layout)
        self._depths = Depths(config.buckets, only_whole=config.depth == "absolute")
        self.gearbox = Gearbox(config)
        text = f"{len(config.table())} gears, {config.buckets} buckets, {config.capacity:,} frames"
        self._tell("replay_initialised", text, gears=[list(gear) for gear in config.table()])
        self._events.append(self.gearbox.shift_event("begins", "none"))

    def bucket_counts(self) -> list[int]:
        """Episodes in each bucket in the present gear."""
        return self._depths.counts(self.gearbox.sequence)

    @property
    def stagnant(self) -> bool:
        """Whether a stagnation alert is on."""
        return self.gearbox.state.alerts > 0

    def figures(self) -> dict[str, float]:
        """Numbers for a row of metrics."""
        deep = self._depths.deep(self.gearbox.sequence, self.config.deepest)
        return {**super().figures(), "replay_gear": self.gearbox.state.gear, "replay_deep_episodes": deep}

    def serve(self, batches: int) -> None:
        """As `SequenceReplay.serve`; tells the buckets now and then."""
        before = self._counters.served
        super().serve(batches)
        if before // self.config.status_every < self._counters.served // self.config.status_every:
            counts = self.bucket_counts()
            text = f"gear {self.gearbox.state.gear}, episodes by depth {counts}"
            facts: dict[str, Any] = {"gear": self.gearbox.state.gear, "sequence": self.gearbox.sequence}
            self._tell("replay_buckets", text, counts=counts, **facts)

    def _added(self, episode: Episode) -> None:
        self._depths.add(episode)

    def _left(self, episode: Episode) -> None:
        self._depths.remove(episode)

    def _judged(self, score: float) -> None:
        events: list[ReplayEvent] = list(
            self.gearbox.finished(score, lambda length: self._depths.deep(length, self.config.deepest))
        )
        self._events += events

    def _batch(self) -> tuple[int, int]:
        return self.gearbox.sequence, self.gearbox.batch

    def _available(self) -> int:
        return sum(self.bucket_counts())

    def _chosen(self, count: int, generator: np.random.Generator) -> Chunks:
        """Equally many from each bucket that is not empty, the remainder from the deepest ones."""
        # B // k sequences from each of the k buckets that hold episodes, B % k more from the deepest: each depth is
        # learned from as often as any other (docs/replay.md, Adaptive Temporal Horizon).
        length = self.gearbox.sequence
        counts = np.array([n for n in self.bucket_counts() if n], np.int64)
        base, remainder = divmod(count, len(counts))
        shares = np.full(len(counts), base)
        shares[len(counts) - remainder :] += 1
        buckets = np.repeat(np.arange(len(counts)), shares)
        which, where = generator.random((2, count))
        firsts = np.array([self._depths.first(bucket, length) for bucket in range(len(counts))])
        ranks = firsts[buckets] + (which * counts[buckets]).astype(np.int64)
        episodes = [self._episodes[number] for number in self._depths.numbers(ranks)]
        frames = np.array([episode.frames for episode in episodes], np.int64)
        number = frames // length if self.config.depth == "absolute" else -(-frames // length)
        behind = number - self._chunks(buckets, number, where)  # chunks from this one to the end
        return Chunks(episodes, np.maximum(frames - behind * length, 0), length)

    def _chunks(self, buckets: np.ndarray, number_of_chunks: np.ndarray, where: np.ndarray) -> np.ndarray:
        """Which chunk of each episode stands in its bucket; of those of a long episode one at random."""
        if self.config.depth == "absolute":
            return buckets
        # Bucket i of b holds the chunks ceil(i n / b) to ceil((i + 1) n / b) - 1 of an episode of n > b chunks.
        total = self.config.buckets
        low = -(-buckets * number_of_chunks // total)
        high = -(-(buckets + 1) * number_of_chunks // total)
        drawn = low + (where * (high - low)).astype(np.int64)
        return np.where(number_of_chunks > total, drawn, buckets)

    def _rule_state(self) -> dict[str, Any]:
        return asdict(self.gearbox.state)

    def _restore_rule(self, plain: dict[str, Any]) -> None:
        self.gearbox.state = GearState(**plain)
