"""Reading run configs: shipped experiments, YAML files, dotted overrides; refusals in one line."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import json
import re
import typing
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeVar

import yaml
from jsonargparse import ArgumentParser, Namespace, set_parsing_settings

from hydrahive.core.config import AlgorithmConfig, CoreConfig, EncoderConfig, EnvConfig, ReplayConfig
from hydrahive.core.errors import ConfigError, UsageError
from hydrahive.runtime.config.run_config import BYTE_NEUTRAL, RunConfig

BASES: list[type] = [EnvConfig, EncoderConfig, CoreConfig, AlgorithmConfig, ReplayConfig]
"""The parts of a config that are chosen by `class_path`."""


def choose_among(*bases: type) -> None:
    """Let subclasses of these be chosen by `class_path`, too."""
    BASES.extend(base for base in bases if base not in BASES)
    set_parsing_settings(subclasses_enabled=list(BASES), docstring_parse_attribute_docstrings=True)


choose_among()


def load_plugins() -> None:
    """Import every module that an installed package declares under `hydrahive.plugins`, so its parts have names."""
    for entry_point in entry_points(group="hydrahive.plugins"):
        entry_point.load()


def config_parser(prog: str) -> ArgumentParser:
    """A parser of all keys of `RunConfig`; commands add their own options to it."""
    load_plugins()
    parser = ArgumentParser(exit_on_error=False, prog=prog, add_help=False, allow_abbrev=False)
    parser.add_argument("--config", action="config", help="YAML file whose keys replace the defaults.")
    parser.add_class_arguments(RunConfig)
    return parser


def experiment_folders() -> list[Path]:
    """Where shipped experiments may lie: inside an installed package, or in the checkout it runs from."""
    package = Path(__file__).parents[2]
    return [folder for folder in (package / "experiments", package.parents[1] / "experiments") if folder.is_dir()]


SWEEPS = "sweeps/"
"""What the names of shipped sweeps begin with."""


def _shipped() -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder in experiment_folders():
        for path in sorted(folder.rglob("*.yaml")):
            found.setdefault(path.relative_to(folder).with_suffix("").as_posix(), path)
    return found


def shipped_experiments() -> dict[str, Path]:
    """The shipped experiments' files by name, as in `snake/vtrace`."""
    return {name: path for name, path in _shipped().items() if not name.startswith(SWEEPS)}


def shipped_sweeps() -> dict[str, Path]:
    """The shipped sweeps' files by name, as in `sweeps/snake-pbt`."""
    return {name: path for name, path in _shipped().items() if name.startswith(SWEEPS)}


def find_config(given: str, among: dict[str, Path] | None = None, what: str = "CONFIG") -> tuple[Path, str]:
    """The file that an argument names, and the name of the experiment or sweep in it.

    Args:
        given: A file, or what is shipped.
        among: What is shipped; experiments by default.
        what: The argument, for errors.

    Raises:
        UsageError: If it is neither a file nor a shipped experiment.
    """
    path, shipped = Path(given), shipped_experiments() if among is None else among
    if path.is_file():
        return path, path.resolve().parent.name if path.name == "config.yaml" else path.stem
    if given in shipped:
        return shipped[given], given.removeprefix(SWEEPS).replace("/", "-")
    near = difflib.get_close_matches(given, list(shipped), n=3, cutoff=0.3) or list(shipped)
    kind = "experiment" if among is None else "sweep"
    raise UsageError(f"{what}: {given!r} is neither a file nor a shipped {kind}; nearest: {', '.join(near)}")


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
        content = yaml.load(path.read_text(), _UniqueKeys)
        json.dumps(content, default=str)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"CONFIG: cannot read {path}: {one_line(error)}") from None
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


Config = TypeVar("Config")


def built(plain: dict[str, Any], of: type[Config] = RunConfig) -> Config:  # type: ignore[assignment]
    """The config that plain data describe, as `as_plain` gives them; types are not looked at.

    Raises:
        ConfigError: If a value is not accepted, with the key's full path.
    """
    config = _built_dataclass(of, plain, "")
    assert isinstance(config, of)
    return config


def key_in(plain: Any, key: str) -> list[str]:
    """Where a dotted key, in which `init_args` may be left out, stands in `as_plain`'s result.

    Raises:
        UsageError: If it stands nowhere.
    """
    place: list[str] = []
    for part in key.split("."):
        if isinstance(plain, dict) and "class_path" in plain and part not in ("class_path", "init_args"):
            place, plain = [*place, "init_args"], plain["init_args"]
        if not isinstance(plain, dict) or part not in plain:
            keys = sorted({known.replace("init_args.", "") for known in known_keys()})
            near = difflib.get_close_matches(key.replace("init_args.", ""), keys, n=3, cutoff=0.6)
            raise UsageError(f"{key}: unknown key" + (f"; nearest: {', '.join(near)}" if near else ""))
        place, plain = [*place, part], plain[part]
    return place


def dump(config: RunConfig) -> str:
    """The config as YAML, fully expanded, that `load_run_config` reads back to an equal one."""
    return yaml.safe_dump(as_plain(config), sort_keys=False)


def as_plain(config: Any) -> Any:
    """A config as plain data; parts that are chosen carry `class_path` and `init_args`."""
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        return [as_plain(one) for one in config] if isinstance(config, list | tuple) else config
    fields = {field.name: as_plain(getattr(config, field.name)) for field in dataclasses.fields(config)}
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
        if key.split(".")[0] not in BYTE_NEUTRAL and before.get(key) != after.get(key):
            return key, before.get(key), after.get(key)
    return None


def known_keys(of: type = RunConfig) -> list[str]:
    """Every dotted key that a config may hold, whichever parts are chosen."""
    return sorted(set(_keys_of(of, "")))


def part_help() -> str:
    """What `--help` says of the parts that are chosen by `class_path`: their keys, types, defaults and meaning."""
    lines = ["parts (choose one by class_path; its keys stand under init_args):"]
    for base in BASES:
        for part in _subclasses(base):
            lines.append(f"\n  {part.__name__}: {(part.__doc__ or '').splitlines()[0]}")
            meanings = _meanings(part)
            for field in dataclasses.fields(part):
                if field.default_factory is not dataclasses.MISSING:
                    default = as_plain(field.default_factory())
                else:
                    default = "required" if field.default is dataclasses.MISSING else field.default
                meaning = meanings.get(field.name, "")
                lines.append(f"    {field.name}: {meaning} (type: {field.type}, default: {default})")
    return "\n".join(lines)


def one_line(error: object) -> str:
    """An error's text without line breaks."""
    return re.sub(r"\s+", " ", str(error)).strip()


def readable(message: str, keys: Sequence[str]) -> str:
    """Jsonargparse's multi-line message as one line: which key, what was given, what is accepted, nearest names."""
    paths = re.findall(r'Parser key "([^"]+)"', message)
    # A part that is one of several types: what is wrong inside of it counts, not that the other types do not fit.
    inside = re.search(
        r"Union subtypes.*?Problem with given class_path '[^']+':\n(.*?)\n    - Expected", message, re.DOTALL
    )
    if inside:
        return readable(f'Parser key "{paths[0]}":\n{inside.group(1)}', keys)
    path = ".".join([*paths[:1], "init_args", *paths[1:]] if len(paths) > 1 else paths)
    unknown = (
        re.search(r"Option '([^']+)' is not accepted", message)
        or re.search(r"does not accept option '([^']+)'", message)
        or re.search(r"unrecognized arguments: --(\S+)", message)
        or re.search(r"Key '([^']+)' is not expected", message)
    )
    if unknown:
        group = re.search(r"Group '([^']+)'", message)
        prefix = group.group(1) if group else (f"{path}.init_args" if path else "")
        name = unknown.group(1).split("=")[0]
        full = name if not prefix or name.startswith(f"{prefix}.") else f"{prefix}.{name}"
        near = difflib.get_close_matches(full, keys, n=3, cutoff=0.6)
        return f"{full}: unknown key" + (f"; nearest: {', '.join(near)}" if near else "")
    part = re.search(r"Expected a dot import path string: (\S+)", message)
    if part and path and "Union" not in message:
        others = [name for name in _part_names() if name != part.group(1)]
        near = difflib.get_close_matches(part.group(1), others, cutoff=0.5)
        known = f"; nearest: {', '.join(near)}" if near else f"; known: {', '.join(others)}"
        return f"{path}.class_path: {part.group(1)!r} is not a known part{known}"
    union = re.search(r"Subtypes: \[(.*?)\]\n.*Given value: (.*)", message, re.DOTALL)
    if union and path:
        return f"{path}: {one_line(union.group(2))!r} is not accepted; expected {_types_in_words(union.group(1))}"
    wrong = re.search(r"Expected an? (.*?)\.? (?:Got value|Given value): (.*)", message, re.DOTALL)
    if wrong and path:
        return f"{path}: {one_line(wrong.group(2))!r} is not accepted; expected {_types_in_words(wrong.group(1))}"
    missing = re.search(r"the following arguments are required: (.*)", message)
    if missing and path:
        return f"{path}.init_args.{missing.group(1)}: is required"
    not_part = re.search(r"Not a valid subclass of (\w+)\. Got value: (.*?)\n", message)
    if not_part and path:
        return f"{path}: {not_part.group(2)!r} is not accepted; expected class_path (of {', '.join(_part_names())})"
    return one_line(message)


def _types_in_words(types: str) -> str:
    """Python's spelling of types as people say it: `<class 'int'>, typing.Literal['auto']` is `int or 'auto'`."""
    words = re.sub(r"<class '(?:[\w.]+\.)?(\w+)'>", r"\1", one_line(types))
    for base in BASES:
        words = words.replace(base.__name__, " or ".join(part.__name__ for part in _subclasses(base)))
    words = re.sub(r"typing\.Literal\[([^\]]*)\]", lambda found: found.group(1).replace(", ", " or "), words)
    return words.replace("NoneType", "null").replace(", ", " or ")


def _part_names() -> list[str]:
    return [part.__name__ for base in BASES for part in _subclasses(base)]


def _subclasses(base: type) -> list[type]:
    directs: list[type] = base.__subclasses__()
    parts = [part for direct in directs for part in (direct, *_subclasses(direct))]
    return [part for part in parts if not part.__name__.startswith("_")]


def _meanings(part: type) -> dict[str, str]:
    """Each attribute's text from the `Attributes` sections of a class's docstring and of its bases'."""
    meanings: dict[str, str] = {}
    for cls in reversed(part.__mro__):
        section = (cls.__doc__ or "").partition("Attributes:")[2]
        found = re.findall(r"^ {8}(\w+): (.*(?:\n {12}.*)*)", section, re.MULTILINE)
        meanings |= {name: one_line(text) for name, text in found}
    return meanings


def _keys_of(part: type, prefix: str, within: frozenset[type] = frozenset()) -> Iterator[str]:
    """All dotted keys below `prefix`; parts of a part `within` themselves once only."""
    hints = typing.get_type_hints(part)
    for field in dataclasses.fields(part):
        key, hint = f"{prefix}{field.name}", hints[field.name]
        yield key
        base = next((one for one in (hint, *typing.get_args(hint)) if one in BASES), None)
        if base is not None:
            yield f"{key}.class_path"
            for chosen in set(_subclasses(base)) - within:
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
        part, given, below = _part_at(plain["class_path"]), plain.get("init_args") or {}, f"{path}.init_args"
    if part in BASES:
        chosen = " or ".join(one.__name__ for one in _subclasses(part))
        raise ConfigError(path, plain, f"class_path, which of them it is: {chosen}")
    return _built_dataclass(part, given, below)


def _takes_text(hint: Any, text: str) -> bool:
    """Whether a text is meant where a part may stand, too."""
    return any(one is str or text in typing.get_args(one) for one in (hint, *typing.get_args(hint)))


def _part_at(class_path: str) -> Any:
    """A part's class by its dotted path, or one of ours by its name.

    Raises:
        UsageError: If there is none.
    """
    module, _, name = class_path.rpartition(".")
    try:
        if module:
            return getattr(importlib.import_module(module), name)
        return next(part for base in BASES for part in _subclasses(base) if part.__name__ == name)
    except (ImportError, AttributeError, StopIteration) as error:
        raise UsageError(f"class_path: {class_path!r} is nowhere: {error or 'not one of ours'}") from None


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
