"""What `gymnasium.make` and `gymnasium.make_vec` call for `hydrahive/Atari-v0`."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import batch_space

from hydrahive.envs.atari.config import Atari
from hydrahive.envs.atari.single import AtariSingle
from hydrahive.envs.atari.vector import AtariVector


def make_atari(render_mode: str | None = None, **options: Any) -> AtariSingle:
    """One game; the options are `Atari`'s."""
    return AtariSingle(Atari(**options), render_mode)


def make_atari_vector(num_envs: int = 1, *, floats: bool = False, **options: Any) -> AtariVector:
    """Many games; the options are `Atari`'s, and whether observations are `Floats`."""
    return (Floats if floats else AtariVector)(Atari(**options), num_envs)


class Floats(AtariVector):
    """Observations float32 `[size, size, stack]` in [0, 1], as RLlib's networks want them."""

    def __init__(self, config: Atari, num_envs: int) -> None:
        """Load the game's ROM `num_envs` times."""
        super().__init__(config, num_envs)
        self.single_observation_space = spaces.Box(0, 1, (config.size, config.size, config.stack), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.stack = 1

    def reset(self, **given: Any) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin a game everywhere."""
        observations, infos = super().reset(**given)
        return as_floats(observations), infos

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step everywhere."""
        observations, rewards, over, truncated, infos = super().step(actions)
        if "final_obs" in infos:
            infos["final_obs"] = as_floats(infos["final_obs"])
        return as_floats(observations), rewards, over, truncated, infos


def as_floats(frames: np.ndarray) -> np.ndarray:
    """Bytes `[N, stack, H, W]` as numbers `[N, H, W, stack]` in [0, 1]."""
    floats: np.ndarray = np.moveaxis(frames, 1, -1).astype(np.float32, order="C") / np.float32(255)
    return floats
