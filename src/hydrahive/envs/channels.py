"""Pictures as convolutions read them."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces


class ChannelsFirst(gymnasium.ObservationWrapper[Any, Any, Any]):
    """Shows `[C, H, W]` where the environment shows `[H, W, C]`; to be named among an environment's `wrappers`."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        """Wrap an environment.

        Raises:
            ValueError: If it shows no pictures.
        """
        super().__init__(env)
        space = env.observation_space
        if not isinstance(space, spaces.Box) or len(space.shape) != 3:
            raise ValueError(f"ChannelsFirst needs observations [H, W, C], not {space}")
        low, high = (self.observation(bound) for bound in (space.low, space.high))
        self.observation_space = spaces.Box(low, high, dtype=low.dtype)  # type: ignore[arg-type]

    def observation(self, observation: Any) -> np.ndarray:
        """One picture, laid out anew."""
        picture: np.ndarray = np.ascontiguousarray(np.moveaxis(observation, -1, 0))
        return picture
