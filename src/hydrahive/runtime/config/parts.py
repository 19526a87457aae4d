"""The parts of a config that are chosen by `class_path`: environments, encoders, cores, algorithms, replays."""

from __future__ import annotations

import importlib
import re
from importlib.metadata import entry_points
from inspect import isabstract
from typing import Any

from jsonargparse import set_parsing_settings

from hydrahive.core.config import AlgorithmConfig, CoreConfig, EncoderConfig, EnvConfig, ReplayConfig
from hydrahive.core.errors import UsageError, one_line
from hydrahive.telemetry.loggers.base import LoggerConfig

BASES: list[type] = [EnvConfig, EncoderConfig, CoreConfig, AlgorithmConfig, ReplayConfig, LoggerConfig]
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


def subclasses(base: type) -> list[type]:
    """The parts that may stand where `base` is expected, plugins' and users' among them."""
    directs: list[type] = base.__subclasses__()
    parts = [part for direct in directs for part in (direct, *subclasses(direct))]
    return [part for part in parts if not (part.__name__.startswith("_") or isabstract(part))]


def part_names() -> list[str]:
    """The names of all parts."""
    return [part.__name__ for base in BASES for part in subclasses(base)]


def part_at(class_path: str) -> Any:
    """A part's class by its dotted path, or one of ours by its name.

    Raises:
        UsageError: If there is none.
    """
    module, _, name = class_path.rpartition(".")
    try:
        if module:
            return getattr(importlib.import_module(module), name)
        return next(part for base in BASES for part in subclasses(base) if part.__name__ == name)
    except (ImportError, AttributeError, StopIteration) as error:
        raise UsageError(f"class_path: {class_path!r} is nowhere: {error or 'not one of ours'}") from None


def meanings(part: type) -> dict[str, str]:
    """Each attribute's text from the `Attributes` sections of a class's docstring and of its bases'."""
    meanings: dict[str, str] = {}
    for cls in reversed(part.__mro__):
        section = (cls.__doc__ or "").partition("Attributes:")[2]
        found = re.findall(r"^ {8}(\w+): (.*(?:\n {12}.*)*)", section, re.MULTILINE)
        meanings |= {name: one_line(text) for name, text in found}
    return meanings
