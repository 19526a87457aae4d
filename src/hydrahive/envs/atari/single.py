"""One Atari game as it is played and recorded."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from hydrahive.core.streams import derived_seed
from hydrahive.envs.atari.config import Atari
from hydrahive.envs.atari.vector import AtariVector
from hydrahive.envs.vector import BEGINS_ANEW


class AtariSingle(gymnasium.Env[np.ndarray, Any]):
    """Shows what `AtariVector` shows of each game."""

    def __init__(self, config: Atari, render_mode: str | None = None) -> None:
        """Load the ROM; `render_mode` is None or `rgb_array`."""
        self.render_mode = render_mode
        self._vector = AtariVector(config, 1, in_colours=render_mode == "rgb_array")
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": self._vector.metadata["render_fps"]}
        self.observation_space = self._vector.single_observation_space
        self.action_space = self._vector.single_action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin a game."""
        super().reset(seed=seed)
        game = int(self.np_random.integers(2**31)) if seed is None else derived_seed(seed, "game")
        observations, _ = self._vector.reset(seed=game)
        return observations[0], {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step; where a lost life ends the learner's episode, the game goes on here."""
        observations, rewards, over, truncated, infos = self._vector.step(np.array([action], np.int64))
        final = infos.get("final_info", {"score": np.array([np.nan])})
        goes_on = bool(np.isnan(final["score"][0]))
        if goes_on:
            return observations[0], float(rewards[0]), False, False, {BEGINS_ANEW: True} if over[0] else {}
        told = {"score": float(final["score"][0])}
        return infos["final_obs"][0], float(rewards[0]), bool(over[0]), bool(truncated[0]), told

    def render(self) -> Any:
        """The screen, `uint8 [210, 160, 3]`; None without a render mode."""
        return None if self._vector.picture is None else self._vector.picture[0]

    def close(self) -> None:
        """Let go of the emulator."""
        self._vector.close()
