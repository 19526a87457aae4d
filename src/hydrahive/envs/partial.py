"""Environments that show less than they know, so that only those who remember can act well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces


class Only(gymnasium.ObservationWrapper[Any, Any, Any]):
    """Shows some numbers of the row that the environment shows, such as positions without velocities."""

    def __init__(self, env: gymnasium.Env[Any, Any], indices: Sequence[int]) -> None:
        """Wrap an environment.

        Args:
            env: Shows a row of numbers, `[N]`.
            indices: Which of them are shown, from 0, in this order.

        Raises:
            ValueError: If it shows no row, or has no such numbers.
        """
        super().__init__(env)
        space = env.observation_space
        if not isinstance(space, spaces.Box) or len(space.shape) != 1:
            raise ValueError(f"Only needs observations [N], not {space}")
        known = space.shape[0]
        if not indices or any(not isinstance(i, int) or not 0 <= i < known for i in indices):
            raise ValueError(f"Only needs indices from 0 to {known - 1}, not {list(indices)}")
        self._indices = list(indices)
        self.observation_space = spaces.Box(
            space.low[self._indices],
            space.high[self._indices],
            dtype=space.dtype,  # type: ignore[arg-type]
        )

    def observation(self, observation: Any) -> np.ndarray:
        """The numbers that are shown."""
        shown: np.ndarray = np.asarray(observation)[self._indices]
        return shown
