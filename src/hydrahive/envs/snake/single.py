"""One board of Snake as a `gymnasium.Env`."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from hydrahive.envs.snake.board import (
    ATE,
    COLLIDED,
    PLAYING,
    SNAKE,
    STARVED,
    WON,
    empty_boards,
    move,
    rules_of,
    start_episode,
)
from hydrahive.envs.snake.config import START_LENGTH, Snake
from hydrahive.envs.snake.observations import observation_space, observe
from hydrahive.envs.snake.render import as_picture, as_text

ENDINGS = {COLLIDED: "collision", STARVED: "starvation", WON: "win"}


class SnakeEnv(gymnasium.Env[np.ndarray, int]):
    """Snake for one player; `hydrahive/Snake-v0`.

    `info` holds the score so far and, at the end, how the game ended: collision, starvation or win.
    """

    metadata = {"render_modes": ["rgb_array", "ansi"], "render_fps": 15}

    def __init__(self, render_mode: str | None = None, config: Snake | None = None, **options: Any) -> None:
        """Set up a board.

        Args:
            render_mode: None, `rgb_array` or `ansi`.
            config: The rules; instead of it, its keys may be given one by one as `options`.
            **options: Keys of `Snake`, as in `gymnasium.make("hydrahive/Snake-v0", size=10)`.
        """
        if render_mode not in (None, "rgb_array", "ansi"):
            raise ValueError(f"render_mode: {render_mode!r} is not accepted; expected 'rgb_array' or 'ansi'")
        self.render_mode = render_mode
        self.config = config or Snake(**options)
        self.action_space = spaces.Discrete(3)
        self.observation_space = observation_space(self.config)
        self._rules = rules_of(self.config)
        self._snake = np.zeros(1, SNAKE)
        self._board = empty_boards(1, self._rules)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start a game; its food is drawn from a stream that `np_random` keys anew for each game."""
        super().reset(seed=seed)
        self._snake["key"] = self.np_random.integers(2**63)
        self._snake["draws"] = 0
        start_episode(self._snake[0], self._board[0], self._rules[0])
        return self._observation(), self._info()

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Turn and move: 0 left, 1 straight, 2 right."""
        outcome, reward = move(self._snake[0], self._board[0], self._rules[0], int(action))
        info = self._info()
        if outcome in ENDINGS:
            info["ending"] = ENDINGS[outcome]
        return self._observation(), float(reward), outcome not in (PLAYING, ATE), False, info

    def render(self) -> Any:
        """The board as text (`ansi`) or as a picture, `uint8 [H, W, 3]` (`rgb_array`)."""
        if self.render_mode == "ansi":
            return as_text(self._snake[0], self._board[0], self._rules[0])
        if self.render_mode == "rgb_array":
            return as_picture(self._snake[0], self._board[0], self._rules[0])
        return None

    def _observation(self) -> np.ndarray:
        space = self.observation_space
        assert space.shape is not None
        out = np.empty(space.shape, space.dtype)
        observe(self._snake[0], self._board[0], self._rules[0], out.reshape(-1))
        return out

    def _info(self) -> dict[str, Any]:
        return {"score": int(self._snake["length"][0]) - START_LENGTH}
