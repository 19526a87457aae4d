"""Actions of any shape of space as policies take them: counted choices, real numbers, or both side by side."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces

from hydrahive.core.errors import ConfigError

MOST_WHOLE = 1_000
"""Values of a bounded whole number that can be counted as choices."""

ACCEPTED = (
    "an environment whose actions are Discrete, MultiDiscrete, MultiBinary, Box, or a Dict or Tuple of such; whole "
    f"numbers within bounds at most {MOST_WHOLE:,} apart"
)


class Actions:
    """Takes what a policy chose apart into what an environment takes.

    Discrete, MultiDiscrete and Box of one dimension are taken as they are. MultiBinary and whole numbers in a Box are
    counted like a MultiDiscrete; what has more dimensions is laid out in one. A Dict or Tuple is the product of its
    parts: its counted choices side by side, then its real numbers side by side.

    Attributes:
        space: As policies take it: Discrete, MultiDiscrete, Box, or a Tuple of the last two.
    """

    def __init__(self, space: spaces.Space[Any]) -> None:
        """For an environment's actions.

        Raises:
            ConfigError: If they cannot be laid out.
        """
        self._source = space
        self._as_it_is = isinstance(space, spaces.Discrete) or (
            len(space.shape or ()) == 1
            and (isinstance(space, spaces.MultiDiscrete) or (isinstance(space, spaces.Box) and _is_real(space)))
        )
        if self._as_it_is:
            self.space: spaces.Space[Any] = space
            return
        leaves = _leaves(space)
        if not leaves:
            raise ConfigError("env", str(space), ACCEPTED)
        counted = [leaf for leaf in leaves if not isinstance(leaf, spaces.Box) or not _is_real(leaf)]
        real = [leaf for leaf in leaves if isinstance(leaf, spaces.Box) and _is_real(leaf)]
        self._choices = sum(math.prod(leaf.shape or ()) for leaf in counted)
        parts: list[spaces.Space[Any]] = []
        if counted:
            sizes, starts = (np.concatenate(rows) for rows in zip(*map(_counted, counted), strict=True))
            parts.append(spaces.MultiDiscrete(sizes, start=starts))
        if real:
            low, high = (np.concatenate([getattr(leaf, end).ravel() for leaf in real]) for end in ("low", "high"))
            dtype = np.float64 if any(leaf.dtype == np.float64 for leaf in real) else np.float32
            parts.append(spaces.Box(low.astype(dtype), high.astype(dtype), dtype=dtype))
        self.space = parts[0] if len(parts) == 1 else spaces.Tuple(parts)

    def one(self, row: Any) -> Any:
        """One environment's action, of the row that `Distribution.for_env` gives for it."""
        if self._as_it_is:
            return row
        flat = np.asarray(row).reshape(-1)
        counted, real = iter(flat[: self._choices]), iter(flat[self._choices :])
        return _built(self._source, lambda leaf: real if isinstance(leaf, spaces.Box) and _is_real(leaf) else counted)

    def batch(self, rows: np.ndarray) -> Any:
        """Many environments' actions at once, as a vector environment takes them together."""
        if self._as_it_is:
            return rows
        return _together(self._source, [self.one(row) for row in rows])


def _is_real(space: spaces.Box) -> bool:
    return np.dtype(space.dtype).kind == "f"


def _leaves(space: spaces.Space[Any]) -> list[Any]:
    """The parts of a space that have none, in order.

    Raises:
        ConfigError: If one cannot be laid out.
    """
    if isinstance(space, spaces.Dict):
        return [leaf for part in space.spaces.values() for leaf in _leaves(part)]
    if isinstance(space, spaces.Tuple):
        return [leaf for part in space.spaces for leaf in _leaves(part)]
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary | spaces.Box):
        return [space]
    raise ConfigError("env", str(space), ACCEPTED)


def _counted(space: Any) -> tuple[np.ndarray, np.ndarray]:
    """Sizes and first values of a part's choices, `[D]` each.

    Raises:
        ConfigError: If there are too many values to choose from.
    """
    if isinstance(space, spaces.Discrete):
        return np.array([space.n], np.int64), np.array([space.start], np.int64)
    if isinstance(space, spaces.MultiDiscrete):
        return space.nvec.ravel().astype(np.int64), space.start.ravel().astype(np.int64)
    if isinstance(space, spaces.MultiBinary):
        return np.full(math.prod(space.shape), 2), np.zeros(math.prod(space.shape), np.int64)
    low, high = space.low.ravel().astype(np.float64), space.high.ravel().astype(np.float64)
    if not (high - low < MOST_WHOLE).all():
        raise ConfigError("env", str(space), ACCEPTED)
    return (high - low + 1).astype(np.int64), low.astype(np.int64)


def _built(space: Any, source: Callable[[Any], Any]) -> Any:
    """An action of `space`, its numbers taken from what `source` gives for a leaf."""
    if isinstance(space, spaces.Dict):
        return {key: _built(part, source) for key, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(_built(part, source) for part in space.spaces)
    numbers = source(space)
    values = np.array([next(numbers) for _ in range(math.prod(space.shape or ()))])
    if isinstance(space, spaces.Discrete):
        return np.int64(values[0])
    return values.astype(space.dtype).reshape(space.shape)


def _together(space: Any, actions: list[Any]) -> Any:
    """Actions of several environments as Gymnasium's vectors take them."""
    if isinstance(space, spaces.Dict):
        return {key: _together(part, [one[key] for one in actions]) for key, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(_together(part, [one[i] for one in actions]) for i, part in enumerate(space.spaces))
    return np.stack(actions)
