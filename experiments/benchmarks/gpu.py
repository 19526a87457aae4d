"""Times gradient steps of Atari on a GPU: on 7,168 rows, whole and in slices, from pinned memory and from ordinary.

`python experiments/benchmarks/gpu.py`, on a machine with a GPU. Both ways of fetching take turns.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor

from hydrahive.algorithms import batch
from hydrahive.core.fragment import Fragment
from hydrahive.runtime.config.run_config import LearnerConfig, RunConfig
from hydrahive.runtime.config.parsing import load_run_config
from hydrahive.runtime.roles.env_worker import WORKER_THREADS, EnvWorker
from hydrahive.runtime.roles.learner import Learner
from hydrahive.runtime.config.machine_class import machine_class, prepare_torch

ROOT = Path(__file__).parents[2]
SHAPE = ["--shards", "2", "--envs_per_shard", "32", "--fragment_length", "16"]
SHAPE += ["--algorithm.epochs", "1", "--algorithm.minibatches", "1"]
COPIES = 7
"""Times that the two shards' fragments stand in a round."""
TURNS, WARM_UP = 15, 3


def main() -> None:
    """Print a line for each network and number of slices."""
    for encoder in ("Nature", "Impala"):
        config = load_run_config(ROOT / "experiments/atari/breakout.yaml", [*SHAPE, "--policy.encoder", encoder])
        prepare_torch(config, WORKER_THREADS)
        fragments = made(config)
        rows = sum(int(fragment.valid.sum()) for fragment in fragments)
        print(f"{encoder}, {rows:,} rows, {machine_class(config, 'cuda')}")
        for slices in (1, 4, 8):
            pinned, ordinary = timed(replace(config, learner=LearnerConfig(slices=slices)), fragments)
            ratio = [ours / other for ours, other in zip(pinned, ordinary, strict=True)]
            print(f"  {slices} slices: {middle(pinned, 1e3, 'ms')}, {middle(ratio, 1, 'of ordinary memory')}")


def made(config: RunConfig) -> list[Fragment]:
    """A round of `COPIES` times two shards."""
    worker = EnvWorker(config, "gpu")
    for shard in range(config.shards):
        worker.adopt(shard, None)
    fragments, _ = worker.simulate(range(config.shards), 0, 0, Learner(config, "cuda").weights())
    return [
        replace(fragment, id=replace(fragment.id, shard=copy * config.shards + fragment.id.shard))
        for copy in range(COPIES)
        for fragment in fragments
    ]


def timed(config: RunConfig, fragments: list[Fragment]) -> tuple[list[float], list[float]]:
    """Seconds of each update, fetched from pinned memory and from ordinary memory."""
    learner, ours = Learner(config, "cuda"), batch._slice

    def unpinned(*given: object, pinned: bool) -> dict[str, Tensor]:
        return ours(*given, pinned=False)

    def plain(parts: Iterable[dict[str, Tensor]], device: torch.device) -> Iterator[dict[str, Tensor]]:
        return ({name: tensor.to(device) for name, tensor in part.items()} for part in parts)

    def update() -> float:
        torch.cuda.synchronize()
        began = time.perf_counter()
        learner.update(learner.version, False, None, fragments)
        torch.cuda.synchronize()
        return time.perf_counter() - began

    pinned, ordinary = [], []
    for _ in range(WARM_UP + TURNS):
        pinned.append(update())
        with mock.patch.object(batch, "_slice", unpinned), mock.patch.object(batch, "_fetched", plain):
            ordinary.append(update())
    return pinned[WARM_UP:], ordinary[WARM_UP:]


def middle(values: list[float], scale: float, unit: str) -> str:
    """The median, and the range without the extremes."""
    low, *_, high = sorted(values)[1:-1]
    return f"{statistics.median(values) * scale:.2f} ({low * scale:.2f} to {high * scale:.2f}) {unit}"


if __name__ == "__main__":
    main()
