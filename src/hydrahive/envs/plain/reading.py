"""Values made again from JSON and arrays: the reading half of `hydrahive.envs.plain.state`."""

from __future__ import annotations

import math
import random
from collections import Counter, OrderedDict, deque
from types import FunctionType, NoneType
from typing import Any

import gymnasium
import numpy as np

from hydrahive.core.errors import StateRefusedError
from hydrahive.core.state import State
from hydrahive.envs.plain.compiled import is_window
from hydrahive.envs.plain.names import (
    HOLDERS,
    Names,
    attributes,
    inner_spaces,
    is_attributes_only,
    is_tuples_only,
    owner_of,
    put_attributes,
)
from hydrahive.envs.plain.writing import SEEDS, SPELT, content_of

REBUILT = {"OrderedDict": OrderedDict, "Counter": Counter}
"""Dicts of a kind of their own that can be made anew."""

MOST_WORDS = 1_000
"""Of a seed; numpy's own have four."""

BIT_GENERATORS: dict[str, Any] = {
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


class Decoder:
    """Makes the values again; what is met for the first time gets the number that `_Encoder` gave it."""

    def __init__(self, arrays: State, names: Names) -> None:
        """For a state's arrays, and what it may name."""
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
        if kind in ("same", "method", "named", "enum", "flag", "bound", "path"):
            return self._referred(kind, content, current)
        if kind == "scalar":
            return (self._array(content) if isinstance(content, str) else self._spelt(*content)).reshape(-1)[0]
        if kind == "tuple":
            return tuple(self._items(content, current))
        if kind == "record":
            return self._record(content[0], content[1], current)
        if kind == "view":
            return self._view(*content)
        if kind in ("array", "text", "generator", "legacy", "random"):
            self._met.append(self._numpy(kind, content))
            return self._met[-1]
        return self._filled(kind, content, current)

    def _referred(self, kind: str, content: Any, current: Any) -> Any:
        if kind == "bound":
            return self._names.method(self.decoded(content[0], owner_of(current)), content[1])
        if kind == "same":
            return self._met_before(content)
        if kind == "path":
            return self._names.path(*content)
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
            return self._spelt(*content)
        return self._generator(kind, content)

    def _spelt(self, path: Any, dtype: str, shape: list[int]) -> np.ndarray:
        if np.dtype(dtype).kind not in SPELT:
            raise StateRefusedError(f"state with letters of type {dtype!r}")
        return np.frombuffer(self._array(path).tobytes(), dtype).reshape(shape).copy()

    def _generator(self, kind: str, content: Any) -> Any:
        """What random numbers are drawn with."""
        if kind == "random":
            made = random.Random()  # noqa: S311  an environment's own
            made.setstate((made.VERSION, tuple(self._array(content[0]).tolist()), content[1]))
            return made
        if kind == "legacy":
            state = np.random.RandomState()
            state.set_state(Decoder(self._arrays, self._names).decoded(content, None))
            return state
        tree, *seeds = content if isinstance(content, list) else [content]
        bits = Decoder(self._arrays, self._names).decoded(tree, None)
        source = [self._seeds(Decoder(self._arrays, self._names).decoded(seeds[0], None))] if seeds else []
        bit_generator = BIT_GENERATORS[bits["bit_generator"]](*source)
        bit_generator.state = bits
        return np.random.Generator(bit_generator)

    @staticmethod
    def _seeds(told: Any) -> np.random.SeedSequence:
        """What a generator's children are seeded from."""
        entropy, size = told["entropy"], told["pool_size"]
        words = [*(entropy if isinstance(entropy, list | tuple) else [entropy]), *told["spawn_key"], size]
        if not all(type(word) is int and 0 <= word < 2**1024 for word in words) or len(words) > MOST_WORDS:
            raise StateRefusedError("state with seeds that are none")
        if not 0 <= size <= MOST_WORDS:
            raise StateRefusedError("state with seeds that are none")
        return np.random.SeedSequence(**{name: told[name] for name in SEEDS})

    def _filled(self, kind: str, content: Any, current: Any) -> Any:
        """A container; it is met before what it holds is, which may hold it in turn."""
        standing = {
            "holder": self._holder,
            "function": self._function,
            "space": self._space,
            "window": self._window,
            "compiled": self._compiled,
        }
        if kind in standing:
            return standing[kind](content, current)
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
            before, own = (dict(current), attributes(current)) if isinstance(current, dict) else ({}, {})
            made = self._emptied(current, named[0]) if named else {}
            self._met.append(made)
            for key, item in pairs:
                name = self.decoded(key, None)
                made[name] = self.decoded(item, before.get(name))
            if len(named) > 1:
                put_attributes(made, {name: self.decoded(item, own.get(name)) for name, item in named[1]})
        return made

    def _window(self, _: Any, current: Any) -> Any:
        """An array that shows a compiled structure's memory: the one that stands there."""
        if not isinstance(current, np.ndarray) or not is_window(current):
            raise StateRefusedError(f"state with a window on MuJoCo's memory where a {type(current).__name__} is")
        self._met.append(current)
        return current

    def _compiled(self, content: Any, current: Any) -> Any:
        """A model or data of MuJoCo's: those that stand there."""
        self._met.append(current)
        self._names.compiled.put(current, {name: self._array(path) for name, path in content})
        return current

    def _function(self, content: Any, current: Any) -> Any:
        """A function without a name: the one that stands there, which closes over what is put into it."""
        cells = current.__closure__ if isinstance(current, FunctionType) else None
        if cells is None or len(cells) != len(content):
            raise StateRefusedError(f"state with a function where a {type(current).__name__} is")
        self._met.append(current)
        for cell, item in zip(cells, content, strict=True):
            cell.cell_contents = self.decoded(item, content_of(cell))
        return current

    def _space(self, content: Any, current: Any) -> Any:
        """A space that draws: the one that stands there."""
        inner = [space for _, space in inner_spaces(current)] if isinstance(current, gymnasium.Space) else []
        if not isinstance(current, gymnasium.Space) or len(content) != 1 + len(inner):
            raise StateRefusedError(f"state with a space where a {type(current).__name__} is")
        self._met.append(current)
        draws = self.decoded(content[0], None)
        if not isinstance(draws, np.random.Generator | NoneType):
            raise StateRefusedError("state with a space that draws with something else than a generator")
        current._np_random = draws
        for item, space in zip(content[1:], inner, strict=True):
            self.decoded(item, space)
        return current

    def _holder(self, content: Any, current: Any) -> Any:
        """An environment: the one that stands there."""
        if not isinstance(current, HOLDERS):
            raise StateRefusedError(f"state with an environment where a {type(current).__name__} is")
        if not all(self._names.may_set(current, name) for name, _ in content):
            raise StateRefusedError(f"state that replaces a method of a {type(current).__name__}")
        self._met.append(current)
        before = attributes(current)
        put_attributes(current, {})
        try:
            own = {name: self.decoded(item, before.get(name)) for name, item in content}
        except BaseException:
            put_attributes(current, before)  # with which it can be closed, at least
            raise
        put_attributes(current, own)
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

    def _record(self, made: list[str], content: Any, current: Any) -> Any:
        """A tuple of a kind of its own, made without its class's `__new__`: nothing of it runs."""
        kind = self._names.kind(*made)
        if not issubclass(kind, tuple):
            raise StateRefusedError(f"state with a {made[1]} as a tuple, which it is not")
        record = tuple.__new__(kind, self._items(content, current))
        if not is_tuples_only(record):
            raise StateRefusedError(f"state with a {made[1]} as a tuple, which is more than that")
        return record

    def _items(self, content: Any, current: Any) -> list[Any]:
        now = list(current) if isinstance(current, list | tuple | deque) else []
        now += [None] * (len(content) - len(now))
        return [self.decoded(item, old) for item, old in zip(content, now, strict=False)]
