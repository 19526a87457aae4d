"""Changes inside a run: values that are others from an update on, as population-based training makes them."""

from __future__ import annotations

import dataclasses
import itertools
import json
from functools import lru_cache
from typing import Any

from hydrahive.core.config import AlgorithmConfig
from hydrahive.core.errors import ConfigError
from hydrahive.runtime.config.plain import as_plain, built, key_in
from hydrahive.runtime.config.run_config import Change, RunConfig


def value_of(config: RunConfig, key: str) -> Any:
    """The value at a dotted key, as plain data; `init_args` may be left out.

    Raises:
        UsageError: If there is no such key.
    """
    plain: Any = as_plain(config)
    place = key_in(plain, key)
    for at, part in enumerate(place):
        if not isinstance(plain, dict) or part not in plain:  # below a field that holds another's keys
            return config.algorithm.default_of(".".join(place[place.index("init_args", 0, at) + 2 :]))
        plain = plain[part]
    return plain


def with_values(config: RunConfig, values: dict[str, Any]) -> RunConfig:
    """The config with plain values at dotted keys, whose types are not looked at.

    Raises:
        UsageError: If a key is unknown, or a value not accepted.
    """
    plain = as_plain(config)
    for key, value in values.items():
        *above, last = key_in(plain, key)
        holder = plain
        for part in above:
            holder = holder.setdefault(part, {})
        holder[last] = value
    return built(plain)


def in_force(config: RunConfig, updates: int) -> RunConfig:
    """The config with the changes up to so many updates as its own values.

    Raises:
        ConfigError: If one is not accepted.
    """
    due = [change for change in config.changes if change.from_update <= updates]
    plain = dataclasses.replace(config, changes=[])
    values = {change.key: change.value for change in sorted(due, key=lambda change: change.from_update)}
    return with_values(plain, values) if values else plain


def without_future(config: RunConfig, updates: int) -> RunConfig:
    """The config without the changes that a run of so many updates has not come to, and so may yet be given or lose."""
    return dataclasses.replace(config, changes=[one for one in config.changes if one.from_update < updates])


def algorithms(config: RunConfig) -> list[tuple[int, AlgorithmConfig]]:
    """The learning rule's configs, each with the update from which on it is in force, in order.

    Raises:
        ConfigError: If a change is of a key that only a new run could have another value of, or is not accepted.
    """
    plain = dataclasses.replace(config, changes=[])
    for key in dict.fromkeys(change.key for change in config.changes):  # of which a pilot makes many of few keys
        refuse_fixed(plain, key)
    told, known = json.dumps(as_plain(plain)), [(0, plain.algorithm)]
    values: dict[str, Any] = {}
    for at, due in itertools.groupby(sorted(config.changes, key=_from), key=_from):
        values |= {change.key: change.value for change in due}
        known.append((at, _algorithm_with(told, json.dumps(values))))
    return known


def _from(change: Change) -> int:
    return change.from_update


@lru_cache(maxsize=2**16)
def _algorithm_with(config: str, values: str) -> AlgorithmConfig:
    """The learning rule of a config with other values, both as JSON: a pilot makes one change after the other."""
    return with_values(built(json.loads(config)), json.loads(values)).algorithm


def algorithm_at(known: list[tuple[int, AlgorithmConfig]], update: int) -> AlgorithmConfig:
    """The one of `algorithms` that the update after so many is made with."""
    return next(algorithm for since, algorithm in reversed(known) if since <= update)


def refuse_fixed(config: RunConfig, key: str) -> None:
    """Refuse a key that cannot change inside a run.

    Raises:
        ConfigError: If it is one.
    """
    names = sorted(config.algorithm.changeable)
    first, _, rest = key.replace("init_args.", "").partition(".")
    if first != "algorithm" or rest.split(".")[0] not in names:
        listed = ", ".join(f"algorithm.{name}" for name in names)
        raise ConfigError("changes", key, f"a key that can change inside a run: {listed}")
    value_of(config, key)
