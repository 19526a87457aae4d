"""An environment's state as JSON and arrays: the writing half of `hydrahive.envs.plain.state`."""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum, Flag
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType, NoneType
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec

from hydrahive.core.errors import SnapshotUnsupportedError, StateRefusedError
from hydrahive.core.state import State
from hydrahive.envs.plain.compiled import is_window, kind_of
from hydrahive.envs.plain.names import (
    HOLDERS,
    Names,
    attributes,
    class_spaces,
    inner_spaces,
    is_attributes_only,
    is_named,
    is_tuples_only,
    owner_of,
)

DRAWING = ("pygame.surface.Surface", "pygame.font.Font", "pygame.freetype.Font", "pygame.time.Clock")
"""Types that pictures are made with; left as they are, too."""

WINDOWS = "dm_control.mujoco.index"
"""Of this module are names for MuJoCo's arrays; left as they are, for the arrays are put back in their places."""

CONSTANTS = (
    EnvSpec,
    type,
    np.dtype,
    FunctionType,
    BuiltinFunctionType,
    MethodType,
    ModuleType,
    type(threading.Lock()),
    type(threading.RLock()),
)
"""Objects that are left as they are; nobody holds a lock between two steps."""

DRAWERS = (np.random.Generator, np.random.RandomState, random.Random)
"""What random numbers are drawn with."""

SPELT = "SUmMcf"
"""Kinds of numpy's types that are kept as bytes: letters, times, and numbers that a checkpoint does not hold."""

WIDEST = 8
"""Bytes of a number that a checkpoint holds."""

SEEDS = ("entropy", "spawn_key", "pool_size", "n_children_spawned")
"""Of what numpy's generators were seeded with; their children are drawn from it."""


class Encoder:
    """Turns values into JSON: plain scalars as they are, all else as a one-key object that says what it was.

    What can change, and might stand in several places, is numbered in the order in which it is met; where it stands
    again, only its number does.
    """

    def __init__(self, names: Names) -> None:
        """For what a restore will find."""
        self.arrays: State = {}
        self._names = names
        self._numbers: dict[int, int] = {}
        self._aside_spaces: set[int] = set()
        """Those that nobody plays with."""

    def encoded(self, value: Any, path: str) -> Any:
        """What says in JSON what stands at a path; its arrays are put aside."""
        if type(value) is str and (placed := self._names.placed(value)) is not None:
            return {"path": list(placed)}
        if value is None or type(value) in (bool, int, float, str):
            return value
        if isinstance(value, Flag):
            return {"flag": [type(value).__module__, type(value).__qualname__, value.value]}
        if isinstance(value, Enum):
            return {"enum": [type(value).__module__, type(value).__qualname__, value.name]}
        if type(value) is tuple:
            return {"tuple": self._items(value, path)}
        if is_tuples_only(value) and self._names.know(type(value)):
            made = [type(value).__module__, type(value).__qualname__]
            return {"record": [made, self._items(value, path)]}
        if isinstance(value, np.generic):
            return {"scalar": self._placed_or_spelt(np.array(value), path)}
        return self._encoded_reference(value, path)

    def _encoded_reference(self, value: Any, path: str) -> Any:
        """What is found again, rather than made again; the rest is numbered."""
        if (owner := owner_of(value)) is not None and not _is_constant(owner):
            if id(owner) in self._numbers:
                return {"method": [self._numbers[id(owner)], self._method(value, path)]}
            return {"bound": [self.encoded(owner, f"{path}.__self__"), self._method(value, path)]}
        if is_named(value):
            if not self._names.know(value):
                named = f"{value.__module__}.{value.__qualname__}"
                raise SnapshotUnsupportedError(f"its attribute {path!r} holds {named}, which it did not when made")
            return {"named": [value.__module__, value.__qualname__]}
        if id(value) in self._numbers:
            return {"same": self._numbers[id(value)]}
        if isinstance(value, gymnasium.Space) and id(value) not in self._aside_spaces and _draws(value):
            return self._numbered(value, lambda: {"space": self._drawing(value, path)})
        if isinstance(value, FunctionType) and (cells := value.__closure__):
            return self._numbered(value, lambda: {"function": self._items(map(content_of, cells), path)})
        if _is_constant(value):
            return {"constant": type(value).__name__}
        return self._numbered(value, lambda: self._encoded_object(value, path))

    def _numbered(self, value: Any, encoded: Callable[[], Any]) -> Any:
        self._numbers[id(value)] = len(self._numbers)
        return encoded()

    def _drawing(self, space: Any, path: str) -> list[Any]:
        """What a space draws with, and the spaces in it."""
        own = self.encoded(space._np_random, f"{path}.np_random")
        return [own, *(self.encoded(inner, f"{path}.{name}") for name, inner in inner_spaces(space))]

    def _method(self, value: Any, path: str) -> str:
        """The name of a method, which a restore will find."""
        name = str(value.__name__)
        try:
            if self._names.method(value.__self__, name) == value:
                return name
        except StateRefusedError:
            pass
        raise SnapshotUnsupportedError(f"its attribute {path!r} holds the method {name}, which it did not when made")

    def _encoded_object(self, value: Any, path: str) -> Any:
        if type(value) is np.ndarray and value.dtype.kind != "O":
            return self._encoded_array(value, path)
        if kind_of(value):
            taken = self._names.compiled.taken(value, path)
            return {"compiled": [[name, self._placed(array, f"{path}.{name}")] for name, array in taken.items()]}
        if isinstance(value, DRAWERS):
            return self._encoded_drawer(value, path)
        if type(value) is list:
            return {"list": self._items(value, path)}
        if type(value) is deque:
            return {"deque": [value.maxlen, self._items(value, path)]}
        if isinstance(value, dict):
            kind = [] if type(value) is dict else [type(value).__name__]
            pairs, own = self._pairs(value.items(), path), attributes(value)
            return {"dict": [pairs, *kind, self._pairs(own.items(), path)] if own else [pairs, *kind]}
        if isinstance(value, HOLDERS):
            return self._holder(value, path)
        if is_attributes_only(value) and self._names.know(type(value)):
            made = [type(value).__module__, type(value).__qualname__]
            return {"object": [made, self._pairs(vars(value).items(), path)]}
        raise SnapshotUnsupportedError(f"its attribute {path!r} holds a {type(value).__name__}")

    def _encoded_drawer(self, value: Any, path: str) -> Any:
        """What random numbers are drawn with."""
        if isinstance(value, np.random.Generator):
            bits = self._aside(value.bit_generator.state, path)
            seeds = value.bit_generator.seed_seq
            if type(seeds) is not np.random.SeedSequence:
                return {"generator": bits}
            return {
                "generator": [bits, self._aside({name: getattr(seeds, name) for name in SEEDS}, f"{path}.seed_seq")]
            }
        if type(value) is np.random.RandomState:
            return {"legacy": self._aside(value.get_state(legacy=False), path)}
        if type(value) is random.Random:
            _, words, after = value.getstate()
            return {"random": [self._placed(np.array(words, np.uint32), path), after]}
        raise SnapshotUnsupportedError(f"its attribute {path!r} holds a {type(value).__name__}")

    def _encoded_array(self, value: np.ndarray, path: str) -> Any:
        if is_window(value):
            return {"window": str(value.dtype)}
        if (root := _root_of(value)) is not None:
            offset = value.__array_interface__["data"][0] - root.__array_interface__["data"][0]
            place = [offset, value.dtype.str, list(value.shape), list(value.strides)]
            return {"view": [self.encoded(root, f"{path}.base"), *place]}
        placed = self._placed_or_spelt(value, path)
        return {"array": placed} if isinstance(placed, str) else {"text": placed}

    def _placed_or_spelt(self, value: np.ndarray, path: str) -> Any:
        """Where an array is put: as it is, or as bytes with type and shape, where a checkpoint knows no such type."""
        if value.dtype.kind in "biuf" and value.dtype.itemsize <= WIDEST:
            return self._placed(value.copy(), path)
        if value.dtype.kind not in SPELT:
            raise SnapshotUnsupportedError(f"its attribute {path!r} holds an array of {value.dtype}")
        letters = np.frombuffer(value.tobytes(), np.uint8).copy()
        return [self._placed(letters, path), value.dtype.str, list(value.shape)]

    def _holder(self, value: Any, path: str) -> Any:
        self._refuse_replaced(value, path)
        own = attributes(value)
        if isinstance(value, gymnasium.vector.VectorEnv):  # what it shows of itself; nobody plays with these
            self._aside_spaces |= {id(space) for space in own.values() if isinstance(space, gymnasium.Space)}
        for kind in type(value).__mro__:
            for name, space in class_spaces(kind):
                if self._names.has_drawn(space):
                    shared = f"its class's {name!r} draws random numbers, and all environments of a process share it"
                    raise SnapshotUnsupportedError(f"{shared}: give each one of its own ({path!r})")
                self._aside_spaces.add(id(space))
        return {"holder": self._pairs(own.items(), path)}

    def _refuse_replaced(self, holder: Any, path: str) -> None:
        replaced = next((name for name in vars(holder) if not self._names.may_set(holder, name)), None)
        if replaced is not None:
            raise SnapshotUnsupportedError(f"its attribute {path!r} replaces its method {replaced} by another")

    def _aside(self, value: Any, path: str) -> Any:
        """A value that nobody else holds, and whose place in memory another may take."""
        aside = Encoder(self._names)
        aside.arrays = self.arrays
        return aside.encoded(value, path)

    def _items(self, values: Iterable[Any], path: str) -> list[Any]:
        return [self.encoded(value, f"{path}.{i}") for i, value in enumerate(values)]

    def _pairs(self, items: Iterable[tuple[Any, Any]], path: str) -> list[Any]:
        return [[self._key(key, path), self.encoded(value, f"{path}.{key}")] for key, value in items]

    def _key(self, key: Any, path: str) -> Any:
        if not isinstance(key, NoneType | bool | int | float | str | tuple | Enum | np.generic):
            raise SnapshotUnsupportedError(f"its attribute {path!r} has keys that are a {type(key).__name__}")
        return self.encoded(key, f"{path}.key")

    def _placed(self, array: np.ndarray, path: str) -> str:
        while path in self.arrays:  # keys of unlike types, or with dots in them, may read alike
            path += "'"
        self.arrays[path] = array
        return path


def _root_of(array: np.ndarray) -> np.ndarray | None:
    """The array whose memory another one shows a part of; None where it has its own."""
    root = array
    while isinstance(root.base, np.ndarray):
        root = root.base
    is_part = root is not array and array.size and root.flags.c_contiguous and root.dtype.kind not in "OSU"
    return root if is_part and array.dtype.kind not in "SU" else None


def _is_constant(value: Any) -> bool:
    """Whether a value is left as it is."""
    kind = type(value)
    module = getattr(kind, "__module__", None)  # some compiled types have none
    is_drawn_with = f"{module}.{kind.__name__}" in DRAWING
    return isinstance(value, (*CONSTANTS, gymnasium.Space)) or is_drawn_with or module == WINDOWS


def _draws(space: Any) -> bool:
    """Whether a space, or one in it, has drawn or been seeded."""
    return getattr(space, "_np_random", None) is not None or any(_draws(inner) for _, inner in inner_spaces(space))


def content_of(cell: Any) -> Any:
    """What a function closes over in this cell; None where it is empty."""
    try:
        return cell.cell_contents
    except ValueError:  # it is empty
        return None
