"""What tells runs apart: their configs, the first row in which their bytes differ, and their scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hydrahive.core.errors import UsageError
from hydrahive.core.streams import stream
from hydrahive.runtime.inspect.comparison import DIGEST_SHOWN, config_differences, facts_of
from hydrahive.runtime.inspect.curves import groups_of
from hydrahive.runtime.runs.run_folder import RunFolder
from hydrahive.telemetry.curves import curve_of, interval, mean
from hydrahive.telemetry.jsonl import read_rows
from hydrahive.telemetry.pages.comparison import Drawn, Side
from hydrahive.telemetry.story import read_story

RECENT = 100
"""Episodes at the end whose scores are compared."""

RESAMPLES = 2_000

OF_THE_MACHINE = (
    "conservation_difference",
    "env_workers",
    "lag",
    "lag_max",
    "outstanding_receipts",
    "slices_elsewhere",
    "recoveries",
    "replayed_env_steps",
    "rounds_in_flight",
    "steps_per_second",
)
"""Columns that depend on who computed, and how fast; those that end in `seconds` and begin with `credited` besides."""


@dataclass(frozen=True)
class Parting:
    """Where two runs' rows differ first.

    Attributes:
        updates: At which update.
        env_steps: Of the first.
        column: In which column.
        mine: What the first run has there.
        theirs: What the other has.
    """

    updates: int
    env_steps: int
    column: str
    mine: float
    theirs: float


def compared(folders: Sequence[RunFolder]) -> Side:
    """Two runs or more, each held against the first.

    Raises:
        HydrahiveError: If a config cannot be read.
    """
    facts = [facts_of(folder) for folder in folders]
    first = list(read_rows(folders[0].metrics))
    said = [_bytes(folders[0], folder, first) for folder in folders[1:]]
    return Side(
        [folder.name for folder in folders],
        [[name, *(fact[name] for fact in facts)] for name in list(facts[0])[1:]],
        config_differences(folders),
        said,
        _scores(folders),
        [drawn for x in ("env_steps", "seconds") if (drawn := _curves(folders, x)) is not None],
    )


def _bytes(mine: RunFolder, theirs: RunFolder, rows: Sequence[dict[str, Any]]) -> str:
    """Whether two runs came to the same bytes, and where they parted if not; `rows` are the first's."""
    digest, other = ((folder.read_summary() or {}).get("digest") for folder in (mine, theirs))
    if digest and digest == other:
        return f"{theirs.name}: the same digest as {mine.name}, {digest[:DIGEST_SHOWN]}: every byte is the same"
    against = list(read_rows(theirs.metrics))
    parted = parting(rows, against)
    if parted is None:
        common = {row["updates"] for row in rows} & {row["updates"] for row in against}
        return f"{theirs.name}: no row differs from {mine.name}'s, of {len(common):,} that both have"
    return (
        f"{theirs.name}: differs from {mine.name} from update {parted.updates:,} on "
        f"({parted.env_steps:,} env steps): {parted.column} {parted.theirs:g}, not {parted.mine:g}"
    )


def parting(mine: Sequence[dict[str, Any]], theirs: Sequence[dict[str, Any]]) -> Parting | None:
    """The first row of the same update in which something differs that should not between equal runs."""
    others = {row["updates"]: row for row in theirs if "loss" in row}
    for row in mine:
        against = others.get(row["updates"], {}) if "loss" in row else {}
        for name in filter(_is_learned, row):
            if name in against and row[name] != against[name] and row[name] == row[name]:
                return Parting(row["updates"], row["env_steps"], name, row[name], against[name])
    return None


def _is_learned(name: str) -> bool:
    return name not in OF_THE_MACHINE and not name.endswith("seconds") and not name.startswith("credited")


def _scores(folders: Sequence[RunFolder]) -> list[list[str]]:
    """The last episodes' mean score of each, and by how much it is above the first's, with a 95% interval."""
    told = [read_story(folder.metrics, folder.events, folder.episodes).scores[-RECENT:] for folder in folders]
    rows = []
    for folder, scores in zip(folders, told, strict=True):
        if not len(scores):
            rows.append([folder.name, "0", "-", "-"])
            continue
        shown = "-"
        if folder is not folders[0] and len(told[0]):
            low, high = difference(scores, told[0])
            shown = f"{scores.mean() - told[0].mean():+,.2f} ({low:+,.2f} to {high:+,.2f})"
        low, high = (float(end) for end in interval(scores, mean))
        rows.append([folder.name, str(len(scores)), f"{scores.mean():,.2f} ({low:,.2f} to {high:,.2f})", shown])
    return rows


def difference(mine: np.ndarray, theirs: np.ndarray) -> tuple[float, float]:
    """The 95% percentile interval of the difference of two means, over resampled episodes."""
    draws = stream(0, "difference", len(mine), len(theirs))
    found = [
        mine[draws.integers(0, len(mine), len(mine))].mean()
        - theirs[draws.integers(0, len(theirs), len(theirs))].mean()
        for _ in range(RESAMPLES)
    ]
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def _curves(folders: Sequence[RunFolder], x: str) -> Drawn | None:
    """Their scores, one curve each; None where one has none yet."""
    try:
        groups, column = groups_of(folders, x, None, apart=True)
    except UsageError:
        return None
    return Drawn(x, column, [curve_of(group) for group in groups])
