"""Configs as plain data, and plain data as configs; their dotted keys."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Iterator
from typing import Any, TypeVar

import yaml

from hydrahive.core.errors import ConfigError, UsageError
from hydrahive.runtime.config.parts import BASES, part_at, subclasses
from hydrahive.runtime.config.run_config import BYTE_NEUTRAL, RunConfig

Config = TypeVar("Config")


def built(plain: dict[str, Any], of: type[Config] = RunConfig) -> Config:  # type: ignore[assignment]
    """The config that plain data describe, as `as_plain` gives them; types are not looked at.

    Raises:
        ConfigError: If a value is not accepted, with the key's full path.
    """
    config = _built_dataclass(of, _of_its_algorithm(plain) if of is RunConfig else plain, "")
    assert isinstance(config, of)
    return config


def _of_its_algorithm(plain: dict[str, Any]) -> dict[str, Any]:
    """What is given of a run, with the defaults that go with its algorithm.

    Raises:
        ConfigError: If something is given that means nothing beside it.
    """
    told = plain.get("algorithm")
    if not (isinstance(told, dict) and "class_path" in told):
        return plain
    part = part_at(told["class_path"])
    for key, why in part.unused.items():
        if key in plain:
            raise ConfigError(key, plain[key], f"no such key beside {part.__name__}: {why}")
    return {**part.run_defaults, **plain}


def key_in(plain: Any, key: str) -> list[str]:
    """Where a dotted key, in which `init_args` may be left out, stands in `as_plain`'s result.

    Below a field that holds another's keys, any may stand, whether or not it is there.

    Raises:
        UsageError: If it stands nowhere.
    """
    place: list[str] = []
    parts, opened = key.split("."), frozenset[str]()
    for at, part in enumerate(parts):
        if isinstance(plain, dict) and "class_path" in plain:
            opened = getattr(part_at(plain["class_path"]), "open_fields", opened)
            if part not in ("class_path", "init_args"):
                place, plain = [*place, "init_args"], plain["init_args"]
        if not isinstance(plain, dict) or part not in plain:
            keys = sorted({known.replace("init_args.", "") for known in known_keys()})
            near = difflib.get_close_matches(key.replace("init_args.", ""), keys, n=3, cutoff=0.6)
            raise UsageError(f"{key}: unknown key" + (f"; nearest: {', '.join(near)}" if near else ""))
        place, plain = [*place, part], plain[part]
        if part in opened:
            return [*place, *parts[at + 1 :]]
    return place


def dump(config: RunConfig) -> str:
    """The config as YAML, fully expanded, that `load_run_config` reads back to an equal one."""
    return yaml.safe_dump(as_plain(config), sort_keys=False)


def as_plain(config: Any) -> Any:
    """A config as plain data; parts that are chosen carry `class_path` and `init_args`."""
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        if isinstance(config, dict):  # a copy, too: whoever gives another value does not give it to the config
            return {key: as_plain(value) for key, value in config.items()}
        return [as_plain(one) for one in config] if isinstance(config, list | tuple) else config
    unused = config.algorithm.unused if isinstance(config, RunConfig) else {}
    names = [field.name for field in dataclasses.fields(config) if field.name not in unused]
    fields = {name: as_plain(getattr(config, name)) for name in names}
    if isinstance(config, tuple(BASES)):
        module, name = type(config).__module__, type(config).__qualname__
        return {"class_path": name if module.startswith("hydrahive.") else f"{module}.{name}", "init_args": fields}
    return fields


def flat(plain: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of `as_plain`'s result with their dotted keys."""
    if isinstance(plain, dict):
        for key, value in plain.items():
            yield from flat(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, plain


def first_difference(old: RunConfig, new: RunConfig) -> tuple[str, Any, Any] | None:
    """The first key that changes results and differs: (key, old value, new value)."""
    before, after = dict(flat(as_plain(old))), dict(flat(as_plain(new)))
    for key in dict.fromkeys([*before, *after]):
        if not {key, key.split(".")[0]} & set(BYTE_NEUTRAL) and before.get(key) != after.get(key):
            return key, before.get(key), after.get(key)
    return None


def known_keys(of: type = RunConfig) -> list[str]:
    """Every dotted key that a config may hold, whichever parts are chosen."""
    return sorted(set(_keys_of(of, "")))


def _keys_of(part: type, prefix: str, within: frozenset[type] = frozenset()) -> Iterator[str]:
    """All dotted keys below `prefix`; parts of a part `within` themselves once only."""
    hints = typing.get_type_hints(part)
    for field in dataclasses.fields(part):
        key, hint = f"{prefix}{field.name}", hints[field.name]
        yield key
        base = next((one for one in (hint, *typing.get_args(hint)) if one in BASES), None)
        if base is not None:
            yield f"{key}.class_path"
            for chosen in set(subclasses(base)) - within:
                yield from _keys_of(chosen, f"{key}.init_args.", within | {chosen})
        elif dataclasses.is_dataclass(hint) and isinstance(hint, type):
            yield from _keys_of(hint, f"{key}.", within)


def _built(hint: Any, plain: Any, path: str) -> Any:
    """The value at `path`: plain data as it is, mappings as the dataclass that `hint` or `class_path` names.

    What is hinted as anything, or as a dict, stays plain.
    """
    if hint is Any or any(typing.get_origin(one) is dict for one in (hint, *typing.get_args(hint))):
        return plain
    part = next((one for one in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(one)), None)
    takes_list = part is None or typing.get_origin(hint) in (list, tuple)
    is_no_mapping = dataclasses.is_dataclass(hint) and not isinstance(plain, dict)
    if is_no_mapping or (isinstance(plain, list) and not takes_list):
        raise ConfigError(path, plain, "a mapping of keys")
    if isinstance(plain, list):
        element = next(iter(typing.get_args(hint)), None)
        return [_built(element, one, f"{path}[{i}]") for i, one in enumerate(plain)]
    if not isinstance(plain, dict):
        if part is not None and isinstance(plain, str) and not _takes_text(hint, plain):
            raise ConfigError(path, plain, "a mapping of keys, with class_path where there are several")
        return plain
    given, below = plain, path
    if "class_path" in plain:
        part, given, below = part_at(plain["class_path"]), plain.get("init_args") or {}, f"{path}.init_args"
    if part in BASES:
        chosen = " or ".join(one.__name__ for one in subclasses(part))
        raise ConfigError(path, plain, f"class_path, which of them it is: {chosen}")
    return _built_dataclass(part, given, below)


def _takes_text(hint: Any, text: str) -> bool:
    """Whether a text is meant where a part may stand, too."""
    return any(one is str or text in typing.get_args(one) for one in (hint, *typing.get_args(hint)))


def _built_dataclass(part: Any, plain: dict[str, Any], path: str) -> Any:
    hints = typing.get_type_hints(part)
    names = [field.name for field in dataclasses.fields(part) if field.name in plain]
    paths = {name: f"{path}.{name}" if path else name for name in names}
    for name in names:
        if plain[name] is None and hints[name] is not Any and type(None) not in typing.get_args(hints[name]):
            raise ConfigError(paths[name], None, "a value, or the key left out for its default")
    values = {name: _built(hints[name], plain[name], paths[name]) for name in names}
    try:
        return part(**values)
    except ConfigError as error:
        raise error.within(path) from None
