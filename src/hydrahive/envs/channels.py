"""Pictures as convolutions read them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv
from pettingzoo.utils import BaseParallelWrapper


class ChannelsFirst(gymnasium.ObservationWrapper[Any, Any, Any]):
    """Shows `[C, H, W]` where the environment shows `[H, W, C]`; to be named among an environment's `wrappers`."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        """Wrap an environment.

        Raises:
            ValueError: If it shows no pictures.
        """
        super().__init__(env)
        self.observation_space = _channels_first(env.observation_space, self.observation)

    def observation(self, observation: Any) -> np.ndarray:
        """One picture, laid out anew."""
        return _laid_out(observation)


class ParallelChannelsFirst(BaseParallelWrapper[Any, Any, Any]):  # type: ignore[misc]
    """Likewise, for what each agent of a PettingZoo world sees."""

    def __init__(self, env: ParallelEnv[Any, Any, Any]) -> None:
        """Wrap a world; errors as `ChannelsFirst`."""
        super().__init__(env)
        self._spaces = {
            agent: _channels_first(env.observation_space(agent), _laid_out) for agent in env.possible_agents
        }

    def observation_space(self, agent: Any) -> spaces.Box:
        """What an agent sees."""
        return self._spaces[agent]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        """Begin the world."""
        observations, infos = super().reset(seed, options)
        return self._laid_out(observations), infos

    def step(self, actions: dict[Any, Any]) -> tuple[Any, Any, Any, Any, Any]:
        """Step the world."""
        observations, *told = super().step(actions)
        return self._laid_out(observations), *told

    def _laid_out(self, observations: dict[Any, Any]) -> dict[Any, Any]:
        return {agent: None if seen is None else _laid_out(seen) for agent, seen in observations.items()}


def _channels_first(space: Any, laid_out: Callable[[Any], np.ndarray]) -> spaces.Box:
    if not isinstance(space, spaces.Box) or len(space.shape) != 3:
        raise ValueError(f"ChannelsFirst needs observations [H, W, C], not {space}")
    low, high = laid_out(space.low), laid_out(space.high)
    return spaces.Box(low, high, dtype=low.dtype)  # type: ignore[arg-type]


def _laid_out(picture: Any) -> np.ndarray:
    laid_out: np.ndarray = np.ascontiguousarray(np.moveaxis(picture, -1, 0))
    return laid_out
