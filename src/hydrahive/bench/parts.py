"""What one env step costs in stepping environments, inference and learning, each alone; and the ceiling that follows.

The ceiling is what training would reach if nothing else cost anything and nobody ever waited.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from hydrahive.bench.statistics import ratio_interval
from hydrahive.core.fragment import Fragment
from hydrahive.runtime.config.machine_class import prepare_torch
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.roles.env_worker import WORKER_THREADS, EnvWorker
from hydrahive.runtime.roles.learner import Learner
from hydrahive.runtime.roles.shard import Shard

WARM_UP = 3
"""Rounds that are not counted whenever measuring begins: caches are cold."""


@dataclass(frozen=True)
class Parts:
    """Costs alone, in microseconds per env step, and what a fragment weighs.

    Attributes:
        stepping: The environments, and recording.
        inference: The policy's share of making a fragment.
        learning: An update, by the clock, on the learner's threads.
        threads: The learner's.
        fragment_bytes: Arrays of one shard's fragment.
    """

    stepping: float
    inference: float
    learning: float
    threads: int
    fragment_bytes: int

    def ceiling(self, workers: int, cpus: int) -> float:
        """Trained env steps/s that no layout of this many env workers beside one learner on `cpus` cores exceeds."""
        acting = self.stepping + self.inference
        if not workers:
            return 1e6 / (acting + self.learning)
        return 1e6 * min(workers / acting, 1 / self.learning, cpus / (acting + self.threads * self.learning))


class PartsAlone:
    """Rounds made and learned from in this process, one part after the other, whenever it is asked."""

    def __init__(self, config: RunConfig, device: str) -> None:
        """Begin, with a learner on a device, `cpu` or `cuda`."""
        self._config = config
        self._learner, self._worker = Learner(config, device), EnvWorker(config, "bench")
        self._shards = range(config.shards)
        for shard in self._shards:
            self._worker.adopt(shard, None)
        # Shards that take the others' actions, as an audit has them do.
        vectors = [config.env.make_vector(config.envs_per_shard) for _ in self._shards]
        self._followers = [Shard(config, "bench", shard, vectors[shard]) for shard in self._shards]
        self._round = 0

    def measure(self, seconds: float) -> Parts:
        """Go on for about so long, at least through a few rounds; torch is left with the learner's threads.

        Medians over rounds: an episode's end, or other work on the machine, makes some of them dear.
        """
        rounds, until = 0, time.perf_counter() + seconds
        costs: list[tuple[float, float, float]] = []
        while rounds < 2 * WARM_UP or time.perf_counter() < until:
            steps, *spent, fragment_bytes = self._next_round()
            if rounds >= WARM_UP and steps:
                costs.append((spent[0] / steps, spent[1] / steps, spent[2] / steps))
            rounds += 1
        acting, learning, stepping = (1e6 * median(column) for column in zip(*costs, strict=True))
        inference = max(acting - stepping, 0.0)
        return Parts(stepping, inference, learning, self._config.learner.threads, fragment_bytes)

    def _next_round(self) -> tuple[int, float, float, float, int]:
        """Its env steps; the seconds of making it, of learning from it, of its steps alone; a fragment's bytes."""
        prepare_torch(self._config, WORKER_THREADS)
        began = time.perf_counter()
        learner, round_ = self._learner, self._round
        fragments, _ = self._worker.simulate(self._shards, round_, learner.version, learner.weights())
        simulated = time.perf_counter()
        prepare_torch(self._config, self._config.learner.threads)
        learner.update(learner.version, (), None, fragments)
        learned = time.perf_counter()
        for follower, fragment in zip(self._followers, fragments, strict=True):
            follower.replay(round_, fragment.version, fragment.actions)
        stepped = time.perf_counter()
        self._round += 1
        steps = sum(int(fragment.valid.sum()) for fragment in fragments)
        return steps, simulated - began, learned - simulated, stepped - learned, _bytes_of(fragments[0])


def ceiling_report(config: RunConfig, parts: Sequence[Parts], speeds: Sequence[float]) -> dict[str, Any]:
    """Costs, the ceiling of the config's layout, and the share of it that training reached, with its interval.

    Args:
        config: The layout.
        parts: Measured in turn with `speeds`, so that each pair met the same machine.
        speeds: Trained env steps/s, as many.
    """
    layout = min(config.worker_count(), config.shards), os.cpu_count() or 1
    ceilings = [one.ceiling(*layout) for one in parts]
    share = ratio_interval(speeds, ceilings)
    medians = {name: median(getattr(one, name) for one in parts) for name in ("stepping", "inference", "learning")}
    return {
        **asdict(parts[0]),
        **medians,
        "ceiling": median(ceilings),
        "share": share["ratio"],
        "share_low": share["ratio_low"],
        "share_high": share["ratio_high"],
    }


def _bytes_of(fragment: Fragment) -> int:
    return sum(int(array.nbytes) for array in vars(fragment).values() if hasattr(array, "nbytes"))
