"""Observations of any shape of space as one row of numbers each, and masks of legal actions among them."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from hydrahive.core.errors import ConfigError

MASK = "action_mask"
"""Where Gymnasium's and PettingZoo's environments tell which actions are legal: a key of observations or of infos."""


class Flattener:
    """Takes a space's observations apart: numbers for the network, and the mask if there is one among them.

    Box observations stay as they are. Others become one float32 row: parts of a Dict or Tuple side by side (a Dict's
    in the order of its keys), a Discrete or MultiDiscrete as one-hot rows.

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
        self.space = space if isinstance(space, spaces.Box) else _flat_space(space)

    def observations(self, given: Any, count: int) -> np.ndarray:
        """`count` observations, as a vector environment gives them together, laid out."""
        if self._only is not None:
            given = given[self._only]
        if isinstance(self._source, spaces.Box):
            observations: np.ndarray = given
            return observations
        return _laid_out(self._source, given, count)

    def one(self, given: Any) -> np.ndarray:
        """One observation, laid out.

        Raises:
            ValueError: If it has another shape than the space says.
        """
        row: np.ndarray = self.observations(_as_batch(given), 1)[0]
        if row.shape != self.space.shape:
            raise ValueError(f"an observation has shape {list(row.shape)}; its space says {list(self.space.shape)}")
        return row


def _as_batch(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_batch(part) for key, part in value.items()}
    if isinstance(value, tuple):
        return tuple(_as_batch(part) for part in value)
    return np.asarray(value)[None]


def _flat_space(space: spaces.Space[Any]) -> spaces.Box:
    low, high = _bounds(space)
    return spaces.Box(low, high, dtype=np.float32)


def _bounds(space: spaces.Space[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest values of a laid-out observation, float32 `[F]`."""
    if isinstance(space, spaces.Box):
        return space.low.astype(np.float32).ravel(), space.high.astype(np.float32).ravel()
    if isinstance(space, spaces.Dict | spaces.Tuple):
        bounds = [_bounds(part) for _, part in _parts(space)]
        return np.concatenate([low for low, _ in bounds]), np.concatenate([high for _, high in bounds])
    size = _one_hot_size(space)
    return np.zeros(size, np.float32), np.ones(size, np.float32)


def _one_hot_size(space: spaces.Space[Any]) -> int:
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    if isinstance(space, spaces.MultiDiscrete):
        return int(space.nvec.sum())
    if isinstance(space, spaces.MultiBinary):
        return int(np.prod(space.shape))
    accepted = (
        "an environment whose observations are Box, Discrete, MultiDiscrete, MultiBinary, or a Dict or Tuple of such"
    )
    raise ConfigError("env", str(space), accepted)


def _parts(space: spaces.Dict | spaces.Tuple) -> list[tuple[Any, spaces.Space[Any]]]:
    return list(space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces))


def _laid_out(space: spaces.Space[Any], given: Any, count: int) -> np.ndarray:
    """Observations as rows, float32 `[count, F]`."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        return np.concatenate([_laid_out(part, given[key], count) for key, part in _parts(space)], axis=1)
    values = np.asarray(given)
    if isinstance(space, spaces.Discrete):
        return _one_hot(values.reshape(count, 1) - space.start, [int(space.n)])
    if isinstance(space, spaces.MultiDiscrete):
        return _one_hot((values - space.start).reshape(count, -1), [int(n) for n in space.nvec.ravel()])
    return values.reshape(count, -1).astype(np.float32)


def _one_hot(values: np.ndarray, sizes: list[int]) -> np.ndarray:
    """`[N, D]` integers, each below its size, as `[N, sum(sizes)]`.

    Raises:
        ValueError: If one is not.
    """
    beyond = (values < 0) | (values >= sizes)
    if beyond.any():
        place = int(np.argwhere(beyond)[0, 1])
        raise ValueError(f"an observation counts {values[beyond][0]} from its first value on; there are {sizes[place]}")
    out = np.zeros((len(values), sum(sizes)), np.float32)
    starts = np.cumsum([0, *sizes[:-1]])
    np.put_along_axis(out, values.astype(np.int64) + starts, 1.0, axis=1)
    return out


def mask_row(mask: Any) -> np.ndarray:
    """One environment's mask as bool `[actions]`; a MultiDiscrete space's has one array for each choice."""
    parts = mask if isinstance(mask, tuple | list) else [mask]
    row = np.concatenate([np.ravel(np.asarray(part)) for part in parts]).astype(bool)
    return row if row.any() else np.ones_like(row)
