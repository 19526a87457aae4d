"""`hydrahive bench sim`: the environments alone, on one core."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from hydrahive.core.config import EnvConfig
from hydrahive.core.streams import derived_seed, stream

ACTION_ROWS = 512
"""Rows of random actions, drawn beforehand and used in turn."""


def bench_simulation(config: EnvConfig, num_envs: int, seconds: float, windows: int) -> dict[str, Any]:
    """Step `num_envs` environments with uniform random actions: env steps/s of each window and their median.

    Args:
        config: The environment.
        num_envs: How many are stepped as one batch.
        seconds: Length of a window.
        windows: How many windows, after one that warms up.
    """
    env = config.make_vector(num_envs)
    env.reset(seed=derived_seed(0, "bench"))
    env.action_space.seed(derived_seed(0, "bench actions"))
    if hasattr(env.single_action_space, "n"):
        actions = stream(0, "bench actions").integers(0, env.single_action_space.n, (ACTION_ROWS, num_envs))
    else:
        actions = np.stack([env.action_space.sample() for _ in range(ACTION_ROWS)])
    speeds = [_window(env, actions, num_envs, seconds) for _ in range(windows + 1)][1:]
    env.close()
    return {"steps_per_second": float(np.median(speeds)), "windows": speeds, "num_envs": num_envs}


def _window(env: Any, actions: np.ndarray, num_envs: int, seconds: float) -> float:
    started = time.perf_counter()
    calls = 0
    while time.perf_counter() - started < seconds:
        for row in actions:
            env.step(row)
        calls += len(actions)
    return calls * num_envs / (time.perf_counter() - started)
