"""Worlds of several agents as RLlib's MultiAgentEnv."""

from __future__ import annotations

from typing import Any

import numpy as np
from ray.rllib.env.multi_agent_env import MultiAgentEnv

from hydrahive.core.config import EnvConfig
from hydrahive.rllib.shown import MASK, OBSERVATIONS, Shown, first_of, spaces_of
from hydrahive.rllib.tallies import Counter, Tally


class RllibWorld(MultiAgentEnv):
    """One world: its agents are named `agent_0` and so on, and only those who are there are shown.

    The vector begins the next world in the step in which the last agent leaves; what it begins with waits for `reset`.

    Attributes:
        seed: What the first reset begins with.
    """

    def __init__(self, config: EnvConfig) -> None:
        """Make the world."""
        super().__init__()
        self.env = config.make_vector(config.group)
        self.seed: int | None = None
        self._shown, self._first = Shown(self.env.single_observation_space), first_of(self.env.single_action_space)
        self._masks = self.env.legal_actions() is not None
        seen, action = spaces_of(self.env)
        self.possible_agents = [f"agent_{i}" for i in range(config.group)]
        self.agents = list(self.possible_agents)
        self.observation_spaces = dict.fromkeys(self.possible_agents, seen)
        self.action_spaces = dict.fromkeys(self.possible_agents, action)
        self._none: Any = action.sample() * 0
        self._counter = Counter(self.env)
        self._left = np.zeros(config.group, np.bool_)
        self._begun: np.ndarray | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin the world."""
        if self._begun is None:
            given, self.seed = self.seed, None
            self._begun, _ = self.env.reset(seed=given)
            self._counter.begin()
        observations, self._begun = self._begun, None
        self._left[:] = False
        return self._seen(observations, self._there()), {}

    def step(self, action_dict: dict[str, Any]) -> tuple[Any, Any, Any, Any, Any]:
        """Step the world with the actions of those who are there."""
        there = self._there()
        actions = np.stack([np.asarray(action_dict.get(agent, self._none)) for agent in self.possible_agents])
        if self._first is not None:
            actions = actions.astype(np.int64) + self._first
        observations, rewards, terminated, truncated, infos = self.env.step(actions)
        ended = terminated | truncated
        self._counter.step(rewards, ended, ~there, infos)
        self._left |= ended
        present = self._there()
        over = bool((self._left | ~there)[there].all()) and bool(self._left.any()) and self._begins(ended, present)
        last = infos.get("final_obs")
        shown = observations.copy()
        for i in np.flatnonzero(ended):
            if last is not None:
                shown[i] = last[i]
        if over:
            self._begun = observations
        seen = self._seen(shown, (present & ~over) | ended if not over else ended)
        told = {agent: i for i, agent in enumerate(self.possible_agents) if there[i]}
        ends = {agent: bool(terminated[i]) for agent, i in told.items()} | {"__all__": over and bool(terminated.any())}
        cuts = {agent: bool(truncated[i]) for agent, i in told.items()}
        cuts["__all__"] = over and not ends["__all__"]
        return seen, {agent: float(rewards[i]) for agent, i in told.items()}, ends, cuts, {}

    def _begins(self, ended: np.ndarray, present: np.ndarray) -> bool:
        """Whether the world has begun anew: those who have just left are there again."""
        return bool(ended.any() and present[ended].all())

    def _there(self) -> np.ndarray:
        present = self.env.present()
        return np.ones(self.env.num_envs, np.bool_) if present is None else present

    def _seen(self, observations: np.ndarray, of: np.ndarray) -> dict[str, Any]:
        """What these agents see."""
        rows, legal = self._shown.rows(observations), self.env.legal_actions()
        at = [(agent, i) for i, agent in enumerate(self.possible_agents) if of[i]]
        if not self._masks:
            return {agent: rows[i] for agent, i in at}
        masks = np.asarray(legal, np.float32)
        return {agent: {MASK: masks[i], OBSERVATIONS: rows[i]} for agent, i in at}

    def take(self) -> Tally:
        """What was counted since the last call."""
        return self._counter.take()

    def close(self) -> None:
        """Close it."""
        self.env.close()
