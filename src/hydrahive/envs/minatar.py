"""MinAtar (Young and Tian 2019), which registers its games only when it is told to; needs the extra `minatar`."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from minatar.gym import register_envs

register_envs()


class PlanesFirst(gymnasium.ObservationWrapper[Any, Any, Any]):
    """Shows `[channels, 10, 10]` float32, as convolutions read it, instead of bool `[10, 10, channels]`."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        """Wrap a game."""
        super().__init__(env)
        assert env.observation_space.shape is not None
        height, width, channels = env.observation_space.shape
        self.observation_space = spaces.Box(0, 1, (channels, height, width), np.float32)

    def reset(self, **given: Any) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin a game; MinAtar itself would have sticky actions repeat the last one of the game before."""
        self.unwrapped.game.last_action = 0  # type: ignore[attr-defined]
        return super().reset(**given)

    def observation(self, observation: Any) -> np.ndarray:
        """One observation, laid out anew."""
        planes: np.ndarray = np.moveaxis(observation, -1, 0).astype(np.float32)
        return planes
