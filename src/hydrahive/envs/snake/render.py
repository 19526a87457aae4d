"""Snake for people: text and pictures."""

from __future__ import annotations

from typing import Any

import numpy as np

CELL_PIXELS = 16
BACKGROUND = np.array([18, 22, 30], np.uint8)
GRID = np.array([26, 32, 42], np.uint8)
WALL_COLOUR = np.array([70, 80, 100], np.uint8)
FOOD_COLOUR = np.array([238, 82, 83], np.uint8)
HEAD_COLOUR = np.array([255, 230, 109], np.uint8)
NECK_COLOUR = np.array([46, 213, 115], np.float64)
TAIL_COLOUR = np.array([16, 84, 60], np.float64)
HEAD_MARKS = "^>v<"


def cells(snake: Any, board: np.ndarray, rules: Any) -> tuple[np.ndarray, tuple[int, int], tuple[int, int] | None]:
    """What lies where: how long each cell stays body, `[size, size]`; the head's (row, column); the food's.

    The food is None on a full board.
    """
    border, stride, size = int(rules["border"]), int(rules["stride"]), int(rules["size"])
    inside = board.reshape(stride, stride)[border : border + size, border : border + size]
    left = np.maximum(inside - snake["clock"], 0)

    def place(cell: int) -> tuple[int, int]:
        return cell // stride - border, cell % stride - border

    food = None if snake["length"] == size * size else place(int(snake["food"]))
    return left, place(int(snake["head"])), food


def as_text(snake: Any, board: np.ndarray, rules: Any) -> str:
    """The board in characters: `o` body, `*` food, and an arrow for the head."""
    left, head, food = cells(snake, board, rules)
    rows = [["o" if cell else "." for cell in row] for row in left]
    if food is not None:
        rows[food[0]][food[1]] = "*"
    rows[head[0]][head[1]] = HEAD_MARKS[int(snake["heading"])]
    edge = "+" + "-" * len(rows) + "+"
    return "\n".join([edge, *("|" + "".join(row) + "|" for row in rows), edge]) + "\n"


def as_pixels(snake: Any, board: np.ndarray, rules: Any) -> np.ndarray:
    """The board with a frame of wall, a pixel for each cell: `uint8 [size + 2, size + 2, 3]`."""
    left, head, food = cells(snake, board, rules)
    size = left.shape[0]
    checkered = (np.add.outer(np.arange(size), np.arange(size)) % 2)[..., None]
    colours = np.where(checkered, GRID, BACKGROUND).astype(np.uint8)
    share = (left / snake["length"])[..., None]
    body = (share * NECK_COLOUR + (1 - share) * TAIL_COLOUR).astype(np.uint8)
    colours = np.where(left[..., None] > 0, body, colours)
    if food is not None:
        colours[food] = FOOD_COLOUR
    colours[head] = HEAD_COLOUR
    framed = np.full((size + 2, size + 2, 3), WALL_COLOUR, np.uint8)
    framed[1:-1, 1:-1] = colours
    return framed


def as_picture(snake: Any, board: np.ndarray, rules: Any) -> np.ndarray:
    """The board as `uint8 [H, W, 3]`, with a frame of wall; the body fades towards the tail."""
    return as_pixels(snake, board, rules).repeat(CELL_PIXELS, axis=0).repeat(CELL_PIXELS, axis=1)
