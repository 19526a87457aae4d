"""The rules of Snake and what the agent sees."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from hydrahive.core.config import EnvConfig, made, require, require_integer, require_number

START_LENGTH = 3


@dataclass(frozen=True)
class SnakeRewards:
    """What each kind of move earns.

    Attributes:
        food: Eating, the last food of a full board included.
        collision: Running into a wall or the body, which ends the episode.
        starvation: Running out of moves, which ends the episode.
        empty: Any other move.
        closer: Added to an other move that shortens the Manhattan distance to the food.
        further: Added to an other move that lengthens it.
    """

    food: float = 1.0
    collision: float = -1.0
    starvation: float = -1.0
    empty: float = 0.0
    closer: float = 0.0
    further: float = 0.0

    def __post_init__(self) -> None:
        """Refuse rewards that are not finite."""
        for key, value in vars(self).items():
            require_number(key, value)


@dataclass(frozen=True)
class Snake(EnvConfig):
    """The game of Snake: three relative actions (left, straight, right), score = foods eaten.

    Attributes:
        size: Side of the square board, in cells, 5 to 64.
        observation: `window` (egocentric, what learns best), `planes` (the whole board turned so that the
            snake heads up, uint8 [4, size, size]), `features` (ai-hydra's 16) or `fisheye` (its 51).
        window: Side of the `window` observation, in cells; odd, so that the head is in the middle.
        starvation: Moves allowed per cell of the snake's length before it starves.
        starvation_since: Count those moves since the last `food`, or, as ai-hydra does, since the `start`
            of the episode, which punishes long good games.
        tail_blocks: Whether the cell that the tail is about to leave counts as body, as in ai-hydra.
        rewards: What each kind of move earns.
    """

    numpy_products: ClassVar[bool] = False
    tells_fatal_actions: ClassVar[bool] = True

    size: int = 20
    observation: Literal["window", "planes", "features", "fisheye"] = "window"
    window: int = 9
    starvation: int = 100
    starvation_since: Literal["food", "start"] = "food"
    tail_blocks: bool = False
    rewards: SnakeRewards = field(default_factory=SnakeRewards)

    def __post_init__(self) -> None:
        """Refuse boards and windows that make no sense."""
        require_integer("size", self.size, 5, 64)
        require_integer("starvation", self.starvation, 1, 1_000_000)
        largest = self.size if self.size % 2 else self.size - 1
        fits = 3 <= self.window <= self.size and self.window % 2 == 1
        if self.observation == "window":
            require(fits, "window", self.window, f"an odd integer from 3 to {largest} on a board of {self.size}")

    def make_vector(self, num_envs: int) -> Any:
        """`num_envs` boards behind Gymnasium's `VectorEnv`."""
        return made("hydrahive.envs.snake.vector:SnakeVector", num_envs, self)

    def make_single(self, render_mode: str | None = None) -> Any:
        """One board as a `gymnasium.Env`."""
        return made("hydrahive.envs.snake.single:SnakeEnv", render_mode=render_mode, config=self)
