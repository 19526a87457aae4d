"""One Gymnasium environment as it is played and recorded."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from hydrahive.core.errors import NotAsDeclaredError
from hydrahive.envs.flat import MASK, Flattener
from hydrahive.envs.given import Masks, begun, stepped
from hydrahive.envs.taken import Actions


class FlatSingle(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Shows what `GymVector` and `GymSingles` show of each environment; a mask always lies in the infos."""

    def __init__(self, env: gymnasium.Env[Any, Any], *, tells_score: bool = False) -> None:
        """Wrap an environment; `tells_score`: whether a `score` in its infos is the episode's."""
        super().__init__(env)
        self._tells_score = tells_score
        self._flat = Flattener(env.observation_space)
        self._actions = Actions(env.action_space)
        self._masks = Masks(self._actions.space)
        self.observation_space, self.action_space = self._flat.space, self._actions.space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode."""
        given = self.env.reset(seed=seed, options=options)
        try:
            return self._shown(*begun(given))
        except NotAsDeclaredError as wrong:
            raise wrong.of("the environment, when reset,") from None

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step."""
        given = self.env.step(self._actions.one(action))
        try:
            observation, reward, terminated, truncated, info = stepped(given)
            shown, info = self._shown(observation, info)
        except NotAsDeclaredError as wrong:
            raise wrong.of("the environment") from None
        return shown, reward, terminated, truncated, info

    def _shown(self, observation: Any, info: dict[str, Any]) -> tuple[np.ndarray, dict[str, Any]]:
        info = {name: told for name, told in info.items() if self._tells_score or name != "score"}
        mask = self._flat.mask(observation) if self._flat.has_mask else info.get(MASK)
        return self._flat.one(observation), info if mask is None else {**info, MASK: self._masks.row(mask)}
