"""Our vectors as RLlib's env runners take them: the same observations, masks and ends that our own workers see."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from hydrahive.core.config import EnvConfig
from hydrahive.envs.vector import several
from hydrahive.rllib.shown import MASK, OBSERVATIONS, Shown, first_of, spaces_of
from hydrahive.rllib.tallies import Counter, Tally


class RllibVector(VectorEnv[Any, Any, Any]):
    """A vector of single agents.

    RLlib expects that the step behind an episode's end only resets. Where ours begin the next episode in the same step,
    the last observations are shown, and those that the next episodes begin with wait in `begun`.

    Attributes:
        seed: What the first reset begins with.
        begun: First observations of the episodes that began in the last step, by environment.
        same_step: Whether episodes begin in the step in which others end.
    """

    def __init__(self, config: EnvConfig, num_envs: int) -> None:
        """Make so many environments."""
        self.env = config.make_vector(num_envs)
        self.seed: int | None = None
        self.num_envs, self.same_step = num_envs, not self.env.resets_on_next_step
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}
        self._shown, self._first = Shown(self.env.single_observation_space), first_of(self.env.single_action_space)
        self._masks = self.env.legal_actions() is not None
        self.single_observation_space, self.single_action_space = spaces_of(self.env)
        self.observation_space = several(self.single_observation_space, num_envs)
        self.action_space = several(self.single_action_space, num_envs)
        self.begun: dict[int, Any] = {}
        self._counter = Counter(self.env)
        self._resetting = np.zeros(num_envs, np.bool_)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin all episodes; RLlib's own seed, which all its env runners may share, is not used."""
        given, self.seed = self.seed, None
        observations, _ = self.env.reset(seed=given)
        self._counter.begin()
        self.begun.clear()
        self._resetting[:] = False
        return self._seen(observations), {}

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step everywhere."""
        chosen = np.asarray(actions)
        if self._first is not None:
            chosen = chosen.astype(np.int64) + self._first
        observations, rewards, terminated, truncated, infos = self.env.step(chosen)
        ended = terminated | truncated
        self._counter.step(rewards, ended, self._resetting, infos)
        self._resetting = ended if not self.same_step else self._resetting
        seen = self._seen(observations)
        if self.same_step and ended.any():
            self._hold_back(seen, ended, infos["final_obs"])
        return seen, rewards, terminated, truncated, {}

    def _hold_back(self, seen: Any, ended: np.ndarray, last: np.ndarray) -> None:
        """Put last observations in the place of those that the next episodes begin with, which wait."""
        at = np.flatnonzero(ended)
        shown = self._shown.rows(np.stack([last[i] for i in at]))
        for row, i in zip(shown, at.tolist(), strict=True):
            if not self._masks:
                self.begun[i] = seen[i].copy()
                seen[i] = row
            else:
                self.begun[i] = {name: part[i].copy() for name, part in seen.items()}
                seen[OBSERVATIONS][i], seen[MASK][i] = row, 1.0

    def _seen(self, observations: np.ndarray) -> Any:
        rows = self._shown.rows(observations)
        if not self._masks:
            return rows
        legal = self.env.legal_actions()
        return {MASK: np.asarray(legal, np.float32), OBSERVATIONS: rows}

    def take(self) -> Tally:
        """What was counted since the last call."""
        return self._counter.take()

    def close_extras(self, **kwargs: Any) -> None:
        """Close them."""
        self.env.close()
