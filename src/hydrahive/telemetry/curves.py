"""Curves of several runs on one grid: medians or interquartile means, with bootstrap intervals over the runs.

As Agarwal et al. 2021 (arXiv 2108.13264) recommend it for few runs.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hydrahive.core.streams import stream

POINTS = 200
"""Of a curve's grid."""

RESAMPLES = 2_000

COLORS = ("#0b6e99", "#d1495b", "#5b8c2a", "#8a5aab", "#c98a1b", "#4f5d75")


def median(values: np.ndarray) -> np.ndarray:
    """Over the first axis."""
    found: np.ndarray = np.median(values, axis=0)
    return found


def interquartile_mean(values: np.ndarray) -> np.ndarray:
    """The mean of the middle half over the first axis: a quarter of the runs is left out at either end."""
    cut = len(values) // 4
    found: np.ndarray = np.sort(values, axis=0)[cut : len(values) - cut].mean(axis=0)
    return found


def mean(values: np.ndarray) -> np.ndarray:
    """Over the first axis."""
    found: np.ndarray = values.mean(axis=0)
    return found


AGGREGATES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "median": median,
    "iqm": interquartile_mean,
    "mean": mean,
}

WORDS = {"median": "median", "iqm": "interquartile mean", "mean": "mean"}


@dataclass(frozen=True)
class Group:
    """Runs that differ in nothing but their seeds.

    Attributes:
        label: What tells them from others.
        x: Of each run, `[N]`, growing.
        y: Likewise.
    """

    label: str
    x: Sequence[np.ndarray]
    y: Sequence[np.ndarray]


@dataclass(frozen=True)
class Curve:
    """A group on one grid.

    Attributes:
        label: The group's.
        x: The grid, `[G]`.
        runs: Each run's values on it, `[R, G]`.
        y: What they come to, `[G]`.
        low: Lower end of the 95% interval, `[G]`; of one run itself.
        high: Upper end.
    """

    label: str
    x: np.ndarray
    runs: np.ndarray
    y: np.ndarray
    low: np.ndarray
    high: np.ndarray


def curve_of(group: Group, aggregate: str = "median", smooth: int = 1) -> Curve:
    """Runs on a common grid, which all of them reach; `smooth`: each value is the mean of so many before it."""
    begin, end = max(x[0] for x in group.x), min(x[-1] for x in group.x)
    grid = np.linspace(begin, max(begin, end), POINTS)
    runs = np.stack([smoothed(np.interp(grid, x, y), smooth) for x, y in zip(group.x, group.y, strict=True)])
    low, high = interval(runs, AGGREGATES[aggregate])
    return Curve(group.label, grid, runs, AGGREGATES[aggregate](runs), low, high)


def smoothed(values: np.ndarray, window: int) -> np.ndarray:
    """Each value as the mean of itself and of up to `window - 1` before it."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    begins = np.maximum(0, ends - window)
    means: np.ndarray = (sums[ends] - sums[begins]) / (ends - begins)
    return means


def interval(runs: np.ndarray, aggregate: Callable[[np.ndarray], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The 95% percentile interval of an aggregate over resampled runs `[R, ...]`."""
    picks = stream(0, "curves", len(runs)).integers(0, len(runs), (RESAMPLES, len(runs)))
    found = np.stack([aggregate(runs[pick]) for pick in picks])
    low, high = np.percentile(found, [2.5, 97.5], axis=0)
    return low, high


def improvement(mine: np.ndarray, theirs: np.ndarray) -> tuple[float, float, float]:
    """How likely a run of the one is above a run of the other, ties half; with its 95% interval (section 4.3)."""

    def above(a: np.ndarray, b: np.ndarray) -> float:
        return float((np.sign(a[:, None] - b[None]) + 1).mean() / 2)

    draws = stream(0, "improvement", len(mine), len(theirs))
    found = [
        above(mine[draws.integers(0, len(mine), len(mine))], theirs[draws.integers(0, len(theirs), len(theirs))])
        for _ in range(RESAMPLES)
    ]
    low, high = np.percentile(found, [2.5, 97.5])
    return above(mine, theirs), float(low), float(high)


def drawn(curves: Sequence[Curve], x: str, y: str, aggregate: str, smooth: int) -> bytes:
    """The curves with their intervals, as an SVG."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    for i, curve in enumerate(curves):
        color = COLORS[i % len(COLORS)]
        count = len(curve.runs)
        axes.plot(curve.x, curve.y, color=color, lw=1.5, label=f"{curve.label} ({count} run{'s' * (count > 1)})")
        if count > 1:
            axes.fill_between(curve.x, curve.low, curve.high, color=color, alpha=0.2, lw=0)
    means = f", mean of {smooth} points" if smooth > 1 else ""
    axes.set(xlabel=x.replace("_", " "), ylabel=f"{y.replace('_', ' ')}, {WORDS[aggregate]}{means}")
    axes.grid(visible=True, alpha=0.25)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    made = io.BytesIO()
    figure.savefig(made, format="svg", metadata={"Date": None})
    return made.getvalue()
