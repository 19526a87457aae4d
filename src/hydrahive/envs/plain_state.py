"""Taking the state out of Python environments that know nothing of snapshots, and putting it back.

An environment's state is what its attributes hold: arrays, numbers, text, random generators, containers of them, and
objects whose attributes are all there is to them; what stands in two places is one object again after a restore, and
arrays that share memory do so again. Functions, classes, and methods of what is captured are kept by name. Spaces,
specs, functions without a name and the like are constants. Anything else might hide state, so it is refused by name
rather than silently lost.
"""

from __future__ import annotations

import importlib
import sys
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable
from enum import Enum, Flag
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType, NoneType
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from pettingzoo import AECEnv, ParallelEnv
from pettingzoo.utils import AgentSelector

from hydrahive.core.errors import SnapshotUnsupportedError
from hydrahive.core.state import State, as_json_array, from_json_array

HOLDERS = (gymnasium.Env, gymnasium.vector.VectorEnv, AECEnv, ParallelEnv, AgentSelector)
"""Objects that are looked into."""

DRAWING = ("pygame.surface.Surface", "pygame.font.Font", "pygame.freetype.Font", "pygame.time.Clock")
"""Types that pictures are made with; left as they are, too."""

CONSTANTS = (
    gymnasium.Space,
    EnvSpec,
    type,
    np.dtype,
    FunctionType,
    BuiltinFunctionType,
    MethodType,
    ModuleType,
)
"""Objects that are left as they are."""


REBUILT = {"OrderedDict": OrderedDict, "Counter": Counter}
"""Dicts of a kind of their own that can be made anew."""


class _Bare:
    pass


def _is_attributes_only(value: Any) -> bool:
    """Whether all that an object is stands in its `__dict__`, as its class adds nothing to a bare object's memory."""
    kind = type(value)
    slots = any(vars(base).get("__slots__") for base in kind.__mro__)
    return hasattr(value, "__dict__") and not slots and kind.__basicsize__ <= _Bare.__basicsize__


def capture(env: Any) -> State:
    """The state of an environment and of all it wraps: arrays by path, everything else as one JSON text.

    Raises:
        SnapshotUnsupportedError: If an attribute holds something that is neither plain data nor a known constant.
    """
    encoder = _Encoder()
    tree = encoder.encoded(env, "env")
    return {**encoder.arrays, "tree": as_json_array(tree)}


def restore(env: Any, state: State) -> None:
    """Set every attribute that `capture` recorded; `env` must have been made in the same way."""
    _Decoder(state).decoded(from_json_array(state["tree"]), env)


class _Encoder:
    """Turns values into JSON: plain scalars as they are, all else as a one-key object that says what it was.

    What can change, and might stand in several places, is numbered in the order in which it is met; where it stands
    again, only its number does.
    """

    def __init__(self) -> None:
        self.arrays: State = {}
        self._numbers: dict[int, int] = {}

    def encoded(self, value: Any, path: str) -> Any:
        if value is None or type(value) in (bool, int, float, str):
            return value
        if isinstance(value, Flag):
            return {"flag": [type(value).__module__, type(value).__qualname__, value.value]}
        if isinstance(value, Enum):
            return {"enum": [type(value).__module__, type(value).__qualname__, value.name]}
        if type(value) is tuple:
            return {"tuple": self._items(value, path)}
        if isinstance(value, np.generic):
            return {"scalar": self._placed(np.array(value), path)}
        if (owner := self._numbers.get(id(getattr(value, "__self__", None)))) is not None:
            return {"method": [owner, value.__name__]}
        if _is_named(value):
            return {"named": [value.__module__, value.__qualname__]}
        if isinstance(value, CONSTANTS) or f"{type(value).__module__}.{type(value).__name__}" in DRAWING:
            return {"constant": type(value).__name__}
        if id(value) in self._numbers:
            return {"same": self._numbers[id(value)]}
        self._numbers[id(value)] = len(self._numbers)
        return self._encoded_object(value, path)

    def _encoded_object(self, value: Any, path: str) -> Any:
        if isinstance(value, np.ndarray) and value.dtype.kind != "O":
            if (root := _root_of(value)) is not None:
                offset = value.__array_interface__["data"][0] - root.__array_interface__["data"][0]
                place = [offset, value.dtype.str, list(value.shape), list(value.strides)]
                return {"view": [self.encoded(root, f"{path}.base"), *place]}
            if value.dtype.kind not in "SU":
                return {"array": self._placed(value.copy(), path)}
            letters = np.frombuffer(value.tobytes(), np.uint8).copy()
            return {"text": [self._placed(letters, path), value.dtype.str, list(value.shape)]}
        if isinstance(value, np.random.Generator):
            return {"generator": self._aside(value.bit_generator.state, path)}
        if type(value) is list:
            return {"list": self._items(value, path)}
        if type(value) is deque:
            return {"deque": [value.maxlen, self._items(value, path)]}
        if isinstance(value, dict):
            kind = [] if type(value) is dict else [type(value).__name__]
            return {"dict": [self._pairs(value.items(), path), *kind]}
        if isinstance(value, HOLDERS):
            return {"holder": self._pairs(vars(value).items(), path)}
        if _is_attributes_only(value):
            made = [type(value).__module__, type(value).__qualname__]
            return {"object": [made, self._pairs(vars(value).items(), path)]}
        raise SnapshotUnsupportedError(f"its attribute {path!r} holds a {type(value).__name__}")

    def _aside(self, value: Any, path: str) -> Any:
        """A value that nobody else holds, and whose place in memory another may take."""
        aside = _Encoder()
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


class _Decoder:
    """Makes the values again; what is met for the first time gets the number that `_Encoder` gave it."""

    def __init__(self, arrays: State) -> None:
        self._arrays = arrays
        self._met: list[Any] = []
        self._filled_in: set[int] = set()

    def decoded(self, tree: Any, current: Any) -> Any:
        """What `tree` describes; `current` is what stands there now, kept where the tree says constant."""
        if not isinstance(tree, dict):
            return tree
        ((kind, content),) = tree.items()
        if kind == "same":
            return self._met[content]
        if kind == "constant":
            return current
        if kind == "method":
            return getattr(self._met[content[0]], content[1])
        if kind in ("named", "enum", "flag"):
            return _by_name(kind, content)
        if kind == "scalar":
            return self._arrays[content][()]
        if kind == "tuple":
            return tuple(self._items(content, current))
        if kind == "view":
            return self._view(*content)
        if kind in ("array", "text", "generator"):
            self._met.append(self._numpy(kind, content))
            return self._met[-1]
        return self._filled(kind, content, current)

    def _view(self, of: Any, offset: int, dtype: str, shape: list[int], strides: list[int]) -> np.ndarray:
        """A part of another array, met before it."""
        number = len(self._met)
        self._met.append(None)
        view: np.ndarray = np.ndarray(shape, dtype, self.decoded(of, None), offset, strides)
        self._met[number] = view
        return view

    def _numpy(self, kind: str, content: Any) -> Any:
        if kind == "array":
            return self._arrays[content].copy()
        if kind == "text":
            path, dtype, shape = content
            return np.frombuffer(self._arrays[path].tobytes(), dtype).reshape(shape).copy()
        bits = _Decoder(self._arrays).decoded(content, None)
        bit_generator = getattr(np.random, bits["bit_generator"])()
        bit_generator.state = bits
        return np.random.Generator(bit_generator)

    def _filled(self, kind: str, content: Any, current: Any) -> Any:
        """A container; it is met before what it holds is, which may hold it in turn."""
        if kind == "holder":
            self._met.append(current)
            for name in set(vars(current)) - {name for name, _ in content}:
                del vars(current)[name]
            for name, item in content:
                vars(current)[name] = self.decoded(item, vars(current).get(name))
            return current
        if kind == "object":
            return self._object(content[0], content[1], current)
        if kind == "list":
            made: Any = []
            self._met.append(made)
            made.extend(self._items(content, current))
        elif kind == "deque":
            made = deque(maxlen=content[0])
            self._met.append(made)
            made.extend(self._items(content[1], current))
        else:
            pairs, *named = content
            before = dict(current) if isinstance(current, dict) else {}
            made = self._emptied(current, named[0]) if named else {}
            self._met.append(made)
            for key, item in pairs:
                name = self.decoded(key, None)
                made[name] = self.decoded(item, before.get(name))
        return made

    def _object(self, made: list[str], content: Any, current: Any) -> Any:
        """An object of attributes: the one that stands there, which bound methods may know, or else a new one."""
        kind = type(current)
        if [kind.__module__, kind.__qualname__] != made or id(current) in self._filled_in:
            kind = _class_of(*made)
            current = object.__new__(kind)
            for name, item in content:
                if isinstance(item, dict) and "constant" in item:
                    raise ValueError(f"state with a {made[1]} that must be made anew, and whose {name!r} nobody knows")
        self._filled_in.add(id(current))
        self._met.append(current)
        before = dict(vars(current))
        vars(current).clear()
        for name, item in content:
            vars(current)[name] = self.decoded(item, before.get(name))
        return current

    @staticmethod
    def _emptied(current: Any, name: str) -> Any:
        """A dict of a kind of its own; one whose making nobody knows, as a defaultdict's, is what stands there."""
        if name in REBUILT:
            return REBUILT[name]()
        if type(current).__name__ != name:
            raise ValueError(f"state with a {name} where {type(current).__name__} is now")
        current.clear()
        return current

    def _items(self, content: Any, current: Any) -> list[Any]:
        now = list(current) if isinstance(current, list | tuple | deque) else []
        now += [None] * (len(content) - len(now))
        return [self.decoded(item, old) for item, old in zip(content, now, strict=False)]


def _is_named(value: Any) -> bool:
    """Whether a function, a class, or the like is found again by its module and name."""
    module, qualname = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not (isinstance(module, str) and isinstance(qualname, str)):
        return False
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found is value


def _by_name(kind: str, content: list[Any]) -> Any:
    """A function or class, or a member of an `Enum`, by name or, of a `Flag`, by value."""
    found = _class_of(*content[:2])
    return found if kind == "named" else found[content[2]] if kind == "enum" else found(content[2])


def _root_of(array: np.ndarray) -> np.ndarray | None:
    """The array whose memory another one shows a part of; None where it has its own."""
    root = array
    while isinstance(root.base, np.ndarray):
        root = root.base
    is_part = root is not array and array.size and root.flags.c_contiguous and root.dtype.kind not in "OSU"
    return root if is_part and array.dtype.kind not in "SU" else None


def _class_of(module: str, qualname: str) -> Any:
    found: Any = importlib.import_module(module)
    for part in qualname.split("."):
        if part == "<locals>":
            raise ValueError(f"state with a {qualname} of {module}, which cannot be made anew")
        found = getattr(found, part)
    return found
