"""Runs side by side, on one page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import Any

from matplotlib.axes import Axes

from hydrahive.telemetry.curves import Curve
from hydrahive.telemetry.pages.page import COLOURS, page, pictures, table


@dataclass(frozen=True)
class Drawn:
    """Curves on one picture.

    Attributes:
        x: What they are drawn over.
        y: What they are of.
        curves: One of each run.
    """

    x: str
    y: str
    curves: Sequence[Curve]


@dataclass(frozen=True)
class Side:
    """Runs side by side.

    Attributes:
        names: The runs'.
        facts: Rows of (what, each run's).
        differences: Rows of (config key, each run's value) where they differ.
        bytes: A sentence for each run but the first.
        scores: Rows of (run, episodes, mean with its interval, difference to the first with its interval).
        drawn: Pictures.
    """

    names: Sequence[str]
    facts: Sequence[Sequence[Any]]
    differences: Sequence[Sequence[Any]]
    bytes: Sequence[str]
    scores: Sequence[Sequence[str]]
    drawn: Sequence[Drawn]


SCORES = ("run", "last episodes", "mean score (95%)", "above the first (95%)")


def comparison_page(side: Side) -> bytes:
    """The page."""
    title = f"{', '.join(side.names)} compared"
    drawn = [(f"{one.y} over {one.x}".replace("_", " "), partial(_curves, one)) for one in side.drawn]
    said = "".join(f"<p>{escape(sentence)}</p>" for sentence in side.bytes)
    differences = [[value_of(value) for value in row] for row in side.differences]
    facts = [[cell_of(value) for value in row] for row in side.facts]
    parts = [
        f"<h1>{escape(title)}</h1>{said}",
        pictures(drawn),
        f"<h2>Scores</h2>{table(SCORES, side.scores)}",
        f"<h2>Where their configs differ</h2>{table(('key', *side.names), differences, 'nowhere')}",
        f"<h2>Facts</h2>{table(('', *side.names), facts)}",
    ]
    return page(title, "".join(parts))


def value_of(value: object) -> str:
    """A config's value as a table shows it: as it is written."""
    return "-" if value is None else str(value)


def cell_of(value: object) -> str:
    """A figure as a table shows it."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1 else f"{value:,.2f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


def _curves(drawn: Drawn, axes: Axes) -> None:
    for curve, colour in zip(drawn.curves, COLOURS * len(drawn.curves), strict=False):
        axes.plot(curve.x, curve.y, color=colour, lw=1.4, label=curve.label)
    axes.set_xlabel(drawn.x.replace("_", " "), fontsize=8)
    axes.legend(frameon=False, fontsize=8)
