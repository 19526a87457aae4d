"""Which code a config names that does not come with us: whoever builds the config runs it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from hydrahive.core.errors import UsageError, one_line

OURS = ("hydrahive", "gymnasium", "pettingzoo", "ale_py", "minatar", "minigrid", "mpe2", "gymnasium_robotics", "shimmy")
"""Packages that come with us: what they define may be named by anybody's config."""

PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")
"""A dotted path."""

TRUSTED = "HYDRAHIVE_TRUST_CODE"
"""The variable that lets the configs of others' runs name code; `--trust-code` sets it for one command."""


def named_code(plain: Any) -> list[str]:
    """The code that a config's plain data name, as dotted paths, sorted: classes, modules of environments, wrappers."""
    return sorted({name for name in _named(_without_keys(plain)) if name.partition(".")[0] not in OURS})


def _without_keys(plain: Any) -> Any:
    """Without the dotted keys of a run's config that stand where only such may stand, and that nothing imports."""
    if not isinstance(plain, dict):
        return plain
    kept = dict(plain)
    if isinstance(kept.get("changes"), list):
        kept["changes"] = [_less(change, "key") for change in kept["changes"]]
    algorithm = kept.get("algorithm")
    if isinstance(algorithm, dict) and algorithm.get("class_path") == "Rllib":
        kept["algorithm"] = {**algorithm, "init_args": _values(algorithm.get("init_args"))}
    pilot = kept.get("pilot")
    if isinstance(pilot, dict) and isinstance(pilot.get("search"), dict):
        space = pilot["search"].get("space")
        given = list(space.values()) if isinstance(space, dict) else space
        kept["pilot"] = {**pilot, "search": {**pilot["search"], "space": given}}
    return kept


def _values(init: Any) -> Any:
    """What is given to RLlib: its keys are its own, and checked; their values may name what they like."""
    if not isinstance(init, dict) or not isinstance(init.get("config"), dict):
        return init
    return [init.get("name"), *init["config"].values()]


def _less(plain: Any, key: str) -> Any:
    return {name: value for name, value in plain.items() if name != key} if isinstance(plain, dict) else plain


WORD = re.compile(r"[A-Za-z0-9_-]{0,40}")
"""A text of an environment's options that names no file and no code."""


def unfit_for_strangers(plain: Any) -> list[str]:
    """What of a config's plain data nobody may be asked to run who does not trust whoever made it.

    Besides code that does not come with us: wrappers, which are called with any arguments, and options that may name
    files.
    """
    env = plain.get("env") if isinstance(plain, dict) else None
    return sorted({*named_code(plain), *_wrappers(plain), *_options(env)})


def _wrappers(plain: Any) -> Iterator[str]:
    if isinstance(plain, dict):
        for key, value in plain.items():
            if "wrappers" in str(key) and value:
                yield "(wrappers)"
            yield from _wrappers(value)
    elif isinstance(plain, list):
        for one in plain:
            yield from _wrappers(one)


def _options(env: Any) -> Iterator[str]:
    """Options of an environment (`kwargs`) that are other than numbers, truths and short words."""
    init = env.get("init_args") if isinstance(env, dict) else None
    given = init.get("kwargs") if isinstance(init, dict) else None
    for name, value in given.items() if isinstance(given, dict) else [("kwargs", given)] if given else ():
        is_word = isinstance(value, str) and WORD.fullmatch(value)
        if not (value is None or isinstance(value, bool | int | float) or is_word):
            yield f"(the option {str(name)[:40]})"


def code_named_by(path: Path) -> list[str]:
    """As `named_code`, of a YAML file; nothing it names is imported.

    Raises:
        UsageError: If it cannot be read.
    """
    try:
        return named_code(yaml.safe_load(path.read_text("utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise UsageError(f"CONFIG: cannot read {path}: {one_line(error)}") from None


def is_code_trusted() -> bool:
    """Whether the configs of others' runs may name code in this process."""
    return os.environ.get(TRUSTED, "") not in ("", "0")


def trust_code() -> None:
    """Let them, here and in the processes that this one starts."""
    os.environ[TRUSTED] = "1"


def _named(plain: Any) -> Iterator[str]:
    """Everything that may be read as code, by whatever spelling: of others' runs nothing is guessed."""
    if isinstance(plain, dict):
        is_world = str(plain.get("class_path", "")).rpartition(".")[2] == "PettingZoo"
        init = plain.get("init_args")
        if is_world and isinstance(init, dict) and isinstance(init.get("id"), str):
            yield init["id"]
        for key, value in plain.items():
            if "." in str(key) or key == "config":
                yield f"(the key {key})"
            yield from _named(value)
    elif isinstance(plain, list):
        for one in plain:
            yield from _named(one)
    elif isinstance(plain, str):
        yield from _of_text(plain)


def _of_text(text: str) -> Iterator[str]:
    """What a text may name: a dotted path, the module before Gymnasium's colon, or a config of its own."""
    module, colon, _ = text.partition(":")
    if text.lstrip().startswith(("{", "[")):
        yield "(a config within a text)"
    elif PATH.fullmatch(text) or (colon and PATH.fullmatch(f"{module}.x")):
        yield module
