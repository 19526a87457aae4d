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

from hydrahive.core.fragment import Fragment
from hydrahive.runtime.config import RunConfig
from hydrahive.runtime.env_worker import WORKER_THREADS, EnvWorker
from hydrahive.runtime.learner import Learner
from hydrahive.runtime.machine_class import prepare_torch
from hydrahive.runtime.shard import Shard

WARM_UP = 3
"""Rounds that are not counted."""


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

    def report(self, config: RunConfig, speed: float) -> dict[str, Any]:
        """The costs, the ceiling of a config's layout, and the share of it that `speed` reaches."""
        ceiling = self.ceiling(min(config.worker_count(), config.shards), os.cpu_count() or 1)
        return {**asdict(self), "ceiling": ceiling, "share": speed / ceiling}


def measure_parts(config: RunConfig, device: str, seconds: float) -> Parts:
    """Make rounds, and learn from them on a device, `cpu` or `cuda`, in this process for about so long.

    Medians over rounds: an episode's end, or other work on the machine, makes some of them dear.
    """
    prepare_torch(config, WORKER_THREADS)
    learner, worker = Learner(config, device), EnvWorker(config, "bench")
    shards = range(config.shards)
    for shard in shards:
        worker.adopt(shard, None)
    # Shards that take the others' actions, as an audit has them do.
    followers = [Shard(config, "bench", shard, config.env.make_vector(config.envs_per_shard)) for shard in shards]
    acting, moving, learning = [], [], []
    round_, until = 0, time.perf_counter() + seconds
    while round_ < 2 * WARM_UP or time.perf_counter() < until:
        began = time.perf_counter()
        fragments, _ = worker.simulate(shards, round_, learner.version, learner.weights())
        simulated = time.perf_counter()
        prepare_torch(config, config.learner.threads)
        learner.update(learner.version, False, None, fragments)
        prepare_torch(config, WORKER_THREADS)
        learned = time.perf_counter()
        for follower, fragment in zip(followers, fragments, strict=True):
            follower.replay(round_, fragment.version, fragment.actions)
        stepped = time.perf_counter()
        steps = sum(int(fragment.valid.sum()) for fragment in fragments)
        if round_ >= WARM_UP and steps:
            acting.append((simulated - began) / steps)
            learning.append((learned - simulated) / steps)
            moving.append((stepped - learned) / steps)
        round_ += 1
    stepping = median(moving)
    return Parts(
        stepping=stepping * 1e6,
        inference=max(median(acting) - stepping, 0.0) * 1e6,
        learning=median(learning) * 1e6,
        threads=config.learner.threads,
        fragment_bytes=_bytes_of(fragments),
    )


def _bytes_of(fragments: Sequence[Fragment]) -> int:
    arrays = [value for value in vars(fragments[0]).values() if hasattr(value, "nbytes")]
    return sum(int(array.nbytes) for array in arrays)
