"""Runs as groups that differ in their seeds only, for curves over them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hydrahive.core.errors import UsageError
from hydrahive.runtime.config.run_config import BYTE_NEUTRAL
from hydrahive.runtime.inspect.comparison import written_config
from hydrahive.runtime.runs.run_folder import RunFolder
from hydrahive.telemetry.curves import Group
from hydrahive.telemetry.jsonl import read_rows

SCORES = ("evaluation_mean", "score_mean")
"""What is drawn where nobody says what: the first that every run has."""


def groups_of(folders: Sequence[RunFolder], x: str, y: str | None, *, apart: bool = False) -> tuple[list[Group], str]:
    """The runs in groups, and the column that is drawn.

    Args:
        folders: The runs.
        x: The column that is drawn over.
        y: The column that is drawn; None for the first of `SCORES` that all have.
        apart: Whether each run is a group, by its name.

    Raises:
        UsageError: If a run has no such column, or nothing in it; says which it has.
        HydrahiveError: If a config cannot be read.
    """
    rows = [_rows(folder) for folder in folders]
    column = y or next((name for name in SCORES if all(_has(told, x, name) for told in rows)), SCORES[-1])
    for folder, told in zip(folders, rows, strict=True):
        for wanted in (x, column):
            if not _has(told, x, wanted):
                known = sorted({key for row in told for key, value in row.items() if isinstance(value, int | float)})
                has = ", ".join(known) or "no rows yet"
                raise UsageError(f"RUN: {folder.name!r} has no {wanted!r} to draw; it has {has}")
    curves = [_curve(told, x, column) for told in rows]
    if apart:
        return [Group(folder.name, [xs], [ys]) for folder, (xs, ys) in zip(folders, curves, strict=True)], column
    keys = [_told_apart(folder) for folder in folders]
    differing = [key for key in dict.fromkeys(k for one in keys for k in one) if _differs(keys, key)]
    groups: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for told_apart, curve in zip(keys, curves, strict=True):
        groups.setdefault(_label(told_apart, differing), []).append(curve)
    found = [Group(label, [xs for xs, _ in those], [ys for _, ys in those]) for label, those in groups.items()]
    return found, column


def _rows(folder: RunFolder) -> list[dict[str, Any]]:
    return list(read_rows(folder.metrics))


def _has(rows: Sequence[dict[str, Any]], x: str, y: str) -> bool:
    return any(_is_number(row.get(x)) and _is_number(row.get(y)) for row in rows)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _curve(rows: Sequence[dict[str, Any]], x: str, y: str) -> tuple[np.ndarray, np.ndarray]:
    """Where a column has values; of several at one place the last."""
    known = {row[x]: row[y] for row in rows if _is_number(row.get(x)) and _is_number(row.get(y))}
    places = sorted(known)
    return np.array(places, np.float64), np.array([known[place] for place in places], np.float64)


def _told_apart(folder: RunFolder) -> dict[str, Any]:
    """The values of a run's config that its bytes depend on, but for the seed."""
    left_out = {"seed", *BYTE_NEUTRAL} - {"experiment"}
    return {key: value for key, value in written_config(folder).items() if not {key, key.split(".")[0]} & left_out}


def _differs(keys: Sequence[dict[str, Any]], key: str) -> bool:
    values = [one.get(key) for one in keys]
    return any(value != values[0] for value in values)


def _label(values: dict[str, Any], differing: Sequence[str]) -> str:
    """What tells a group from the others: its experiment, and the keys in which it differs."""
    said = [f"{key.replace('init_args.', '')} {values[key]}" for key in differing if key in values]
    named = str(values.get("experiment") or "run")
    return ", ".join([named, *[text for text in said if not text.startswith("experiment ")][:4]])
