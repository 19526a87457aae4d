"""What RLlib is shown of an environment: the vectors' own observations, as its networks take them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from gymnasium import spaces
from torch import Tensor

from hydrahive.core.errors import ConfigError
from hydrahive.core.laid_out import StatedBox
from hydrahive.envs.vector import SnapshotVectorEnv

OBSERVATIONS, MASK = "observations", "action_mask"
"""Parts of an observation where masks say which actions are legal."""


PICTURE = 16
"""The smallest side of a picture; what is smaller, as the boards of many games, is laid out in a row."""


class Shown:
    """Rows stay rows of float32; pictures `[C, H, W]` become `[H, W, C]`, bytes among them numbers in [0, 1].

    Attributes:
        space: Of one observation as RLlib sees it, without its mask.
    """

    def __init__(self, space: Any) -> None:
        """Of a vector's observations.

        Raises:
            ConfigError: If RLlib has no use for them.
        """
        if isinstance(space, StatedBox):
            raise ConfigError("env.init_args.central_state", True, "false: RLlib's modules see what acts, and no more")
        self._is_picture, self._scale = len(space.shape) == 3 and min(space.shape[1:]) >= PICTURE, 1.0
        if self._is_picture:
            c, h, w = space.shape
            shape: tuple[int, ...] = (h, w, c)
        else:
            shape = (math.prod(space.shape),)
        low, high = (self._moved(end[None])[0] for end in (space.low, space.high))
        if self._is_picture and space.dtype == np.uint8:
            self._scale = 255.0
        self.space = spaces.Box(
            (low / self._scale).astype(np.float32).reshape(shape),
            (high / self._scale).astype(np.float32).reshape(shape),
        )

    def _moved(self, rows: np.ndarray) -> np.ndarray:
        return np.moveaxis(rows, 1, -1) if self._is_picture else rows.reshape(len(rows), -1)

    def rows(self, observations: np.ndarray) -> np.ndarray:
        """Observations `[N, ...]` as RLlib sees them."""
        seen = self._moved(observations).astype(np.float32, order="C")
        return seen / np.float32(self._scale) if self._scale != 1.0 else seen

    def tensors(self, observations: Tensor) -> Tensor:
        """Likewise of tensors."""
        moved = observations.movedim(1, -1) if self._is_picture else observations.flatten(1)
        seen = moved.float()
        return seen / self._scale if self._scale != 1.0 else seen


def taken(space: Any) -> Any:
    """The actions that RLlib is asked for: a vector's, counted from 0.

    Raises:
        ConfigError: If RLlib does not know how to choose them.
    """
    if isinstance(space, spaces.Discrete):
        return spaces.Discrete(int(space.n))
    if isinstance(space, spaces.MultiDiscrete) and space.nvec.ndim == 1:
        return spaces.MultiDiscrete(space.nvec)
    if isinstance(space, spaces.Box) and np.dtype(space.dtype).kind == "f":
        return space
    raise ConfigError("env", str(space), "an environment with Discrete, MultiDiscrete or Box actions beside RLlib")


def spaces_of(env: SnapshotVectorEnv) -> tuple[Any, Any]:
    """What RLlib sees of one environment of a vector, with its masks where it has any, and what it does there."""
    seen: Any = Shown(env.single_observation_space).space
    legal = env.legal_actions()
    if legal is not None:
        seen = spaces.Dict({MASK: spaces.Box(0.0, 1.0, (int(legal.shape[1]),), np.float32), OBSERVATIONS: seen})
    return seen, taken(env.single_action_space)


def first_of(space: Any) -> Any:
    """What a vector counts its first action as: a number, or one for each choice; None where nothing is counted."""
    if isinstance(space, spaces.Discrete):
        return int(space.start)
    return space.start if isinstance(space, spaces.MultiDiscrete) else None
