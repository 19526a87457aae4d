"""The snapshot report as one HTML page that needs nothing else: tables, and plots as inline SVG."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from html import escape

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hydrahive.telemetry.snapshot import About, Section
from hydrahive.telemetry.story import Story

RECENT_ROWS, RECENT_EPISODES = 75, 500
"""What the plots of the recent past show: rows of losses, and episodes."""

SMOOTHED = 100
"""Episodes that the running mean is taken over."""

INK, ACCENT, FAINT = "#1b1f24", "#0b6e99", "#b9d3df"

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1f24; margin: 2rem auto; max-width: 70rem; padding: 0 1rem }
h1 { font-size: 1.6rem } h2 { font-size: 1.15rem; margin-top: 2rem }
table { border-collapse: collapse; font: 13px/1.4 ui-monospace, monospace }
th, td { padding: .15rem .7rem .15rem 0; text-align: left; vertical-align: top } th { border-bottom: 1px solid #ccc }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1rem }
.plots svg { width: 100%; height: auto } .wide { overflow-x: auto }
.strip { display: flex; gap: 2px; flex-wrap: wrap } .strip div { min-width: 3rem; padding: .4rem 0; text-align: center }
.strip small { display: block; opacity: .7 } details summary { cursor: pointer; font-weight: 600; margin-top: 1rem }
"""


def snapshot_page(about: About, story: Story, parts: Sequence[Section]) -> str:
    """The report as a page."""
    plots: list[tuple[str, Callable[[Axes], None]]] = []
    if len(story.scores):
        plots += [
            ("Scores", lambda axes: _scores(axes, story)),
            ("Score histogram", lambda axes: _histogram(axes, story.scores)),
            (f"Last {RECENT_EPISODES} scores", lambda axes: _histogram(axes, story.scores[-RECENT_EPISODES:])),
        ]
    if story.rows:
        plots += [
            ("Loss", lambda axes: _losses(axes, story, 0)),
            ("Loss, recent", lambda axes: _losses(axes, story, -RECENT_ROWS)),
        ]
    if story.gears():
        plots.append(("Gears", lambda axes: _gears(axes, story)))
    pictures = "".join(f"<figure>{_svg(title, draw)}</figure>" for title, draw in plots)
    first, *others = parts
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        f"<title>{escape(about.title)}: snapshot</title><style>{STYLE}</style></head><body>"
        f"<h1>{escape(about.title)}</h1>{_table(first)}<div class='plots'>{pictures}</div>"
        f"{_strip(story.buckets())}{''.join(map(_part, others))}</body></html>\n"
    )


def _part(part: Section) -> str:
    """A table under its title; configs and events are long and begin folded."""
    body = f"<div class='wide'>{_table(part)}</div>"
    if part.title.startswith(("Config", "Events")):
        return f"<details><summary>{escape(part.title)}</summary>{body}</details>"
    return f"<h2>{escape(part.title)}</h2>{body}"


def _table(part: Section) -> str:
    if not part.rows:
        return f"<p>{escape(part.nothing)}</p>"
    head = "".join(f"<th>{escape(name)}</th>" for name in part.header)
    rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in part.rows)
    return f"<table><tr>{head}</tr>{rows}</table>"


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


def _svg(title: str, draw: Callable[[Axes], None]) -> str:
    """A plot as an SVG element, the same bytes for the same data."""
    figure = Figure(figsize=(5.2, 3.2), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    axes.tick_params(labelsize=8)
    draw(axes)
    out = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": title}):
        figure.savefig(out, format="svg", metadata={"Date": None})
    svg = out.getvalue()
    unique = re.sub(r"\W", "", title)
    # The ids of several pictures stand in one page.
    svg = re.sub(r'(id="|xlink:href="#|url\(#)', rf"\g<1>{unique}-", svg)
    return svg[svg.index("<svg") :]


def _scores(axes: Axes, story: Story) -> None:
    episodes = np.arange(1, len(story.scores) + 1)
    axes.plot(episodes, story.scores, ".", color=FAINT, markersize=1.5, rasterized=len(episodes) > 3000)
    window = min(SMOOTHED, len(episodes))
    sums = np.cumsum(np.insert(story.scores, 0, 0.0))
    axes.plot(episodes[window - 1 :], (sums[window:] - sums[:-window]) / window, color=ACCENT, linewidth=1.5)
    axes.plot(episodes, np.maximum.accumulate(story.scores), color=INK, linewidth=1)
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
