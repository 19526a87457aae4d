"""What jsonargparse refuses, in one line: which key, what was given, what is accepted."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from hydrahive.core.config import AlgorithmConfig, CoreConfig, EncoderConfig, EnvConfig, ReplayConfig
from hydrahive.core.errors import one_line
from hydrahive.runtime.config.parts import BASES, part_names, subclasses
from hydrahive.telemetry.loggers.base import LoggerConfig


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
        if full in keys:
            owner, _, key = full.rpartition(".init_args.")
            return f"{owner}: {key} is not a key of it, but of another class_path: {_parts_with(key)}"
        near = difflib.get_close_matches(full, keys, n=3, cutoff=0.6)
        return f"{full}: unknown key" + (f"; nearest: {', '.join(near)}" if near else "")
    part = re.search(r"Expected a dot import path string: (\S+)", message)
    if part and path and "Union" not in message:
        return _unknown_part(path, part.group(1))
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
        return f"{path}: {not_part.group(2)!r} is not accepted; expected class_path (of {', '.join(part_names())})"
    return one_line(message)


def _unknown_part(path: str, given: str) -> str:
    base = KINDS.get(path.rpartition(".")[2])
    others = [name for name in ([one.__name__ for one in subclasses(base)] if base else part_names()) if name != given]
    near = difflib.get_close_matches(given, others, cutoff=0.5)
    known = f"nearest: {', '.join(near)}" if near else f"known: {', '.join(others)}"
    if base is EnvConfig and not near and "." not in given:
        known = f"an environment of Gymnasium's is {{class_path: Gym, init_args: {{id: {given}}}}}; {known}"
    return f"{path}.class_path: {given!r} is not a known part; {known}"


KINDS: dict[str, type] = {
    "env": EnvConfig,
    "encoder": EncoderConfig,
    "core": CoreConfig,
    "algorithm": AlgorithmConfig,
    "replay": ReplayConfig,
    "loggers": LoggerConfig,
}
"""What may stand at a key."""


def _parts_with(key: str) -> str:
    """The parts that have a key, in words."""
    parts = [part for base in BASES for part in subclasses(base) if key in getattr(part, "__dataclass_fields__", ())]
    return " or ".join(part.__name__ for part in parts)


def _types_in_words(types: str) -> str:
    """Python's spelling of types as people say it: `<class 'int'>, typing.Literal['auto']` is `int or 'auto'`."""
    words = re.sub(r"<class '(?:[\w.]+\.)?(\w+)'>", r"\1", one_line(types))
    for base in BASES:
        words = words.replace(base.__name__, " or ".join(part.__name__ for part in subclasses(base)))
    words = re.sub(r"typing\.Literal\[([^\]]*)\]", lambda found: found.group(1).replace(", ", " or "), words)
    return words.replace("NoneType", "null").replace(", ", " or ")
