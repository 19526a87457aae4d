"""A world of agents as one environment, for playing and recording."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np


class World(gymnasium.Env[np.ndarray, np.ndarray]):
    """All agents of the only world of a vector in one call: observations `[agents, ...]`, actions likewise.

    A world of one agent is that agent's environment: without the first axis.
    """

    def __init__(self, vector: Any) -> None:
        """Show the spaces of a vector of one world."""
        self._is_alone = vector.num_envs == 1
        self.observation_space = vector.single_observation_space if self._is_alone else vector.observation_space
        self.action_space = vector.single_action_space if self._is_alone else vector.action_space

    def _shown(self, of_agents: np.ndarray) -> np.ndarray:
        shown: np.ndarray = of_agents[0] if self._is_alone else of_agents
        return shown

    def _of_agents(self, given: np.ndarray) -> np.ndarray:
        of_agents: np.ndarray = given[None] if self._is_alone else given
        return of_agents
