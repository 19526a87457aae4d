"""The snapshot report as one HTML page that needs nothing else: tables, and plots as inline SVG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from hydrahive.telemetry.pages.page import ACCENT, FAINT, INK, folded, page, pictures, table
from hydrahive.telemetry.snapshot import About, Section
from hydrahive.telemetry.story import Story

RECENT_ROWS, RECENT_EPISODES = 75, 500
"""What the plots of the recent past show: rows of losses, and episodes."""

SMOOTHED = 100
"""Episodes that the running mean is taken over."""


def snapshot_page(about: About, story: Story, parts: Sequence[Section]) -> bytes:
    """The report as a page."""
    plots: list[tuple[str, Callable[[Axes], None]]] = list(of_scores(story.scores))
    if story.rows:
        plots += [
            ("Loss", lambda axes: _losses(axes, story, 0)),
            ("Loss, recent", lambda axes: _losses(axes, story, -RECENT_ROWS)),
        ]
    if story.gears():
        plots.append(("Gears", lambda axes: _gears(axes, story)))
    first, *others = parts
    body = f"<h1>{escape(about.title)}</h1>{_body(first)}{pictures(plots)}{_strip(story.buckets())}"
    return page(f"{about.title}: snapshot", body + "".join(map(_part, others)))


def of_scores(scores: np.ndarray) -> Sequence[tuple[str, Callable[[Axes], None]]]:
    """The pictures of all episodes' scores `[E]`; none without episodes."""
    if not len(scores):
        return []
    return [
        ("Scores", lambda axes: _scores(axes, scores)),
        ("Score histogram", lambda axes: _histogram(axes, scores)),
        (f"Last {RECENT_EPISODES} scores", lambda axes: _histogram(axes, scores[-RECENT_EPISODES:])),
    ]


def _part(part: Section) -> str:
    """A table under its title; configs and events are long and begin folded."""
    if part.title.startswith(("Config", "Events")):
        return folded(part.title, _body(part))
    return f"<h2>{escape(part.title)}</h2>{_body(part)}"


def _body(part: Section) -> str:
    return table(part.header, part.rows, part.nothing)


def _strip(buckets: Sequence[int]) -> str:
    """The buckets as cells, shaded between the emptiest and the fullest."""
    if not buckets:
        return ""
    low, span = min(buckets), max(1, max(buckets) - min(buckets))
    cells = "".join(
        f"<div style='background: rgba(11, 110, 153, {0.08 + 0.6 * (count - low) / span:.2f})'>"
        f"{count:,}<small>b{i + 1}</small></div>"
        for i, count in enumerate(buckets)
    )
    return f"<h2>Buckets now: episodes by temporal depth</h2><div class='strip'>{cells}</div>"


def _scores(axes: Axes, scores: np.ndarray) -> None:
    episodes = np.arange(1, len(scores) + 1)
    axes.plot(episodes, scores, ".", color=FAINT, markersize=1.5, rasterized=len(episodes) > 3000)
    window = min(SMOOTHED, len(episodes))
    sums = np.cumsum(np.insert(scores, 0, 0.0))
    axes.plot(episodes[window - 1 :], (sums[window:] - sums[:-window]) / window, color=ACCENT, linewidth=1.5)
    axes.plot(episodes, np.maximum.accumulate(scores), color=INK, linewidth=1)
    axes.set_xlabel(f"episode (points; mean of {window}; best so far)", fontsize=8)


def _histogram(axes: Axes, scores: np.ndarray) -> None:
    low, high = float(scores.min()), float(scores.max())
    width = max(1.0, np.ceil((high - low) / 60)) if (scores == np.round(scores)).all() else max(high - low, 1e-9) / 60
    axes.hist(scores, bins=(np.arange(low, high + 2 * width, width) - width / 2).tolist(), color=ACCENT)
    axes.set_xlabel("score", fontsize=8)


def _losses(axes: Axes, story: Story, first: int) -> None:
    rows = story.rows[first:]
    axes.plot([row["updates"] for row in rows], [row["loss"] for row in rows], color=ACCENT, linewidth=1)
    axes.set_xlabel("update", fontsize=8)


def _gears(axes: Axes, story: Story) -> None:
    shifts = story.gears()
    episodes = [episode for episode, _ in shifts] + [len(story.scores)]
    gears = [gear for _, gear in shifts]
    axes.step(episodes, [*gears, gears[-1]], where="post", color=ACCENT)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("episode", fontsize=8)
