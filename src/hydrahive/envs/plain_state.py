"""Taking the state out of Python environments that know nothing of snapshots, and putting it back.

An environment's state is what its attributes hold: arrays, numbers, text, random generators, and containers of
them. Spaces, specs, functions and the like are constants. Anything else might hide state, so it is refused by
name rather than silently lost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from enum import Enum
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
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

DRAWING = ("pygame.surface.Surface", "pygame.font.Font", "pygame.time.Clock")
"""Types that pictures are made with; left as they are, too."""

NUMPY = (np.ndarray, np.generic, np.random.Generator)
"""Numpy's own."""

CONSTANTS = (
    gymnasium.Space,
    EnvSpec,
    type,
    Enum,
    np.dtype,
    FunctionType,
    BuiltinFunctionType,
    MethodType,
    ModuleType,
)
"""Objects that are left as they are."""


def capture(env: Any) -> State:
    """The state of an environment and of all it wraps: arrays by path, everything else as one JSON text.

    Raises:
        SnapshotUnsupportedError: If an attribute holds something that is neither plain data nor a known constant.
    """
    arrays: State = {}
    tree = _encoded(env, "env", arrays)
    return {**arrays, "tree": as_json_array(tree)}


def restore(env: Any, state: State) -> None:
    """Set every attribute that `capture` recorded; `env` must have been made in the same way."""
    _decoded(from_json_array(state["tree"]), env, state)


def _encoded(value: Any, path: str, arrays: State) -> Any:
    """`value` as JSON: plain scalars as they are, all else as a one-key object that says what it was."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, NUMPY) and not (isinstance(value, np.ndarray) and value.dtype.kind == "O"):
        return _encoded_numpy(value, path, arrays)
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [_encoded(item, f"{path}.{i}", arrays) for i, item in enumerate(value)]}
    if type(value) is deque:
        return {"deque": [value.maxlen, _encoded(list(value), path, arrays)]}
    if isinstance(value, dict):
        return {"dict": _encoded_items(value.items(), path, arrays)}
    if isinstance(value, HOLDERS):
        return {"holder": _encoded_items(vars(value).items(), path, arrays)}
    if isinstance(value, CONSTANTS) or f"{type(value).__module__}.{type(value).__name__}" in DRAWING:
        return {"constant": type(value).__name__}
    raise SnapshotUnsupportedError(f"its attribute {path!r} holds a {type(value).__name__}")


def _encoded_numpy(value: Any, path: str, arrays: State) -> Any:
    if isinstance(value, np.random.Generator):
        return {"generator": _encoded(value.bit_generator.state, path, arrays)}
    if isinstance(value, np.generic):
        arrays[path] = np.array(value)
        return {"scalar": path}
    if value.dtype.kind in "SU":
        arrays[path] = np.frombuffer(value.tobytes(), np.uint8).copy()
        return {"text": [path, value.dtype.str, list(value.shape)]}
    arrays[path] = value.copy()
    return {"array": path}


def _encoded_items(items: Iterable[tuple[Any, Any]], path: str, arrays: State) -> list[Any]:
    return [[str(key), _encoded(value, f"{path}.{key}", arrays)] for key, value in items]


def _decoded(tree: Any, current: Any, arrays: State) -> Any:
    """What `tree` describes; `current` is what stands there now, kept where the tree says constant."""
    if not isinstance(tree, dict):
        return tree
    ((kind, content),) = tree.items()
    if kind in ("array", "text", "scalar", "generator"):
        return _decoded_numpy(kind, content, arrays)
    if kind in ("list", "tuple"):
        now = list(current) if isinstance(current, list | tuple) else []
        now += [None] * (len(content) - len(now))
        items = [_decoded(item, old, arrays) for item, old in zip(content, now, strict=False)]
        return items if kind == "list" else tuple(items)
    if kind == "deque":
        return deque(_decoded(content[1], None, arrays), maxlen=content[0])
    if kind == "dict":
        by_name = {str(key): key for key in current} if isinstance(current, dict) else {}
        return {
            by_name.get(name, name): _decoded(item, current[by_name[name]] if name in by_name else None, arrays)
            for name, item in content
        }
    if kind == "holder":
        for name, item in content:
            vars(current)[name] = _decoded(item, vars(current).get(name), arrays)
    return current


def _decoded_numpy(kind: str, content: Any, arrays: State) -> Any:
    if kind == "array":
        return arrays[content].copy()
    if kind == "scalar":
        return arrays[content][()]
    if kind == "text":
        path, dtype, shape = content
        return np.frombuffer(arrays[path].tobytes(), dtype).reshape(shape).copy()
    bits = _decoded(content, None, arrays)
    bit_generator = getattr(np.random, bits["bit_generator"])()
    bit_generator.state = bits
    return np.random.Generator(bit_generator)
