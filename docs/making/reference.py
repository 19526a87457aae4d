"""The reference of config keys: types and defaults from fields, meanings from docstrings, ranges from checks."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import io
import json
import re
import textwrap
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from typing import Any, get_args, get_origin, get_type_hints

from hydrahive.cli.main import COMMANDS, MODULES
from hydrahive.core.config import (
    AlgorithmConfig,
    CoreConfig,
    EncoderConfig,
    EnvConfig,
    Part,
    ReplayConfig,
)
from hydrahive.runtime.config.parts import meanings, subclasses
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.serving.config import ServingConfig
from hydrahive.telemetry.loggers.base import LoggerConfig
from hydrahive.tuning.config import SchedulerConfig, SearchConfig, SweepConfig

KINDS = {
    "env": ("Environments", EnvConfig),
    "policy.encoder": ("Encoders", EncoderConfig),
    "policy.core": ("Cores", CoreConfig),
    "algorithm": ("Algorithms", AlgorithmConfig),
    "replay": ("Replays", ReplayConfig),
    "loggers": ("Loggers", LoggerConfig),
}


def pages() -> dict[str, str]:
    """The pages by their names."""
    from hydrahive.envs import atari, gym, pettingzoo, snake, swarm  # noqa: F401  so that they are known

    run = ["# The config of a run", INTRODUCTION, *_sections("", RunConfig, set())]
    parts = ["# Parts", "What stands behind `class_path`, and its `init_args`."]
    for key, (title, base) in KINDS.items():
        parts.append(f"## {title}: `{key}`")
        for cls in sorted(set(subclasses(base)), key=lambda cls: cls.__name__):
            if cls.__module__.startswith("hydrahive."):
                parts += [f"### {cls.__name__}", _said(cls), _table(cls)]
    others = ["# The configs of sweeps and servers"]
    others += ["## A sweep: `hydrahive tune run FILE`", *_sections("", SweepConfig, set(), 3)]
    for title, base in (("Searches", SearchConfig), ("Schedulers", SchedulerConfig)):
        others.append(f"### {title}")
        for cls in sorted(set(subclasses(base)), key=lambda cls: cls.__name__):
            others += [f"#### {cls.__name__}", _said(cls), _table(cls)]
    others += ["## A server: `hydrahive serve --config FILE`", _said(ServingConfig), _table(ServingConfig)]
    made = {"config.md": run, "parts.md": parts, "others.md": others, "commands.md": [*_commands()]}
    return {name: "\n\n".join(block for block in blocks if block) + "\n" for name, blocks in made.items()}


INTRODUCTION = """A run's config is YAML; each key is an option as well: `algorithm.discount: 0.98` is
`--algorithm.discount 0.98`. `hydrahive train CONFIG --print_config` shows one whole. Parts that are chosen by
`class_path` have [a page of their own](parts.md)."""


def _commands() -> Iterator[str]:
    """What each command says of itself."""
    yield "# Commands"
    yield "As `hydrahive COMMAND --help` says it."
    for name, what in COMMANDS.items():
        module = importlib.import_module(f"hydrahive.cli.{MODULES.get(name, name)}")
        words = [name, "--help"] if MODULES.get(name) == "runs.control" else ["--help"]
        said = io.StringIO()
        with redirect_stdout(said), suppress(SystemExit):
            module.run(words)
        text = said.getvalue().strip()
        if name == "train":  # the keys of its config follow, which have a page
            text = text.partition("\n  --seed")[0]
        yield f"## {name}"
        yield what[0].upper() + what[1:] + "."
        yield f"```text\n{text}\n```"


def _sections(prefix: str, cls: type, seen: set[type], level: int = 2) -> Iterator[str]:
    """A config and those inside of it, each under the key at which it stands."""
    if prefix:
        yield f"{'#' * level} `{prefix}`"
    yield _said(cls)
    yield _table(cls)
    seen.add(cls)
    for name, hint in get_type_hints(cls).items():
        for inner in (hint, *get_args(hint)):
            if dataclasses.is_dataclass(inner) and inner not in seen and not issubclass(inner, Part):
                yield from _sections(f"{prefix}.{name}".strip("."), inner, seen, level)


def _said(cls: type) -> str:
    """A class's docstring without its attributes."""
    text = inspect.cleandoc(cls.__doc__ or "").partition("Attributes:")[0].strip()
    return re.sub(r"`hydrahive\.[\w.]+`", lambda found: found[0], text)


def _table(cls: type) -> str:
    told, allowed, hints = meanings(cls), dict(_ranges(cls)), get_type_hints(cls)
    rows = []
    for field in dataclasses.fields(cls):
        may_change = " May change during a run." if field.metadata.get("changing") else ""
        accepted = _accepted(hints[field.name], allowed.get(field.name))
        cells = (f"`{field.name}`", accepted, _default(field), told.get(field.name, "") + may_change)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    head = "| key | accepted | default | meaning |\n|---|---|---|---|\n"
    return head + "\n".join(rows) if rows else "It has no keys."


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        value = field.default
    elif field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    else:
        return "required"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return f"`{type(value).__name__}`" if isinstance(value, Part) else "see below"
    return f"`{json.dumps(value, default=str)}`"


def _accepted(hint: Any, allowed: str | None) -> str:
    """A type in words, with the range that its class checks."""
    words = _words(hint)
    if allowed is None:
        return words
    kind, _, rest = allowed.partition(" ")
    if kind == "=":
        return f"{words}: {rest}"
    nullable = ", or null" if "null" in words else ""
    lines = ", or a line over env steps" if "Linear" in words else ""
    return f"{allowed}{lines}{nullable}"


CHOSEN = {
    "EnvConfig": "environments-env",
    "EncoderConfig": "encoders-policyencoder",
    "CoreConfig": "cores-policycore",
    "AlgorithmConfig": "algorithms-algorithm",
    "ReplayConfig": "replays-replay",
    "LoggerConfig": "loggers-loggers",
}
"""Where the parts stand that a key may name."""

NAMED = {int: "integer", float: "number", str: "text", bool: "true or false", type(None): "null", Any: "anything"}


def _words(hint: Any) -> str:
    if hint in NAMED:
        return NAMED[hint]
    if get_origin(hint) in (list, tuple):
        return f"list of {', '.join(_words(one) for one in get_args(hint) if one is not ...)}"
    if get_origin(hint) in (dict,):
        return "mapping"
    if get_args(hint):
        inner = [repr(one).strip("'") if not _is_type(one) else _words(one) for one in get_args(hint)]
        return ", ".join(dict.fromkeys(inner[:-1])) + (" or " if len(inner) > 1 else "") + inner[-1]
    name = getattr(hint, "__name__", str(hint))
    return f"[{name}](parts.md#{CHOSEN[name]})" if name in CHOSEN else f"`{name}`"


def _is_type(one: Any) -> bool:
    return not isinstance(one, str | int | float | bool)


def _ranges(cls: type) -> Iterator[tuple[str, str]]:
    """What `__post_init__` checks of each key, in words, from its own lines."""
    for base in reversed(cls.__mro__):
        check = vars(base).get("__post_init__")
        if check is None or not base.__module__.startswith("hydrahive."):
            continue
        yield from _checked(ast.parse(textwrap.dedent(inspect.getsource(check))), {})


def _checked(node: ast.AST, loops: dict[str, list[str]]) -> Iterator[tuple[str, str]]:
    for child in ast.iter_child_nodes(node):
        known = loops
        if (
            isinstance(child, ast.For)
            and isinstance(child.target, ast.Name)
            and isinstance(child.iter, ast.Tuple | ast.List)
        ):
            values = [one.value for one in child.iter.elts if isinstance(one, ast.Constant)]
            known = {**loops, child.target.id: [str(value) for value in values]}
        if isinstance(child, ast.Call) and isinstance(child.func, ast.Name):
            yield from _of_a_call(child, known)
        yield from _checked(child, known)


def _of_a_call(call: ast.Call, loops: dict[str, list[str]]) -> Iterator[tuple[str, str]]:
    name = call.func.id if isinstance(call.func, ast.Name) else ""
    if name in ("require_number", "require_integer") and call.args:
        first = call.args[0]
        keys = [str(first.value)] if isinstance(first, ast.Constant) else loops.get(getattr(first, "id", ""), [])
        kind = "number" if name == "require_number" else "integer"
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        low, high = (call.args[i] if len(call.args) > i else given.get(key) for i, key in ((2, "low"), (3, "high")))
        said = _range(kind, low, high, above="above" in given)
        for key in keys:
            yield key, said
    elif name == "require" and len(call.args) == 4:
        key, text = call.args[1], call.args[3]
        if isinstance(key, ast.Constant) and isinstance(text, ast.Constant) and str(text.value).startswith(ABSOLUTE):
            yield str(key.value), f"= {text.value}"


ABSOLUTE = ("at least", "a number", "an integer", "pairs")
"""What a check's words begin with that depend on no other key."""


def _range(kind: str, low: ast.expr | None, high: ast.expr | None, *, above: bool) -> str:
    least, most = (_value(end) for end in (low, high))
    begins = {"": "", "-inf": ""}.get(least, f"above {least}" if above else f"from {least}")
    ends = "" if most in ("", "inf") else f"to {most}"
    article = "an" if kind == "integer" else "a"
    return " ".join(part for part in (article, kind, begins, ends) if part)


def _value(end: ast.expr | None) -> str:
    if end is None:
        return ""
    try:
        value = ast.literal_eval(end)
    except ValueError:
        text = ast.unparse(end).replace("self.", "")
        return {"math.inf": "inf", "-math.inf": "-inf"}.get(text, f"`{text}`")
    return f"{value:,}" if isinstance(value, int) and abs(value) >= 10_000 else str(value)
