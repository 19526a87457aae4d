"""Observations laid out as rows of numbers: of parts that belong together, and of agents that are unlike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from gymnasium import spaces


class GroupedBox(spaces.Box):
    """Rows that begin with what an agent sees, zeros up to the widest group's, and end with its group's one-hot.

    Attributes:
        widths: Numbers that each group's agents see.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        """For groups whose agents see so many numbers each."""
        self.widths = tuple(widths)
        super().__init__(-np.inf, np.inf, (max(widths) + len(widths),), np.float32)

    def laid_out(self, seen: np.ndarray, group: int) -> np.ndarray:
        """The row, float32 `[F]`, of what an agent of a group sees, `[widths[group]]`."""
        row = np.zeros(self.shape, np.float32)
        row[: self.widths[group]] = seen.ravel()
        row[max(self.widths) + group] = 1.0
        return row


@dataclass(frozen=True)
class Part:
    """A stretch of a row.

    Attributes:
        kind: `numbers`, `picture`, or `index`: one of so many things, told by one number.
        start: Where it begins.
        size: How many numbers it has.
        shape: Of a picture.
        count: Of the things.
        scale: What its numbers lie between, where they are whole and bounded: lowest and highest; else None.
    """

    kind: Literal["numbers", "picture", "index"]
    start: int
    size: int
    shape: tuple[int, ...] = ()
    count: int = 0
    scale: tuple[float, float] | None = None


@dataclass(frozen=True)
class Goals:
    """Where a row tells which goal was reached, and which one is to be: as many numbers each.

    Attributes:
        achieved: Where the one begins.
        desired: Where the other begins.
        shape: Of a goal.
        dtype: Of a goal as the environment itself tells it.
    """

    achieved: int
    desired: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        """Numbers of a goal."""
        return math.prod(self.shape)


class PartsBox(spaces.Box):
    """Rows of an observation's parts side by side.

    Attributes:
        parts: Those in order, without gaps.
        goals: Where among them goals stand; None where there are none.
    """

    def __init__(self, low: np.ndarray, high: np.ndarray, parts: Sequence[Part], goals: Goals | None = None) -> None:
        """For parts whose numbers lie between bounds, float32 `[F]` each."""
        self.parts, self.goals = tuple(parts), goals
        super().__init__(low, high, dtype=np.float32)


class StatedBox(spaces.Box):
    """Rows of what an agent sees, and behind it what its world says of itself, which only a critic reads.

    Attributes:
        seen: What the agent sees.
        state: What the world says.
    """

    def __init__(self, seen: spaces.Box, state: PartsBox) -> None:
        """For rows of the one, then the other."""
        self.seen, self.state = seen, state
        ends = ((box.low, box.high) for box in (seen, state))
        low, high = (np.concatenate(both) for both in zip(*ends, strict=True))
        super().__init__(low, high, dtype=np.float32)

    def judged(self, group: int) -> PartsBox:
        """Such rows with a one-hot row of which agent of a world it is, as its critic reads them."""
        size = self.seen.shape[0]
        own = self.seen.parts if isinstance(self.seen, PartsBox) else (Part("numbers", 0, size),)
        says = [replace(part, start=part.start + size) for part in self.state.parts]
        who = Part("numbers", self.shape[0], group)
        low, high = (np.append(end, np.full(group, at, np.float32)) for end, at in ((self.low, 0), (self.high, 1)))
        return PartsBox(low, high, [*own, *says, who])


def seen_of(space: spaces.Space[object]) -> spaces.Space[object]:
    """What an agent acts on of what it is shown."""
    return space.seen if isinstance(space, StatedBox) else space


def whole_bounds(space: spaces.Box) -> tuple[float, float] | None:
    """What whole numbers lie between; None for others, and where the bounds are all that a type of many bytes holds."""
    dtype = np.dtype(space.dtype)
    if dtype.kind not in "iu" or not space.is_bounded():
        return None
    low, high = float(space.low.min()), float(space.high.max())
    is_all = dtype.itemsize > 1 and (low, high) == (float(np.iinfo(dtype).min), float(np.iinfo(dtype).max))
    return None if is_all or high <= low else (low, high)


def names_among(space: spaces.Box) -> list[int]:
    """The columns of a row that tell one of many things by its number."""
    if isinstance(space, StatedBox):
        return names_among(space.judged(0))
    parts = space.parts if isinstance(space, PartsBox) else ()
    return [part.start for part in parts if part.kind == "index"]


def normalised_space(space: spaces.Box) -> spaces.Box:
    """What an observation is once it is shifted and scaled by what was seen: real numbers without bounds."""
    if isinstance(space, GroupedBox):
        return space
    if isinstance(space, StatedBox):
        return StatedBox(normalised_space(space.seen), _unscaled(space.state))
    if isinstance(space, PartsBox):
        return _unscaled(space)
    return spaces.Box(-np.inf, np.inf, space.shape, np.float32)


def _unscaled(space: PartsBox) -> PartsBox:
    return PartsBox(space.low, space.high, [replace(part, scale=None) for part in space.parts])
