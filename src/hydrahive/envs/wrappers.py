"""Wrappers of environments as configs name them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from hydrahive.core.errors import ConfigError
from hydrahive.envs.extras import told


@dataclass(frozen=True)
class _Wrapper:
    """What puts a wrapper around an environment; each has arguments of its own, which it may change."""

    func: Callable[..., Any]
    arguments: dict[str, Any]

    def __call__(self, env: Any) -> Any:
        return self.func(env, **deepcopy(self.arguments))


def wrappers_of(given: Sequence[Any], kind: str) -> list[Callable[[Any], Any]]:
    """What puts each wrapper around an environment.

    Args:
        given: Dotted paths, or mappings of `class_path` and `init_args`, the innermost first.
        kind: Of the wrappers, for errors.

    Raises:
        ConfigError: If one cannot be imported.
    """
    wrappers: list[Callable[[Any], Any]] = []
    for one in given:
        named = {"class_path": one} if isinstance(one, str) else one
        accepted = f"dotted paths of {kind}, or mappings of class_path and init_args"
        if not isinstance(named, dict) or set(named) - {"init_args"} != {"class_path"}:
            raise ConfigError("wrappers", one, accepted)
        module, _, name = str(named["class_path"]).rpartition(".")
        if module.partition(".")[0] in sys.stdlib_module_names:
            raise ConfigError("wrappers", one, f"{accepted} (Python's own library has none)")
        try:
            wrapper = getattr(importlib.import_module(module), name)
        except Exception as error:  # whatever a user's module raises
            raise ConfigError("wrappers", one, f"{accepted} ({told(error)})") from None
        wrappers.append(_Wrapper(wrapper, named.get("init_args") or {}))
    return wrappers
