"""Taking the state out of Python environments that know nothing of snapshots, and putting it back.

An environment's state is what its attributes hold: arrays, numbers, text, random generators, containers of them, and
objects whose attributes are all there is to them; what stands in two places is one object again after a restore, and
arrays that share memory do so again. Functions, classes, and methods of what is captured are kept by name. Spaces,
specs, functions without a name and the like are constants. Anything else might hide state, so it is refused by name
rather than silently lost.

A snapshot is data, whoever wrote it: restoring one imports nothing and calls nothing of what it names
(`hydrahive.envs.plain_names`), reads no memory but the snapshot's own, and refuses in one line what no capture writes.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable
from enum import Enum, Flag
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType, NoneType
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec

from hydrahive.core.errors import SnapshotUnsupportedError, StateRefusedError, first_line
from hydrahive.core.state import State, as_json_array, from_json_array
from hydrahive.envs.plain_names import HOLDERS, Names, is_attributes_only, is_named

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

BIT_GENERATORS = {
    kind.__name__: kind
    for kind in (
        np.random.PCG64,
        np.random.PCG64DXSM,
        np.random.MT19937,
        np.random.Philox,
        np.random.SFC64,
    )
}
"""What numpy's generators draw from."""

OVERLAP = 64
"""So many times an array's memory a view of it may show at most."""


def capture(env: Any, names: Names | None = None) -> State:
    """The state of an environment and of all it wraps: arrays by path, everything else as one JSON text.

    Args:
        env: The environment, or a list of some.
        names: What a restore will find; by default what `env` holds now.

    Raises:
        SnapshotUnsupportedError: If an attribute holds something that is neither plain data nor a known constant, or
            that a restore would not find.
    """
    encoder = _Encoder(names or Names.of(env))
    tree = encoder.encoded(env, "env")
    return {**encoder.arrays, "tree": as_json_array(tree)}


def restore(env: Any, state: State, names: Names | None = None) -> None:
    """Set every attribute that `capture` recorded; `env` must have been made in the same way.

    Args:
        env: The environment, or a list of some.
        state: What `capture` gave.
        names: What the state may name; by default what `env` holds now.

    Raises:
        StateRefusedError: If it is no such state, or names something that this environment does not know.
    """
    try:
        _Decoder(state, names or Names.of(env)).decoded(from_json_array(state["tree"]), env)
    except StateRefusedError:
        raise
    except RecursionError:
        raise StateRefusedError("state that is nested too deeply") from None
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, MemoryError) as error:
        raise StateRefusedError(f"state that cannot be read ({type(error).__name__}: {first_line(error)})") from None


class _Encoder:
    """Turns values into JSON: plain scalars as they are, all else as a one-key object that says what it was.

    What can change, and might stand in several places, is numbered in the order in which it is met; where it stands
    again, only its number does.
    """

    def __init__(self, names: Names) -> None:
        self.arrays: State = {}
        self._names = names
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
        return self._encoded_reference(value, path)

    def _encoded_reference(self, value: Any, path: str) -> Any:
        """What is found again, rather than made again; the rest is numbered."""
        if (owner := self._numbers.get(id(getattr(value, "__self__", None)))) is not None:
            return {"method": [owner, self._method(value, path)]}
        if is_named(value):
            if not self._names.know(value):
                named = f"{value.__module__}.{value.__qualname__}"
                raise SnapshotUnsupportedError(f"its attribute {path!r} holds {named}, which it did not when made")
            return {"named": [value.__module__, value.__qualname__]}
        if isinstance(value, CONSTANTS) or f"{type(value).__module__}.{type(value).__name__}" in DRAWING:
            return {"constant": type(value).__name__}
        if id(value) in self._numbers:
            return {"same": self._numbers[id(value)]}
        self._numbers[id(value)] = len(self._numbers)
        return self._encoded_object(value, path)

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
            self._refuse_replaced(value, path)
            return {"holder": self._pairs(vars(value).items(), path)}
        if is_attributes_only(value) and self._names.know(type(value)):
            made = [type(value).__module__, type(value).__qualname__]
            return {"object": [made, self._pairs(vars(value).items(), path)]}
        raise SnapshotUnsupportedError(f"its attribute {path!r} holds a {type(value).__name__}")

    def _refuse_replaced(self, holder: Any, path: str) -> None:
        replaced = next((name for name in vars(holder) if not self._names.may_set(holder, name)), None)
        if replaced is not None:
            raise SnapshotUnsupportedError(f"its attribute {path!r} replaces its method {replaced} by another")

    def _aside(self, value: Any, path: str) -> Any:
        """A value that nobody else holds, and whose place in memory another may take."""
        aside = _Encoder(self._names)
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

    def __init__(self, arrays: State, names: Names) -> None:
        self._arrays, self._names = arrays, names
        self._met: list[Any] = []
        self._filled_in: set[int] = set()

    def decoded(self, tree: Any, current: Any) -> Any:
        """What `tree` describes; `current` is what stands there now, kept where the tree says constant."""
        if not isinstance(tree, dict):
            if isinstance(tree, list):
                raise StateRefusedError("state with a list that does not say what it is")
            return tree
        ((kind, content),) = tree.items()
        if kind == "constant":
            return current
        if kind in ("same", "method", "named", "enum", "flag"):
            return self._referred(kind, content)
        if kind == "scalar":
            return self._array(content).reshape(-1)[0]
        if kind == "tuple":
            return tuple(self._items(content, current))
        if kind == "view":
            return self._view(*content)
        if kind in ("array", "text", "generator"):
            self._met.append(self._numpy(kind, content))
            return self._met[-1]
        return self._filled(kind, content, current)

    def _referred(self, kind: str, content: Any) -> Any:
        if kind == "same":
            return self._met_before(content)
        if kind == "method":
            return self._names.method(self._met_before(content[0]), content[1])
        return self._names.found(*content) if kind == "named" else self._names.member(*content)

    def _met_before(self, number: Any) -> Any:
        if type(number) is not int or not 0 <= number < len(self._met):
            raise StateRefusedError(f"state that points at its part {number!r}, which is not before it")
        return self._met[number]

    def _array(self, path: Any) -> np.ndarray:
        """An array of the state; never one of objects, whose bytes would be taken for addresses."""
        array = self._arrays[path]
        if not isinstance(array, np.ndarray) or array.dtype.hasobject:
            raise StateRefusedError(f"state whose {path!r} is no array of plain numbers")
        return array

    def _view(self, of: Any, offset: int, dtype: str, shape: list[int], strides: list[int]) -> np.ndarray:
        """A part of another array, met before it."""
        number = len(self._met)
        self._met.append(None)
        root, kind = self.decoded(of, None), np.dtype(dtype)
        if not isinstance(root, np.ndarray) or root.dtype.hasobject or kind.hasobject:
            raise StateRefusedError("state with a view of what is no array of plain numbers")
        if math.prod(shape) * kind.itemsize > OVERLAP * root.nbytes:
            raise StateRefusedError(f"state with a view of {shape} of an array of {root.nbytes} bytes")
        view: np.ndarray = np.ndarray(shape, kind, root, offset, strides)  # which sees that it stays inside
        self._met[number] = view
        return view

    def _numpy(self, kind: str, content: Any) -> Any:
        if kind == "array":
            return self._array(content).copy()
        if kind == "text":
            path, dtype, shape = content
            if np.dtype(dtype).kind not in "SU":
                raise StateRefusedError(f"state with letters of type {dtype!r}")
            return np.frombuffer(self._array(path).tobytes(), dtype).reshape(shape).copy()
        bits = _Decoder(self._arrays, self._names).decoded(content, None)
        bit_generator = BIT_GENERATORS[bits["bit_generator"]]()
        bit_generator.state = bits
        return np.random.Generator(bit_generator)

    def _filled(self, kind: str, content: Any, current: Any) -> Any:
        """A container; it is met before what it holds is, which may hold it in turn."""
        if kind == "holder":
            return self._holder(content, current)
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
        elif kind != "dict":
            raise StateRefusedError(f"state with a {kind!r}, which nothing is")
        else:
            pairs, *named = content
            before = dict(current) if isinstance(current, dict) else {}
            made = self._emptied(current, named[0]) if named else {}
            self._met.append(made)
            for key, item in pairs:
                name = self.decoded(key, None)
                made[name] = self.decoded(item, before.get(name))
        return made

    def _holder(self, content: Any, current: Any) -> Any:
        """An environment: the one that stands there."""
        if not isinstance(current, HOLDERS):
            raise StateRefusedError(f"state with an environment where a {type(current).__name__} is")
        if not all(self._names.may_set(current, name) for name, _ in content):
            raise StateRefusedError(f"state that replaces a method of a {type(current).__name__}")
        self._met.append(current)
        for name in set(vars(current)) - {name for name, _ in content}:
            del vars(current)[name]
        for name, item in content:
            vars(current)[name] = self.decoded(item, vars(current).get(name))
        return current

    def _object(self, made: list[str], content: Any, current: Any) -> Any:
        """An object of attributes: the one that stands there, which bound methods may know, or else a new one.

        A new one is made without its class's `__init__` or `__new__`: nothing of it runs.
        """
        kind = self._names.kind(*made)
        if type(current) is not kind or id(current) in self._filled_in:
            current = object.__new__(kind)
            if not is_attributes_only(current) or isinstance(current, HOLDERS):
                raise StateRefusedError(f"state with a {made[1]} as an object of attributes, which it is not")
            for name, item in content:
                if isinstance(item, dict) and "constant" in item:
                    unknown = f"state with a {made[1]} that must be made anew, and whose {name!r} nobody knows"
                    raise StateRefusedError(unknown)
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
        if not isinstance(current, dict) or type(current).__name__ != name:
            raise StateRefusedError(f"state with a {name} where {type(current).__name__} is now")
        current.clear()
        return current

    def _items(self, content: Any, current: Any) -> list[Any]:
        now = list(current) if isinstance(current, list | tuple | deque) else []
        now += [None] * (len(content) - len(now))
        return [self.decoded(item, old) for item, old in zip(content, now, strict=False)]


def _root_of(array: np.ndarray) -> np.ndarray | None:
    """The array whose memory another one shows a part of; None where it has its own."""
    root = array
    while isinstance(root.base, np.ndarray):
        root = root.base
    is_part = root is not array and array.size and root.flags.c_contiguous and root.dtype.kind not in "OSU"
    return root if is_part and array.dtype.kind not in "SU" else None
