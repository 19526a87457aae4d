"""Many boards of Snake at once, behind Gymnasium's `VectorEnv`."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numba import njit

from hydrahive.core.state import State
from hydrahive.core.streams import stream_key
from hydrahive.envs.snake.board import (
    ATE,
    PLAYING,
    SNAKE,
    empty_boards,
    is_deadly_turn,
    move,
    rules_of,
    start_episode,
)
from hydrahive.envs.snake.config import START_LENGTH, Snake
from hydrahive.envs.snake.observations import observation_space, observe
from hydrahive.envs.snake.render import as_pixels
from hydrahive.envs.vector import SnapshotVectorEnv, take_state


@njit(cache=True)
def reset_all(snakes: Any, boards: Any, rules: Any, observations: Any) -> None:
    """Start an episode on every board."""
    for i in range(snakes.shape[0]):
        start_episode(snakes[i], boards[i], rules[0])
        observe(snakes[i], boards[i], rules[0], observations[i])


@njit(cache=True)
def step_all(
    snakes: Any,
    boards: Any,
    rules: Any,
    actions: Any,
    observations: Any,
    rewards: Any,
    ended: Any,
    last_observations: Any,
    last_scores: Any,
) -> int:
    """Move every snake; where an episode ends, keep its last observation and score and start the next.

    Returns:
        How many episodes ended.
    """
    count = 0
    for i in range(snakes.shape[0]):
        snake, board = snakes[i], boards[i]
        outcome, reward = move(snake, board, rules[0], actions[i])
        rewards[i] = reward
        ended[i] = outcome != PLAYING and outcome != ATE
        if ended[i]:
            count += 1
            last_scores[i] = snake.length - START_LENGTH
            observe(snake, board, rules[0], last_observations[i])
            start_episode(snake, board, rules[0])
        observe(snake, board, rules[0], observations[i])
    return count


@njit(cache=True)
def fatal_turns(snakes: Any, boards: Any, rules: Any, fatal: Any) -> None:
    """Note for every snake which actions would end in a wall or the body."""
    for i in range(snakes.shape[0]):
        for action in range(3):
            fatal[i, action] = is_deadly_turn(snakes[i], boards[i], rules[0], action)


class SnakeVector(SnapshotVectorEnv):
    """`num_envs` independent boards; an episode that ends restarts in the same step.

    Each board places its food from its own counter-based stream, so a board's game depends on its seed and
    its actions only. Every end of an episode is a termination: starving is a rule of the game.
    """

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}

    def __init__(self, num_envs: int, config: Snake) -> None:
        """Lay out the boards; the first `reset` seeds and fills them."""
        self.num_envs = num_envs
        self.config = config
        self.single_action_space = spaces.Discrete(3)
        self.single_observation_space: spaces.Box = observation_space(config)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self._rules = rules_of(config)
        self._snakes = np.zeros(num_envs, SNAKE)
        self._boards = empty_boards(num_envs, self._rules)
        self._last_scores = np.zeros(num_envs, np.int64)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode on every board; with a seed, also begin the streams anew.

        Args:
            seed: One integer, from which each board derives its own, or one for each board.
            options: Not used.
        """
        if seed is None and not self._snakes["key"].any():
            seed = int(np.random.SeedSequence().generate_state(1)[0])
        if seed is not None:
            for i in range(self.num_envs):
                key = stream_key(seed, "snake", i) if isinstance(seed, int) else stream_key(seed[i] or 0, "snake")
                self._snakes["key"][i] = key[0]
            self._snakes["draws"] = 0
        observations = self._new_observations()
        reset_all(self._snakes, self._boards, self._rules, self._flat(observations))
        return observations, {}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Move every snake by its action, `[num_envs]` integers 0 left, 1 straight, 2 right."""
        observations, last_observations = self._new_observations(), self._new_observations()
        rewards = np.empty(self.num_envs, np.float32)
        ended = np.empty(self.num_envs, np.bool_)
        count = step_all(
            self._snakes,
            self._boards,
            self._rules,
            actions,
            self._flat(observations),
            rewards,
            ended,
            self._flat(last_observations),
            self._last_scores,
        )
        infos: dict[str, Any] = {}
        if count:
            scores = {"score": self._last_scores.copy(), "_score": ended.copy()}
            infos = {
                "final_obs": last_observations,
                "_final_obs": ended.copy(),
                "final_info": scores,
                "_final_info": ended.copy(),
            }
        return observations, rewards, ended, np.zeros(self.num_envs, np.bool_), infos

    def fatal_actions(self) -> np.ndarray:
        """Which turns would end in a wall or the body; starving is not foreseen."""
        fatal = np.empty((self.num_envs, 3), np.bool_)
        fatal_turns(self._snakes, self._boards, self._rules, fatal)
        return fatal

    def thumbnail(self, index: int) -> np.ndarray:
        """The board, a pixel for each cell."""
        return as_pixels(self._snakes[index], self._boards[index], self._rules[0])

    def snapshot(self) -> State:
        """Snakes (as raw bytes of their records) and boards."""
        return {"snakes": self._snake_bytes().copy(), "boards": self._boards.copy()}

    def restore(self, state: State) -> None:
        """Continue from `snapshot`'s state."""
        take_state(self._snake_bytes(), state, "snakes")
        take_state(self._boards, state, "boards")

    def _snake_bytes(self) -> np.ndarray:
        return self._snakes.view(np.uint8).reshape(self.num_envs, SNAKE.itemsize)

    def _flat(self, observations: np.ndarray) -> np.ndarray:
        return observations.reshape(self.num_envs, -1)

    def _new_observations(self) -> np.ndarray:
        space = self.single_observation_space
        return np.empty((self.num_envs, *space.shape), space.dtype)


def make_snake_vector(num_envs: int, **options: Any) -> SnakeVector:
    """What `gymnasium.make_vec("hydrahive/Snake-v0")` calls; `options` are the keys of `Snake`."""
    return SnakeVector(num_envs, Snake(**options))
