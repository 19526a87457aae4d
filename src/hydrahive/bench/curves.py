"""Curves of a race to a score: what each training was worth after so many seconds, as an SVG."""

from __future__ import annotations

import io
from typing import Any

from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

COLORS = ("#0b6e99", "#d1495b")
"""Of the contenders, the first one first."""


def curves_svg(experiment: str, report: dict[str, Any]) -> bytes:
    """Greedy means over seconds of training, a line for each seed, and the mark.

    Args:
        experiment: Its name.
        report: What `hydrahive.bench.score.bench_score` gave.
    """
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    for color, (name, curves) in zip(COLORS, report["curves"].items(), strict=False):
        for seed, looks in zip(report["seeds"], curves, strict=True):
            label = name if seed == report["seeds"][0] else None
            seconds, means = [look["seconds"] for look in looks], [look["mean"] for look in looks]
            axes.plot(seconds, means, color=color, lw=1, alpha=0.8, label=label)
    axes.axhline(report["mark"], color="#888888", lw=1, ls="--")
    axes.set(xlabel="seconds of training", ylabel="greedy mean", title=experiment)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    return drawn.getvalue()
