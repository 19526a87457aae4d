"""What an agent carries from step to step in a shard: names, types and shapes, known from the config alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from hydrahive.runtime.config.run_config import RunConfig

Shapes = dict[str, tuple[np.dtype[Any], tuple[int, ...]]]
"""Type and shape of arrays, by name."""


def carry_shapes(config: RunConfig, action_shape: tuple[int, ...]) -> Shapes:
    """Type and shape of each part of what is carried, `[B, ...]`, for actions of a shape; some may hold nothing."""
    columns, whole, real = config.envs_per_shard, np.dtype(np.int64), np.dtype(np.float32)
    parts: Shapes = {"memory": (real, (columns, config.policy.memory_size))}
    parts |= dict.fromkeys(config.algorithm.carries, (whole, (columns,)))
    return parts | ({"noise": (real, (columns, *action_shape))} if config.algorithm.carries_noise else {})


def carries_something(config: RunConfig) -> bool:
    """Whether a shard's state holds anything that only acting advances."""
    return bool(config.policy.memory_size or config.algorithm.carries or config.algorithm.carries_noise)
