"""What environments give, held against what they declare: whatever differs is one line that says what was given.

Gymnasium and PettingZoo are told alike. The sentences begin with a verb: whoever asked says who gave it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from hydrahive.core.errors import NotAsDeclaredError

KINDS = "biuf"
"""Of numpy's types those that are numbers."""

SHOWN = 60
"""Characters that are shown of what was given."""


def as_declared(given: Any, space: spaces.Box, shape: tuple[int, ...]) -> np.ndarray:
    """An observation, or several, as their space says; another type is cast where that changes no value.

    Real numbers may be rounded to fewer digits, but not be lost: a number too large is.

    Args:
        given: What an environment gave.
        space: Of one observation.
        shape: Of what was given, as it should be.

    Raises:
        NotAsDeclaredError: If it has another shape, or a type whose values the space's type does not hold.
    """
    array = given if isinstance(given, np.ndarray) else _as_array(given)
    if array.dtype == space.dtype and array.shape == shape:
        return array
    if array.dtype.kind not in KINDS:
        raise NotAsDeclaredError(f"gave {in_words(given)} as an observation; its space says {_declared(space)}")
    if array.shape != shape:
        raise NotAsDeclaredError(
            f"gave an observation of shape {list(array.shape)}; its space says {list(shape)} ({_declared(space)})"
        )
    return cast(array, np.dtype(space.dtype))


def cast(array: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """Numbers in another type that holds them.

    Raises:
        NotAsDeclaredError: If a value would be another; says which.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        made = array.astype(dtype)
        if array.dtype.kind == "f" and dtype.kind == "f":
            changed = np.isfinite(array) & ~np.isfinite(made)
        else:
            changed = made != array
    if changed.any():
        value, wrong = array[changed].ravel()[0], made[changed].ravel()[0]
        raise NotAsDeclaredError(
            f"gave {array.dtype} observations where its space declares {dtype}, which makes {wrong} of {value}: let "
            "observation_space say what is given, or cast it in a wrapper"
        )
    return made


def _as_array(given: Any) -> np.ndarray:
    try:
        return np.asarray(given)
    except ValueError:  # rows of unlike lengths
        return np.empty(0, object)


def _declared(space: spaces.Box) -> str:
    return f"a Box of {space.dtype} {list(space.shape)}"


def in_words(given: Any) -> str:
    """What something is, as a person would say it, in few characters."""
    if isinstance(given, np.ndarray):
        return f"an array of {given.dtype} {list(given.shape)}"
    if isinstance(given, tuple | list | dict):
        return f"a {type(given).__name__} of {len(given)}"
    text = " ".join(repr(given).split())
    return text if len(text) <= SHOWN else f"a {type(given).__name__}"


def begun(given: Any) -> tuple[Any, dict[str, Any]]:
    """What a reset gave: observations and infos.

    Raises:
        NotAsDeclaredError: If it is anything else.
    """
    is_pair = isinstance(given, tuple | list) and len(given) == 2
    if not is_pair or not (given[1] is None or isinstance(given[1], dict)):
        raise NotAsDeclaredError(f"gave {in_words(given)} for a reset; expected observation and info")
    return given[0], given[1] or {}


def stepped(given: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
    """What a step gave: observations, rewards, terminations, truncations and infos.

    Raises:
        NotAsDeclaredError: If it is anything else.
    """
    if not (isinstance(given, Sequence) and len(given) == 5):
        what = f"{len(given)} values" if isinstance(given, Sequence) else in_words(given)
        raise NotAsDeclaredError(
            f"gave {what} for a step; expected observation, reward, terminated, truncated and info"
        )
    *rest, infos = given
    return (*rest, infos if isinstance(infos, dict) else {})


def number(reward: Any) -> float:
    """A reward.

    Raises:
        NotAsDeclaredError: If it is no number.
    """
    if isinstance(reward, float | int):  # a bool is one of these, and so is numpy's float64
        return float(reward)
    if not isinstance(reward, np.number | np.bool_ | np.ndarray) or np.shape(reward) or np.iscomplexobj(reward):
        raise NotAsDeclaredError(f"gave {in_words(reward)} as a reward; expected a number")
    return float(reward)


def is_over(told: Any) -> bool:
    """Whether an episode is over.

    Raises:
        NotAsDeclaredError: If that was told by what is neither true nor false.
    """
    if not isinstance(told, bool | int | np.bool_ | np.integer | np.ndarray) or np.shape(told):
        raise NotAsDeclaredError(f"gave {in_words(told)} for whether its episode is over; expected true or false")
    return bool(told)


class Masks:
    """Masks of legal actions, as rows of all choices side by side."""

    def __init__(self, space: spaces.Space[Any]) -> None:
        """For the actions of one environment, as policies take them (`hydrahive.envs.taken`)."""
        counted = space[0] if isinstance(space, spaces.Tuple) else space
        if isinstance(counted, spaces.Discrete):
            self.choices = int(counted.n)
        else:
            self.choices = int(counted.nvec.sum()) if isinstance(counted, spaces.MultiDiscrete) else 0

    def row(self, mask: Any) -> np.ndarray:
        """One environment's mask as bool `[choices]`; one that leaves nothing to choose leaves everything.

        Args:
            mask: 1 or true for what is legal, 0 or false for the rest; of several choices one for each may be given.

        Raises:
            NotAsDeclaredError: If it has another length, or other values.
        """
        parts = list(mask.values()) if isinstance(mask, dict) else mask
        parts = parts if isinstance(parts, tuple | list) else [parts]
        try:
            given = np.concatenate([np.ravel(np.asarray(part)) for part in parts])
        except ValueError:
            given = np.empty(0, object)
        if given.dtype.kind not in KINDS or not ((given == 0) | (given == 1)).all():
            odd = next((one for one in given.tolist() if one not in (0, 1)), in_words(mask))
            raise NotAsDeclaredError(
                f"gave a mask of actions with {odd} in it; expected 1 (or true) for each that is legal, 0 for the rest"
            )
        if len(given) != self.choices:
            raise NotAsDeclaredError(
                f"gave a mask of {len(given)} actions; expected one that says something of each of its {self.choices}"
            )
        row = given.astype(np.bool_)
        return row if row.any() else np.ones_like(row)
