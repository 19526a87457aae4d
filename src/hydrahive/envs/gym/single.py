"""One Gymnasium environment as it is played and recorded."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from hydrahive.envs.flat import MASK, Flattener, mask_row


class FlatSingle(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Shows what `GymVector` and `GymSingles` show of each environment; a mask always lies in the infos."""

    def __init__(self, env: gymnasium.Env[Any, Any], *, tells_score: bool = False) -> None:
        """Wrap an environment; `tells_score`: whether a `score` in its infos is the episode's."""
        super().__init__(env)
        self._tells_score = tells_score
        self._flat = Flattener(env.observation_space)
        self.observation_space = self._flat.space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self._shown(observation, info)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        shown, info = self._shown(observation, info)
        return shown, reward, terminated, truncated, info

    def _shown(self, observation: Any, info: dict[str, Any]) -> tuple[np.ndarray, dict[str, Any]]:
        info = {name: told for name, told in (info or {}).items() if self._tells_score or name != "score"}
        mask = observation[MASK] if self._flat.has_mask else info.get(MASK)
        return self._flat.one(observation), info if mask is None else {**info, MASK: mask_row(mask)}
