"""Observations of any shape of space as one row of numbers each."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from gymnasium import spaces

from hydrahive.core.errors import ConfigError, NotAsDeclaredError
from hydrahive.core.laid_out import Goals, Part, PartsBox, whole_bounds
from hydrahive.envs.given import as_declared, cast, in_words

MASK = "action_mask"
"""Where Gymnasium's and PettingZoo's environments tell which actions are legal: a key of observations or of infos."""

ONE_HOT_MOST = 1_024
"""Things up to which one of them is told by a one-hot row; of more, by its number, which is embedded."""

INDEX_MOST = 1_000_000
"""Things up to which one can be embedded."""

PICTURE_SIDE = 5
"""Height and width from which on a Box of three dimensions is a picture."""

ACCEPTED = "an environment whose observations are Box, Discrete, MultiDiscrete, MultiBinary, or a Dict or Tuple of such"


def as_row(space: spaces.Box) -> PartsBox:
    """A Box of any shape as a row of numbers, or of a picture's."""
    if isinstance(space, PartsBox):
        return space
    low, high = _bounds(space)[0]
    return PartsBox(low, high, _parts_of(space, 0))


class Flattener:
    """Takes a space's observations apart: numbers for the network, and the mask if there is one among them.

    Box observations stay as they are. Others become one float32 row, which says where its parts are
    (`hydrahive.core.laid_out.PartsBox`): those of a Dict or Tuple side by side (a Dict's in the order of its keys), a
    Discrete or MultiDiscrete as one-hot rows, or as a number where there are more than `ONE_HOT_MOST` things.

    Attributes:
        space: Of what the network sees.
        has_mask: Whether observations hold a mask.
    """

    def __init__(self, space: spaces.Space[Any]) -> None:
        """For observations of `space`.

        Raises:
            ConfigError: If there is nothing in it, or a part that cannot be laid out in a fixed number of numbers.
        """
        self.has_mask = isinstance(space, spaces.Dict) and MASK in space.spaces
        if isinstance(space, spaces.Dict) and self.has_mask:
            space = spaces.Dict({key: part for key, part in space.spaces.items() if key != MASK})
        if isinstance(space, spaces.Dict) and list(space.spaces) == ["observation"]:
            space = space["observation"]  # PettingZoo's classics: the mask beside the one thing that is seen
            self._only: str | None = "observation"
        else:
            self._only = None
        if isinstance(space, spaces.Dict | spaces.Tuple) and not len(space):
            raise ConfigError("env", str(space), "an environment that shows something beside masks")
        self._source = space
        if isinstance(space, spaces.Box):
            _refuse_empty(space)
            self.space: spaces.Box = space
            return
        parts = _parts_of(space, 0)
        low, high = (np.concatenate(ends) for ends in zip(*_bounds(space), strict=True))
        self.space = PartsBox(low, high, parts, _goals(space))

    def observations(self, given: Any, count: int) -> np.ndarray:
        """`count` observations, as a vector environment gives them together, laid out.

        Raises:
            NotAsDeclaredError: If they are not what the space says.
        """
        if self._only is not None:
            given = _part(given, self._only)
        if isinstance(self._source, spaces.Box):
            return as_declared(given, self._source, (count, *self._source.shape))
        return _laid_out(self._source, given, count)

    def one(self, given: Any) -> np.ndarray:
        """One observation, laid out; errors as `observations`."""
        if isinstance(self._source, spaces.Box):
            seen = given if self._only is None else _part(given, self._only)
            return as_declared(seen, self._source, self._source.shape)
        row: np.ndarray = self.observations(_as_batch(given), 1)[0]
        return row

    def mask(self, given: Any) -> Any:
        """The mask among an observation, where it holds one; errors as `observations`."""
        return _part(given, MASK) if self.has_mask else None


def _as_batch(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_batch(part) for key, part in value.items()}
    if isinstance(value, tuple):
        return tuple(_as_batch(part) for part in value)
    try:
        return np.asarray(value)[None]
    except ValueError:
        raise NotAsDeclaredError(f"gave {in_words(value)} as an observation, which is no array") from None


def _refuse_empty(space: spaces.Box) -> None:
    if not math.prod(space.shape):
        raise ConfigError("env", str(space), "an environment that shows something")


def _children(space: spaces.Dict | spaces.Tuple) -> list[tuple[Any, spaces.Space[Any]]]:
    return list(space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces))


def _goals(space: spaces.Space[Any]) -> Goals | None:
    """Where goals stand in a laid-out observation, if its keys are those of Gymnasium's `GoalEnv`."""
    if not isinstance(space, spaces.Dict) or not {"achieved_goal", "desired_goal"} <= set(space.spaces):
        return None
    achieved, desired = space["achieved_goal"], space["desired_goal"]
    if not (isinstance(achieved, spaces.Box) and isinstance(desired, spaces.Box) and achieved.shape == desired.shape):
        return None
    places, start = {}, 0
    for key, part in _children(space):
        places[key] = start
        start += sum(one.size for one in _parts_of(part, 0))
    return Goals(places["achieved_goal"], places["desired_goal"], desired.shape, np.dtype(desired.dtype))


def _bounds(space: spaces.Space[Any]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Lowest and highest values of a laid-out observation's parts, float32 `[size]` each."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        return [bounds for _, part in _children(space) for bounds in _bounds(part)]
    if isinstance(space, spaces.Box):
        with np.errstate(over="ignore"):
            return [(space.low.astype(np.float32).ravel(), space.high.astype(np.float32).ravel())]
    sizes = [part.size if part.kind == "numbers" else 1 for part in _parts_of(space, 0)]
    tops = [float(part.count - 1) if part.kind == "index" else 1.0 for part in _parts_of(space, 0)]
    return [(np.zeros(size, np.float32), np.full(size, top, np.float32)) for size, top in zip(sizes, tops, strict=True)]


def _parts_of(space: spaces.Space[Any], start: int) -> list[Part]:
    """The parts of a laid-out observation, the first of which begins at `start`.

    Raises:
        ConfigError: If one has no fixed number of numbers, or tells one of too many things.
    """
    if isinstance(space, spaces.Dict | spaces.Tuple):
        parts: list[Part] = []
        for _, child in _children(space):
            parts += _parts_of(child, parts[-1].start + parts[-1].size if parts else start)
        return parts
    if isinstance(space, spaces.Box):
        _refuse_empty(space)
        shape, size = tuple(space.shape), math.prod(space.shape)
        is_picture = len(shape) == 3 and sorted(shape)[1] >= PICTURE_SIDE
        return [Part("picture" if is_picture else "numbers", start, size, shape, scale=whole_bounds(space))]
    if isinstance(space, spaces.MultiBinary):
        return [Part("numbers", start, math.prod(space.shape))]
    counts = _counts(space)
    if max(counts) <= ONE_HOT_MOST:
        return [Part("numbers", start, sum(counts))]
    parts = []
    for count in counts:
        if count > INDEX_MOST:
            raise ConfigError("env", str(space), f"an environment that shows one of at most {INDEX_MOST:,} things")
        begin = parts[-1].start + parts[-1].size if parts else start
        is_small = count <= ONE_HOT_MOST
        parts.append(Part("numbers", begin, count) if is_small else Part("index", begin, 1, count=count))
    return parts


def _counts(space: spaces.Space[Any]) -> list[int]:
    """Of how many things each number of a space tells one."""
    if isinstance(space, spaces.Discrete):
        return [int(space.n)]
    if isinstance(space, spaces.MultiDiscrete):
        return [int(n) for n in space.nvec.ravel()]
    raise ConfigError("env", str(space), ACCEPTED)


def _part(given: Any, key: Any) -> Any:
    try:
        return given[key]
    except (KeyError, IndexError, TypeError):
        raise NotAsDeclaredError(f"gave {in_words(given)} as an observation, without its part {key!r}") from None


def _laid_out(space: spaces.Space[Any], given: Any, count: int) -> np.ndarray:
    """Observations as rows, float32 `[count, F]`."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        return np.concatenate([_named(part, key, _part(given, key), count) for key, part in _children(space)], axis=1)
    if isinstance(space, spaces.Box):
        rows = as_declared(given, space, (count, *space.shape)).reshape(count, -1)
        return rows if rows.dtype == np.float32 else cast(rows, np.dtype(np.float32))
    as_whole = spaces.Box(0, 1, space.shape, np.int64)  # for its shape and type
    values = as_declared(np.asarray(given), as_whole, (count, *(space.shape or ()))).reshape(count, -1)
    if isinstance(space, spaces.MultiBinary):
        return _one_of(values, np.zeros(1, np.int64), np.full(values.shape[1], 2)).astype(np.float32)
    start = np.ravel(space.start)  # type: ignore[attr-defined]
    return _told(_one_of(values, start, np.array(_counts(space))), _counts(space))


def _named(space: spaces.Space[Any], key: Any, given: Any, count: int) -> np.ndarray:
    """A part of observations as rows; what is wrong with it is said with its key."""
    try:
        return _laid_out(space, given, count)
    except NotAsDeclaredError as wrong:
        raise NotAsDeclaredError(f"{wrong} (its part {key!r})") from None


def _one_of(values: np.ndarray, start: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """`[N, D]` integers less what they begin at, each below its size.

    Raises:
        NotAsDeclaredError: If one is not.
    """
    counted: np.ndarray = values - start
    beyond = (counted < 0) | (counted >= sizes)
    if beyond.any():
        place = int(np.argwhere(beyond)[0, 1])
        least = int(start[place if len(start) > 1 else 0])
        most = least + int(sizes[place]) - 1
        raise NotAsDeclaredError(f"gave {values[beyond][0]} as an observation; its space goes from {least} to {most}")
    return counted


def _told(values: np.ndarray, counts: list[int]) -> np.ndarray:
    """`[N, D]` integers as one-hot rows side by side, or themselves where there are too many things: `[N, F]`."""
    columns = []
    for i, count in enumerate(counts):
        if count > ONE_HOT_MOST and max(counts) > ONE_HOT_MOST:
            columns.append(values[:, i : i + 1].astype(np.float32))
        else:
            row = np.zeros((len(values), count), np.float32)
            np.put_along_axis(row, values[:, i : i + 1], 1.0, axis=1)
            columns.append(row)
    return columns[0] if len(columns) == 1 else np.concatenate(columns, axis=1)
