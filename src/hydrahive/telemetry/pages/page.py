"""What all pages share: how they look, in light and dark, wide and narrow; tables, curves, recordings."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK = "#1b1f24"
"""What is drawn in it takes the colour of the page's text."""

IN_INK: Any = dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK)

ACCENT, FAINT, ALARM = "#1f83b0", "#8fb9cc", "#d1495b"
COLOURS = (ACCENT, ALARM, "#5b8c2a", "#8a5aab", "#c98a1b", "#708090")

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --line: #d5d9de; --soft: #f3f5f7 }
@media (prefers-color-scheme: dark) { :root { --ink: #dfe3e8; --paper: #14171a; --line: #3a4048; --soft: #1e2328 } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem auto;
  max-width: 70rem; padding: 0 1rem }
h1 { font-size: 1.6rem; overflow-wrap: anywhere } h2 { font-size: 1.15rem; margin-top: 2rem }
.wide { overflow-x: auto } code { font-size: 90%; overflow-wrap: anywhere }
table { border-collapse: collapse; font: 13px/1.4 ui-monospace, monospace }
th, td { padding: .2rem .8rem .2rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line) }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); gap: 1rem }
.beside { display: flex; flex-wrap: wrap; gap: 1rem 3rem; align-items: flex-start } .beside > * { min-width: 0 }
figure { margin: 0 } figure svg, figure img, figure video { width: 100%; height: auto }
figure.recording { max-width: 24rem } figure.recording img { image-rendering: pixelated }
figcaption { font-size: 13px; opacity: .75 }
tr.marked { background: var(--soft); font-weight: 600 }
.strip { display: flex; gap: 2px; flex-wrap: wrap } .strip div { min-width: 3rem; padding: .4rem 0; text-align: center }
.strip small { display: block; opacity: .7 } details summary { cursor: pointer; font-weight: 600; margin-top: 1rem }
"""


def page(title: str, body: str) -> bytes:
    """A whole page."""
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>{body}</body></html>\n"
    ).encode()


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], nothing: str = "none", marked: int | None = None
) -> str:
    """A table, which scrolls where it is wider than the page; a sentence where it has no rows.

    Args:
        header: Names of its columns; empty ones for none.
        rows: Its cells.
        nothing: The sentence.
        marked: A row that stands out.
    """
    if not rows:
        return f"<p>{escape(nothing)}</p>"
    head = "".join(f"<th>{escape(name)}</th>" for name in header) if any(header) else ""
    cells = ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows]
    body = "".join(f"<tr{' class=marked' * (i == marked)}>{row}</tr>" for i, row in enumerate(cells))
    return f"<div class='wide'><table>{head and f'<tr>{head}</tr>'}{body}</table></div>"


def folded(title: str, body: str) -> str:
    """What is long, and begins folded."""
    return f"<details><summary>{escape(title)}</summary>{body}</details>"


def pictures(drawn: Sequence[tuple[str, Callable[[Axes], None]]]) -> str:
    """Pictures beside and below each other, as many as there is room for."""
    if not drawn:
        return ""
    return f"<div class='pictures'>{''.join(f'<figure>{svg(*one)}</figure>' for one in drawn)}</div>"


def svg(title: str, draw: Callable[[Axes], None], width: float = 5.2, height: float = 3.2) -> str:
    """A plot as an SVG element, the same bytes for the same data.

    Args:
        title: Stands above it.
        draw: Draws on its axes.
        width: In inches, as matplotlib has it; the page scales it.
        height: Likewise.
    """
    out = io.StringIO()
    with matplotlib.rc_context(IN_INK | {"svg.hashsalt": title}):
        figure = Figure(figsize=(width, height), layout="constrained", facecolor="none")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot(facecolor="none")
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title(title, loc="left", fontsize=10)
        axes.tick_params(labelsize=8)
        draw(axes)
        figure.savefig(out, format="svg", metadata={"Date": None})
    drawn = out.getvalue()
    unique = re.sub(r"\W", "", title)
    # The ids of several pictures stand in one page.
    drawn = re.sub(r'(id="|xlink:href="#|url\(#)', rf"\g<1>{unique}-", drawn[drawn.index("<svg") :])
    return drawn.replace(INK, "currentColor")


def recording(content: bytes, kind: str, said: str) -> str:
    """A GIF or MP4 (`kind`) inside of the page."""
    data = base64.b64encode(content).decode()
    if kind == "mp4":
        shown = f"<video controls loop muted src='data:video/mp4;base64,{data}'></video>"
    else:
        shown = f"<img alt='{escape(said, quote=True)}' src='data:image/gif;base64,{data}'>"
    return f"<figure class='recording'>{shown}<figcaption>{escape(said)}</figcaption></figure>"
