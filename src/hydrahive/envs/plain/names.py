"""Names in snapshots: of functions and classes that a freshly built environment holds, or its own modules define.

A snapshot may come from anybody who can write where runs are stored. So its names are only looked up, among what is
here already: nothing is imported, and nothing is called.
"""

from __future__ import annotations

import os
import random
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from enum import Enum
from types import BuiltinFunctionType, FunctionType, MemberDescriptorType, MethodType, ModuleType
from typing import Any

import gymnasium
import numpy as np
from pettingzoo import AECEnv, ParallelEnv
from pettingzoo.utils import AgentSelector

from hydrahive.core.errors import StateRefusedError
from hydrahive.envs.plain.compiled import Compiled

HOLDERS = (gymnasium.Env, gymnasium.vector.VectorEnv, AECEnv, ParallelEnv, AgentSelector)
"""Objects that are looked into."""

FOREIGN = frozenset({*sys.stdlib_module_names, "numpy", "ray", "torch"})
"""Packages that are nobody's environment: of theirs only what is held can be named."""

Name = tuple[str, str]
"""Module and qualified name; or a class's and that of a method."""

BUILT_IN = (list, dict, deque, np.ndarray, np.random.Generator, np.random.RandomState, random.Random)
"""Objects of Python's and numpy's whose methods an environment may hold."""


class _Bare:
    pass


def is_attributes_only(value: Any) -> bool:
    """Whether all that an object is stands in its `__dict__`, as its class adds nothing to a bare object's memory."""
    kind = type(value)
    slots = any(vars(base).get("__slots__") for base in kind.__mro__)
    return hasattr(value, "__dict__") and not slots and kind.__basicsize__ <= _Bare.__basicsize__


def is_tuples_only(value: Any) -> bool:
    """Whether an object of a tuple's kind, as a named one, is nothing but its items."""
    kind = type(value)
    is_one = isinstance(value, tuple) and kind is not tuple and tuple in kind.__mro__[1:-1]
    return is_one and not getattr(value, "__dict__", None) and kind.__itemsize__ == tuple.__itemsize__


class Names:
    """What a snapshot of one environment may name."""

    def __init__(
        self, held: dict[Name, Any], modules: frozenset[str], used: frozenset[Name], compiled: Compiled
    ) -> None:
        """Know what is held by name, the modules that define its classes, and what of builtin objects is called.

        Args:
            held: Functions and classes.
            modules: The environment's own.
            used: Types of containers and arrays with the names of their methods that are held; and classes with the
                names of their methods that an object has replaced by an attribute of its own.
            compiled: What of MuJoCo's it holds.
        """
        self.compiled = compiled
        self._held, self._modules, self._used = held, modules, used
        self._shared = {
            id(space): space for kind in held.values() if _is_class(kind) for _, space in class_spaces(kind)
        }
        self._drawn = {number: _drawn_with(space) for number, space in self._shared.items()}
        packages = {module.partition(".")[0] for module in modules}
        self._places = _places(packages)
        # As they are now: what an environment imports only when it plays, a fresh process would not have.
        self._imported = frozenset(name for name in sys.modules if name.partition(".")[0] in packages)

    @staticmethod
    def of(env: Any) -> Names:
        """All that an environment, or a list of some, holds now; to be asked of one that was just built."""
        held: dict[Name, Any] = {}
        modules: set[str] = set()
        used: set[Name] = set()
        reached = list(_reached(env))
        for value in reached:
            used |= _used_by(value)
            for kind in value.__mro__ if _is_class(value) else type(value).__mro__:
                if is_named(kind):
                    held[kind.__module__, kind.__qualname__] = kind
                    if not _is_foreign(kind):
                        modules.add(kind.__module__)
            if is_named(value):
                held[value.__module__, value.__qualname__] = value
        for module in modules:
            for value in list(vars(sys.modules[module]).values()):
                if _is_class(value) and is_named(value) and not _is_foreign(value):
                    held[value.__module__, value.__qualname__] = value
        return Names(held, frozenset(modules), frozenset(used), Compiled(reached))

    def placed(self, text: str) -> tuple[str, str] | None:
        """A path inside a package of the environment's as package and rest: it lies elsewhere on other machines."""
        if text.startswith(os.sep):
            for package, folder in self._places.items():
                if text.startswith(folder):
                    return package, text[len(folder) :]
        return None

    def path(self, package: Any, rest: Any) -> str:
        """The other way.

        Raises:
            StateRefusedError: If it is of no such package.
        """
        if package not in self._places or not isinstance(rest, str):
            raise StateRefusedError(f"state with a path in {package!r}, which is no package of its environment")
        return self._places[package] + rest

    def has_drawn(self, space: Any) -> bool:
        """Whether a class's own space, which all its objects share, has been drawn from since these were made."""
        return _drawn_with(space) != self._drawn.get(id(space), "")

    def know(self, value: Any) -> bool:
        """Whether a function or a class would be found again."""
        try:
            return self.found(value.__module__, value.__qualname__) is value
        except StateRefusedError:
            return False

    def found(self, module: Any, qualname: Any) -> Any:
        """The function or class of a name.

        Raises:
            StateRefusedError: If the environment neither holds nor defines it.
        """
        if not (isinstance(module, str) and isinstance(qualname, str)):
            raise StateRefusedError(f"state with the name {module!r} {qualname!r}, which is none")
        if (module, qualname) in self._held:
            return self._held[module, qualname]
        found = self._defined(module, qualname) if module in self._imported else None
        if not isinstance(found, type) and not (isinstance(found, FunctionType) and module in self._modules):
            raise StateRefusedError(
                f"state that names {module}.{qualname}, which its environment neither holds when it is made nor defines"
            )
        return found

    def kind(self, module: Any, qualname: Any) -> type:
        """The class of a name; errors as `found`."""
        found = self.found(module, qualname)
        if not isinstance(found, type):
            raise StateRefusedError(f"state with {module}.{qualname} as a class, which it is not")
        return found

    def member(self, module: Any, qualname: Any, name: Any) -> Any:
        """The member of an `Enum`, by name or, of a `Flag`, by value; errors as `found`."""
        # Of an enumeration nothing can be made, so any that is imported will do.
        kind = self._defined(module, qualname) if isinstance(module, str) and isinstance(qualname, str) else None
        if not (isinstance(kind, type) and issubclass(kind, Enum)):
            raise StateRefusedError(f"state with a member of {module}.{qualname}, which has none")
        try:
            return kind.__members__[name] if isinstance(name, str) else kind(int(name))
        except (KeyError, TypeError, ValueError):
            raise StateRefusedError(f"state with the member {name!r} of {module}.{qualname}, which is none") from None

    def may_set(self, holder: Any, name: Any) -> bool:
        """Whether an environment may be given an attribute: one that replaces a method only where it did when made."""
        return not _is_method(holder, name) or (type(holder).__qualname__, name) in self._used

    def method(self, owner: Any, name: Any) -> Any:
        """A method of an object that is captured; a property is none, as getting it would run it.

        Of containers and arrays only what was held when the environment was made: `tofile` writes files.

        Raises:
            StateRefusedError: If the object's class has no method of that name, or nobody held it.
        """
        kind = type(owner)
        found = next((vars(base)[name] for base in kind.__mro__ if isinstance(name, str) and name in vars(base)), None)
        if isinstance(found, FunctionType):
            return MethodType(found, owner)
        if isinstance(owner, BUILT_IN) and (kind.__name__, name) in self._used:
            return getattr(owner, name)
        raise StateRefusedError(f"state with the method {name!r} of a {kind.__name__}, which nobody held")

    @staticmethod
    def _defined(module: str, qualname: str) -> Any:
        """What stands under a name in a module that was imported already; None if that is of another module."""
        found: Any = sys.modules.get(module)
        for part in qualname.split("."):
            found = vars(found).get(part) if isinstance(found, ModuleType | type) else None
        return found if getattr(found, "__module__", None) == module else None


def _places(packages: Iterable[str]) -> dict[str, str]:
    """Where packages lie here, each with a separator at its end."""
    files = {name: getattr(sys.modules.get(name), "__file__", None) for name in packages}
    return {name: os.path.dirname(file) + os.sep for name, file in sorted(files.items()) if file}


def _is_class(value: Any) -> bool:
    """Whether it is a class; `list[int]` only looks like one."""
    return issubclass(type(value), type)


def _is_foreign(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in FOREIGN


def is_named(value: Any) -> bool:
    """Whether a function, a class, or the like is found again by its module and name."""
    module, qualname = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not (isinstance(module, str) and isinstance(qualname, str)):
        return False
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found is value


def _used_by(value: Any) -> set[Name]:
    """The method of a container or array that a value is; the methods that an environment has replaced by its own."""
    owner = getattr(value, "__self__", None)
    if isinstance(owner, BUILT_IN):
        return {(type(owner).__name__, str(getattr(value, "__name__", "")))}
    if isinstance(value, HOLDERS):
        return {(type(value).__qualname__, name) for name in vars(value) if _is_method(value, name)}
    return set()


def _is_method(holder: Any, name: Any) -> bool:
    """Whether the class of an object has a function of this name."""
    kinds = type(holder).__mro__
    return isinstance(name, str) and any(isinstance(vars(kind).get(name), FunctionType) for kind in kinds)


def _reached(env: Any) -> Iterator[Any]:
    """Everything that can be reached from an environment through attributes and containers, once each."""
    waiting, seen = [env], set()
    while waiting:
        value = waiting.pop()
        if isinstance(value, Enum):
            yield value
            continue
        if value is None or isinstance(value, bool | int | float | str | np.generic) or id(value) in seen:
            continue
        seen.add(id(value))
        yield value
        if isinstance(value, dict):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple | deque):
            waiting += value
        elif isinstance(value, MethodType):
            waiting.append(value.__self__)
        elif isinstance(value, FunctionType):
            waiting += [cell.cell_contents for cell in value.__closure__ or () if not _is_empty(cell)]
        elif isinstance(value, HOLDERS) or is_attributes_only(value):
            waiting += attributes(value).values()


def _is_empty(cell: Any) -> bool:
    try:
        return cell.cell_contents is None
    except ValueError:
        return True


def owner_of(value: Any) -> Any:
    """Whose method a value is; None where it is none of an object's."""
    owner = value.__self__ if isinstance(value, MethodType | BuiltinFunctionType) else None
    return None if isinstance(owner, type | ModuleType) else owner


def _slots(kind: type) -> Iterator[tuple[str, MemberDescriptorType]]:
    """The slots of a class that is not Python's own, by name."""
    for base in kind.__mro__:
        for name, slot in vars(base).items():
            if isinstance(slot, MemberDescriptorType) and base.__module__.partition(".")[0] not in FOREIGN:
                yield name, slot


def attributes(value: Any) -> dict[str, Any]:
    """All attributes of an object, in its `__dict__` or in slots."""
    found = dict(getattr(value, "__dict__", {}))
    for name, slot in _slots(type(value)):
        try:
            found[name] = slot.__get__(value)
        except AttributeError:  # nothing stands in it
            continue
    return found


def put_attributes(value: Any, wanted: dict[str, Any]) -> None:
    """Give an object these attributes, in this order, and no others; nothing of its class runs."""
    slots = dict(_slots(type(value)))
    for name, slot in slots.items():
        if name in wanted:
            slot.__set__(value, wanted[name])
        elif name in attributes(value):
            slot.__delete__(value)
    if hasattr(value, "__dict__"):
        vars(value).clear()
        vars(value).update({name: item for name, item in wanted.items() if name not in slots})


def inner_spaces(space: Any) -> list[tuple[str, Any]]:
    """The spaces that a space is made of, with the places where they stand."""
    found: list[tuple[str, Any]] = []
    for name, value in vars(space).items():
        items = (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, tuple | list) else ()
        )
        inside = [(f"{name}.{key}", item) for key, item in items if isinstance(item, gymnasium.Space)]
        found += [(name, value)] if isinstance(value, gymnasium.Space) else inside
    return found


def class_spaces(kind: type) -> list[tuple[str, Any]]:
    """The spaces that a class itself has, by name."""
    return [(name, value) for name, value in list(vars(kind).items()) if isinstance(value, gymnasium.Space)]


def _drawn_with(space: Any) -> str:
    """How far the generators of a space, and of those in it, are."""
    own = getattr(space, "_np_random", None)
    inside = "".join(_drawn_with(inner) for _, inner in inner_spaces(space))
    return ("" if own is None else repr(own.bit_generator.state)) + inside
