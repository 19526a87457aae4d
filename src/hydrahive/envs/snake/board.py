"""How Snake's state lies in memory, and the kernels that advance it.

A board is an `int32` array of *expiries* with a border of wall around it. A cell holds body while its expiry
lies after the snake's clock. The clock ticks on every move that does not eat, so entering a cell sets its
expiry to `clock + length` and the tail leaves by itself: a move writes one cell, whatever the length.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from hydrahive.envs.philox import philox
from hydrahive.envs.snake.config import START_LENGTH, Snake

WALL = np.int32(2**31 - 1)
"""Expiry of a border cell: always solid."""

PLAYING, COLLIDED, STARVED, ATE, WON = range(5)
"""How a move turned out."""

UP, RIGHT, DOWN, LEFT = range(4)

WINDOW, PLANES, FEATURES, FISHEYE = range(4)
"""Kinds of observation, as the kernels read them."""

SNAKE = np.dtype(
    [
        ("key", np.uint64),  # of this snake's own Philox stream, which only places food
        ("draws", np.uint64),  # how often that stream was drawn from
        ("head", np.int32),  # cell indices are into the bordered board
        ("food", np.int32),
        ("heading", np.int32),
        ("length", np.int32),
        ("clock", np.int32),
        ("since_food", np.int32),  # moves
        ("moves", np.int32),  # in this episode
        ("_", np.int32),  # keeps the record a multiple of 8 bytes
    ]
)
"""One snake. Its body lies in the board's expiries."""

RULES = np.dtype(
    [
        ("size", np.int32),
        ("border", np.int32),
        ("stride", np.int32),
        ("starvation", np.int32),
        ("starve_since_start", np.bool_),
        ("tail_blocks", np.bool_),
        ("observation", np.int32),
        ("food", np.float32),
        ("collision", np.float32),
        ("starved", np.float32),
        ("empty", np.float32),
        ("closer", np.float32),
        ("further", np.float32),
    ],
    align=True,
)
"""The rules as the kernels read them."""


def rules_of(config: Snake) -> np.ndarray:
    """The config as one record of dtype `RULES`, shape `[]`."""
    rules: Any = np.zeros((), RULES)
    rules["size"] = config.size
    rules["border"] = max(config.window // 2 if config.observation == "window" else 3, 1)
    rules["stride"] = config.size + 2 * rules["border"]
    rules["starvation"] = config.starvation
    rules["starve_since_start"] = config.starvation_since == "start"
    rules["tail_blocks"] = config.tail_blocks
    rules["observation"] = {"window": WINDOW, "planes": PLANES, "features": FEATURES, "fisheye": FISHEYE}[
        config.observation
    ]
    rewards = config.rewards
    for name in ("food", "collision", "empty", "closer", "further"):
        rules[name] = getattr(rewards, name)
    rules["starved"] = rewards.starvation
    record: np.ndarray = rules.reshape(1)
    return record


def empty_boards(num_envs: int, rules: np.ndarray) -> np.ndarray:
    """Boards without snakes: `int32 [num_envs, stride * stride]`, free inside, wall around."""
    stride, border = int(rules["stride"][0]), int(rules["border"][0])
    boards = np.full((num_envs, stride, stride), WALL, np.int32)
    boards[:, border:-border, border:-border] = 0
    return boards.reshape(num_envs, -1)


@njit(cache=True)
def direction(heading: int, stride: int) -> int:
    """The change of cell index of one move with this heading."""
    if heading == UP:
        return -stride
    if heading == RIGHT:
        return 1
    return stride if heading == DOWN else -1


@njit(cache=True)
def place_food(snake: Any, board: Any, rules: Any) -> None:
    """Put food on one of the free cells, each equally likely; the board must have one."""
    free = rules.size * rules.size - snake.length
    bits = np.uint64(philox(snake.key, snake.draws))
    snake.draws += np.uint64(1)
    skip = np.int64((bits * np.uint64(free)) >> np.uint64(32))
    for y in range(rules.size):
        row = (y + rules.border) * rules.stride + rules.border
        for cell in range(row, row + rules.size):
            if board[cell] <= snake.clock:
                if skip == 0:
                    snake.food = cell
                    return
                skip -= 1


@njit(cache=True)
def start_episode(snake: Any, board: Any, rules: Any) -> None:
    """A snake of length 3 in the middle, heading right, body to the left, and food."""
    for y in range(rules.size):
        row = (y + rules.border) * rules.stride + rules.border
        for cell in range(row, row + rules.size):
            board[cell] = 0
    middle = rules.size // 2 + rules.border
    snake.head = middle * rules.stride + middle
    snake.heading = RIGHT
    snake.length = START_LENGTH
    snake.clock = 0
    snake.since_food = 0
    snake.moves = 0
    for i in range(START_LENGTH):
        board[snake.head - i] = START_LENGTH - i
    place_food(snake, board, rules)


@njit(cache=True)
def is_deadly(snake: Any, board: Any, rules: Any, cell: int) -> bool:
    """Whether moving the head to `cell` now would end in a wall or the body."""
    leaving = 0 if cell == snake.food or rules.tail_blocks else 1
    return bool(board[cell] > snake.clock + leaving)


@njit(cache=True)
def is_deadly_turn(snake: Any, board: Any, rules: Any, action: int) -> bool:
    """Whether the action (0 left, 1 straight, 2 right) would end in a wall or the body."""
    heading = (snake.heading + action + 3) % 4
    return is_deadly(snake, board, rules, snake.head + direction(heading, rules.stride))


@njit(cache=True)
def distance_to_food(snake: Any, cell: int, stride: int) -> int:
    """Manhattan distance from `cell` to the food, in cells."""
    return int(abs(cell // stride - snake.food // stride) + abs(cell % stride - snake.food % stride))


@njit(cache=True)
def move_reward(snake: Any, rules: Any, came_from: int) -> float:
    """The reward of a move that neither ate nor ended the episode."""
    reward = rules.empty
    if rules.closer != 0.0 or rules.further != 0.0:
        before = distance_to_food(snake, came_from, rules.stride)
        nearer = distance_to_food(snake, snake.head, rules.stride) < before
        reward += rules.closer if nearer else rules.further
    return float(reward)


@njit(cache=True)
def move(snake: Any, board: Any, rules: Any, action: int) -> tuple[int, float]:
    """Turn by `action` (0 left, 1 straight, 2 right) and move one cell: (how it turned out, reward)."""
    snake.heading = (snake.heading + action + 3) % 4
    came_from = snake.head
    cell = came_from + direction(snake.heading, rules.stride)
    snake.moves += 1
    snake.since_food += 1
    if is_deadly(snake, board, rules, cell):
        return COLLIDED, rules.collision
    snake.head = cell
    if cell == snake.food:
        snake.length += 1
        snake.since_food = 0
        board[cell] = snake.clock + snake.length
        if snake.length == rules.size * rules.size:
            return WON, rules.food
        place_food(snake, board, rules)
        outcome, reward = ATE, rules.food
    else:
        snake.clock += 1
        board[cell] = snake.clock + snake.length
        outcome, reward = PLAYING, move_reward(snake, rules, came_from)
    counted = snake.moves if rules.starve_since_start else snake.since_food
    if counted > rules.starvation * snake.length:
        return STARVED, rules.starved
    return outcome, reward
