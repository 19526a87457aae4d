"""MinAtar (Young and Tian 2019), which registers its games only when it is told to; needs the extra `minatar`."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import Env
from minatar.gym import register_envs

from hydrahive.envs.channels import ChannelsFirst

register_envs()


class PlanesFirst(ChannelsFirst):
    """Shows `[channels, 10, 10]` float32, as convolutions read it, instead of bool `[10, 10, channels]`."""

    def reset(self, **given: Any) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin a game; MinAtar itself would have sticky actions repeat the last one of the game before."""
        self.unwrapped.game.last_action = 0  # type: ignore[attr-defined]
        Env.reset(self.unwrapped, seed=given.get("seed"))  # whose generator Gymnasium's checker looks for
        return super().reset(**given)

    def observation(self, observation: Any) -> np.ndarray:
        """One observation, laid out anew."""
        return super().observation(observation).astype(np.float32)
