"""Which code a config names that does not come with us: whoever builds the config runs it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from hydrahive.core.errors import UsageError, one_line

OURS = ("hydrahive", "gymnasium", "pettingzoo", "ale_py", "minatar", "minigrid", "mpe2")
"""Packages that come with us: what they define may be named by anybody's config."""

TRUSTED = "HYDRAHIVE_TRUST_CODE"
"""The variable that lets the configs of others' runs name code; `--trust-code` sets it for one command."""


def named_code(plain: Any) -> list[str]:
    """The code that a config's plain data name, as dotted paths, sorted: classes, modules of environments, wrappers."""
    return sorted({name for name in _named(plain) if name.partition(".")[0] not in OURS})


def code_named_by(path: Path) -> list[str]:
    """As `named_code`, of a YAML file; nothing it names is imported.

    Raises:
        UsageError: If it cannot be read.
    """
    try:
        return named_code(yaml.safe_load(path.read_text()))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise UsageError(f"CONFIG: cannot read {path}: {one_line(error)}") from None


def is_code_trusted() -> bool:
    """Whether the configs of others' runs may name code in this process."""
    return os.environ.get(TRUSTED, "") not in ("", "0")


def trust_code() -> None:
    """Let them, here and in the processes that this one starts."""
    os.environ[TRUSTED] = "1"


def _named(plain: Any) -> Iterator[str]:
    if isinstance(plain, dict):
        path = plain.get("class_path")
        if isinstance(path, str) and "." in path:
            yield path
        for key, value in plain.items():
            if key == "wrappers" and isinstance(value, list):
                yield from (one for one in value if isinstance(one, str))
            if key == "id" and isinstance(value, str):
                yield from _of_environment(value)
            yield from _named(value)
    elif isinstance(plain, list):
        for one in plain:
            yield from _named(one)


def _of_environment(name: str) -> Iterator[str]:
    """The module that an environment's name has imported: before Gymnasium's colon, or PettingZoo's whole name."""
    module, colon, _ = name.partition(":")
    if colon:
        yield module
    elif "." in name and "/" not in name:
        yield name
