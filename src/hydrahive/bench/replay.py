"""`hydrahive bench replay`: a replay alone, on one core, filled with its run's own first episodes."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

from hydrahive.core.errors import UsageError
from hydrahive.core.streams import stream
from hydrahive.replay.memory import SequenceReplay
from hydrahive.runtime.config.machine_class import prepare_torch
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.roles.env_worker import build_network
from hydrahive.runtime.roles.replay import replay_layout
from hydrahive.runtime.roles.shard import Shard


def bench_replay(config: RunConfig, seconds: float, windows: int) -> dict[str, Any]:
    """Fill the replay, then draw from it: frames/s of each window, their median, and memory over the raw arrays'.

    Args:
        config: A run's, with a replay.
        seconds: Length of a window.
        windows: How many.

    Raises:
        UsageError: If the config has no replay.
    """
    if config.replay is None:
        raise UsageError("bench replay: the config has no replay")
    layout = replay_layout(config)
    memory: SequenceReplay = config.replay.build(layout)
    inserted, inserting = _fill(config, memory)
    generator = stream(0, "bench replay")
    speeds = [_window(memory, generator, seconds) for _ in range(windows + 1)][1:]
    state_bytes = 4 * layout.memory / (config.replay.keeps_memory_every or 1)
    raw = (memory.frames + memory.unfinished_frames) * (layout.frame_bytes + state_bytes)
    return {
        "frames_per_second": float(np.median(speeds)),
        "windows": speeds,
        "inserted_frames_per_second": inserted / inserting,
        "memory_over_raw": memory.nbytes / raw,
        **memory.figures(),
    }


def _fill(config: RunConfig, memory: SequenceReplay) -> tuple[int, float]:
    """Play with fresh weights until the replay is full: frames inserted, and seconds that inserting took."""
    prepare_torch(config, 1)
    network = build_network(config, torch.Generator().manual_seed(0))
    shards = [Shard(config, "bench", i, config.env.make_vector(config.envs_per_shard)) for i in range(config.shards)]
    inserted, inserting, round_ = 0, 0.0, 0
    while memory.frames < 0.9 * memory.config.capacity:
        fragments, summaries = zip(*(shard.simulate(round_, 0, network) for shard in shards), strict=True)
        started = time.perf_counter()
        memory.insert(fragments, summaries)
        inserting += time.perf_counter() - started
        inserted += config.max_steps_per_round
        round_ += 1
    return inserted, inserting


def _window(memory: SequenceReplay, generator: np.random.Generator, seconds: float) -> float:
    started = time.perf_counter()
    frames = 0
    while time.perf_counter() - started < seconds:
        frames += memory.draw(generator).frames
    return frames / (time.perf_counter() - started)
