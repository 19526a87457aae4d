"""One world of the swarm for people: all its agents at once."""

from __future__ import annotations

from typing import Any

import numpy as np

from hydrahive.core.streams import derived_seed
from hydrahive.envs.swarm.config import Swarm
from hydrahive.envs.swarm.drawing import drawn
from hydrahive.envs.swarm.vector import SwarmVector
from hydrahive.envs.vector import AT_THE_END
from hydrahive.envs.world import World


class SwarmView(World):
    """A world as it is played."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}

    def __init__(self, config: Swarm, render_mode: str | None = None) -> None:
        """Set up a world of the last stage."""
        self.render_mode = render_mode
        self._vector = SwarmVector(1, config)
        self._vector.advance(AT_THE_END)
        super().__init__(self._vector)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin a world."""
        super().reset(seed=seed)
        observations, infos = self._vector.reset(seed=derived_seed(seed or 0, "view"), options=options)
        self._picture = self._vector.picture()
        return self._shown(observations), infos

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Drive; the reward is the agents' mean, and at the end `score` is their mean of goals reached."""
        observations, rewards, _, truncated, infos = self._vector.step(self._of_agents(actions))
        is_over = bool(truncated.any())
        info = {"score": float(infos["final_info"]["score"][truncated].mean())} if is_over else {}
        if not is_over:
            self._picture = self._vector.picture()
        return self._shown(observations), float(rewards.mean()), False, is_over, info

    def render(self) -> Any:
        """The world, `uint8 [H, W, 3]`; at the end as it was before it began anew."""
        return drawn(self._picture, self._vector.config)

    def close(self) -> None:
        """Nothing to give back."""
