"""The swarm as PettingZoo's `ParallelEnv`: one world, its agents by name."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

from hydrahive.envs.swarm.config import Swarm
from hydrahive.envs.swarm.drawing import drawn
from hydrahive.envs.swarm.vector import SwarmVector, action_space


class SwarmParallel(ParallelEnv[str, np.ndarray, np.ndarray]):
    """One world; `swarm_v0.parallel_env(agents=10)`.

    Agents are `agent_0`, `agent_1`, ... in the order of their numbers, everywhere. All leave together when time is up.
    """

    metadata = {"name": "swarm_v0", "render_modes": ["rgb_array"], "render_fps": 20, "is_parallelizable": True}

    def __init__(self, render_mode: str | None = None, config: Swarm | None = None, **options: Any) -> None:
        """Set up a world.

        Args:
            render_mode: None or `rgb_array`.
            config: The world; instead of it, its keys may be given one by one as `options`.
            **options: Keys of `Swarm`.
        """
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode: {render_mode!r} is not accepted; expected 'rgb_array'")
        self.render_mode = render_mode
        self.config = config or Swarm(**options)
        self._vector = SwarmVector(1, self.config)
        self.possible_agents = [f"agent_{i}" for i in range(self.config.agents)]
        self.agents: list[str] = []
        self.observation_spaces = dict.fromkeys(self.possible_agents, self._vector.single_observation_space)
        self.action_spaces = {name: action_space(self.config) for name in self.possible_agents}

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """What an agent sees."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """What an agent does."""
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, dict[str, Any]]]:
        """Begin a world, of the first stage."""
        observations, _ = self._vector.reset(seed=seed)
        present = self._vector.present()
        self._columns = range(self.config.agents) if present is None else np.flatnonzero(present).tolist()
        self.agents = [self.possible_agents[i] for i in self._columns]
        return self._by_name(observations), {name: {} for name in self.agents}

    def step(
        self, actions: dict[str, np.ndarray]
    ) -> tuple[dict[str, np.ndarray], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        """Drive for one step; who is given no action stands still.

        Raises:
            ValueError: If an action is of another shape, or not finite.
        """
        commands = np.zeros((self.config.agents, self.config.action_size))
        for name, action in actions.items():
            if np.shape(action) != (self.config.action_size,):
                wanted = [self.config.action_size]
                raise ValueError(f"the action of {name} has shape {list(np.shape(action))}, expected {wanted}")
            commands[self.possible_agents.index(name)] = action
        observations, rewards, _, truncated, infos = self._vector.step(commands)
        is_over = bool(truncated.any())
        if is_over:
            observations = infos["final_obs"]
        told = {name: dict[str, Any]() for name in self.agents}
        if is_over:
            for i, name in zip(self._columns, self.agents, strict=True):
                final = infos["final_info"]
                told[name] = {key: float(values[i]) for key, values in final.items() if not key.startswith("_")}
        result = (
            self._by_name(observations),
            {name: float(rewards[i]) for i, name in zip(self._columns, self.agents, strict=True)},
            dict.fromkeys(self.agents, False),
            dict.fromkeys(self.agents, is_over),
            told,
        )
        if is_over:
            self.agents = []
        return result

    def render(self) -> np.ndarray | None:
        """The world, `uint8 [H, W, 3]`."""
        return drawn(self._vector.picture(), self.config) if self.render_mode else None

    def close(self) -> None:
        """Nothing to give back."""

    def _by_name(self, observations: np.ndarray) -> dict[str, np.ndarray]:
        return {name: observations[i].copy() for i, name in zip(self._columns, self.agents, strict=True)}
