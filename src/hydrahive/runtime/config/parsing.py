"""Reading run configs: shipped experiments, YAML files, dotted overrides; refusals in one line."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, Namespace

from hydrahive.core.errors import ConfigError, UsageError, one_line
from hydrahive.runtime.config.parts import BASES, load_plugins, meanings, subclasses
from hydrahive.runtime.config.plain import as_plain, built, known_keys
from hydrahive.runtime.config.refusals import readable
from hydrahive.runtime.config.run_config import RunConfig


def config_parser(prog: str) -> ArgumentParser:
    """A parser of all keys of `RunConfig`; commands add their own options to it."""
    load_plugins()
    parser = ArgumentParser(exit_on_error=False, prog=prog, add_help=False, allow_abbrev=False)
    parser.add_argument("--config", action="config", help="YAML file whose keys replace the defaults.")
    parser.add_class_arguments(RunConfig)
    return parser


def load_run_config(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """The config in a YAML file with dotted `overrides` (`["--env.size", "10"]`) applied.

    Raises:
        UsageError: If the file cannot be read.
        ConfigError: If a key is unknown or a value not accepted.
    """
    return instantiate(parse(config_parser("hydrahive"), [*config_arguments(path), *overrides]))


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which a mapping has each key once, as YAML's specification asks; PyYAML takes the last one."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """A mapping.

        Raises:
            yaml.constructor.ConstructorError: If it has a key twice.
        """
        named = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        for name, count in named.items():
            if count > 1 and name != "<<":
                raise yaml.constructor.ConstructorError(None, None, f"the key {name!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def config_arguments(path: Path, of: type = RunConfig) -> list[str]:
    """Arguments that make a `config_parser` read `path`, once the file is known to hold a mapping.

    Args:
        path: Of the file.
        of: The config's dataclass.

    Raises:
        UsageError: If it does not, refers to itself, or has empty parts that no config has.
    """
    try:
        content = yaml.load(path.read_text("utf-8"), _UniqueKeys)  # noqa: S506  a SafeLoader
        json.dumps(content, default=str)
    except (OSError, UnicodeDecodeError) as error:
        what = "it is not UTF-8, which it has to be" if isinstance(error, UnicodeDecodeError) else one_line(error)
        raise UsageError(f"CONFIG: cannot read {path}: {what}") from None
    except yaml.YAMLError as error:
        raise UsageError(f"CONFIG: {path} is not YAML: {one_line(error)}") from None
    except (ValueError, TypeError, RecursionError):
        raise UsageError(
            f"CONFIG: {path} refers to itself, is nested too deeply, or has keys of several parts"
        ) from None
    if not isinstance(content, dict):
        raise UsageError(f"CONFIG: {path} is {'empty' if content is None else 'not a mapping of keys'}")
    for name in _empty_unknown(content, of):
        raise UsageError(f"{name}: unknown key")
    return ["--config", str(path)]


def _empty_unknown(content: dict[Any, Any], of: type, prefix: str = "") -> Iterator[str]:
    """Keys with nothing below them that a config does not have; jsonargparse passes over these, and only these."""
    hints = typing.get_type_hints(of)
    for key, below in content.items():
        if below == {} and key not in hints:
            yield f"{prefix}{key}"
        hint = hints.get(key)
        if isinstance(below, dict) and dataclasses.is_dataclass(hint) and hint not in BASES:
            yield from _empty_unknown(below, typing.cast(type, hint), f"{prefix}{key}.")


def parse(parser: ArgumentParser, arguments: Sequence[str], of: type = RunConfig) -> Namespace:
    """Parse, with jsonargparse's messages rewritten into one line; of a config's keys those that were given.

    Args:
        parser: It knows the keys.
        arguments: The command line.
        of: The config's dataclass.

    Raises:
        ConfigError: If a key is unknown or a value has the wrong type.
    """
    try:
        namespace = parser.parse_args(list(arguments))
        # With defaults, a part that is chosen takes over like-named keys of the part that is the default.
        given = parser.parse_args(list(arguments), defaults=False)
        for field in dataclasses.fields(of):
            namespace.pop(field.name, None)
            if field.name in given:
                namespace[field.name] = given[field.name]
        return namespace
    except ConfigError:
        raise
    except OverflowError as error:
        raise UsageError(f"a number of the config is too large: {error}") from None
    except Exception as error:
        if type(error).__name__ not in ("ArgumentError", "NSKeyError"):
            raise
        raise UsageError(readable(str(error), known_keys(of))) from None


def instantiate(namespace: Namespace) -> RunConfig:
    """The `RunConfig` that a parsed namespace describes; its other entries are passed over.

    Raises:
        ConfigError: If a value is not accepted, with the key's full path.
    """
    return built(namespace.as_dict())


def part_help() -> str:
    """What `--help` says of the parts that are chosen by `class_path`: their keys, types, defaults and meaning."""
    lines = ["parts (choose one by class_path; its keys stand under init_args):"]
    for base in BASES:
        for part in subclasses(base):
            said = (part.__doc__ or "").strip().splitlines()
            lines.append(f"\n  {part.__name__}: {said[0] if said else ''}".rstrip(": "))
            told = meanings(part)
            for field in dataclasses.fields(part):
                if field.default_factory is not dataclasses.MISSING:
                    default = as_plain(field.default_factory())
                else:
                    default = "required" if field.default is dataclasses.MISSING else field.default
                meaning = told.get(field.name, "")
                lines.append(f"    {field.name}: {meaning} (type: {field.type}, default: {default})")
    return "\n".join(lines)
