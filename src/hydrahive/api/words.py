"""What a Python call says, in the words of the command line, which one reader reads."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hydrahive.runtime.config.plain import as_plain


def words_of(overrides: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Overrides as options: `{"stop": {"updates": 5}, "algorithm.discount": 0.9}` is `--stop.updates 5 ...`."""
    return [word for key, value in overrides.items() for word in _option(f"{prefix}{key}", value)]


def _option(key: str, value: Any) -> Iterator[str]:
    if isinstance(value, Mapping) and "class_path" not in value and value:
        yield from words_of(value, f"{key}.")
    else:
        yield from (f"--{key}", value if isinstance(value, str) else _text(value))


def _text(value: Any) -> str:
    if isinstance(value, Path):
        return str(value)
    plain = as_plain(value) if dataclasses.is_dataclass(value) else _plain(value)
    return json.dumps(plain)


def _plain(value: Any) -> Any:
    """Values as JSON knows them, numpy's numbers among them."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return as_plain(value)
    return value.item() if hasattr(value, "item") and not isinstance(value, str) else value
