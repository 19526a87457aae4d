"""The parts of the view: plots, tables and figures, each filled from what is known of the run."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.text import Text
from textual.widgets import DataTable, RichLog, Static
from textual_plotext import PlotextPlot

from hydrahive.watching.history import MOST_EVENTS, History

BINS = 20
"""Bars of a histogram."""

WHOLE_NUMBERS = 2**50
"""Above so many of them, whole numbers are binned like others."""

GOOD, BAD, DIM = "#2ed573", "#ee5253", "#8395a7"

CURVE_COLOURS = ((46, 213, 115), (254, 202, 87))

BLOCKS = " \u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"

WORKER_COLUMNS = ("worker", "owner", "state", "steps/s", "tokens", "env steps", "shards", "node")


class Curve(PlotextPlot):
    """Figures over env steps: all of them, or the newest rows'."""

    def __init__(self, title: str, *figures: str, recent: bool, id: str | None = None) -> None:  # noqa: A002
        """Plot `figures`, keys of the metrics, each in a colour of its own."""
        super().__init__(id=id)
        self._title, self._figures, self._is_recent = title, figures, recent
        self._drawn: object = None

    def fill(self, history: History) -> None:
        """Plot what is known now, if it is new."""
        drawn = history.row.get("updates"), self.size
        if drawn == self._drawn:
            return
        self._drawn = drawn
        read = history.recent if self._is_recent else history.curve
        curves = [points for points in map(read, self._figures) if points]
        self.plt.clear_data()
        self.plt.title(self._title)
        for points, colour in zip(curves, CURVE_COLOURS, strict=False):
            xs, ys = zip(*points, strict=True)
            self.plt.plot(list(xs), list(ys), marker="braille", color=colour)
        if curves:
            ends = [x for points in curves for x in (points[0][0], points[-1][0])]
            ticks = _ticks(min(ends), max(ends), 3 if self.size.width < 50 else 5)
            self.plt.xticks(ticks, [short(tick) for tick in ticks])
        self.refresh()


class Histogram(PlotextPlot):
    """How often which score came."""

    def __init__(self, title: str, *, recent: bool, id: str | None = None) -> None:  # noqa: A002
        """Of all episodes, or of the newest."""
        super().__init__(id=id)
        self._title, self._is_recent = title, recent
        self._drawn: object = None

    def fill(self, history: History) -> None:
        """Count what is known now, if it is new."""
        drawn = history.episodes, self.size
        if drawn == self._drawn:
            return
        self._drawn = drawn
        scores = list(history.recent_scores) if self._is_recent else [score for _, score in history.scores.points]
        self.plt.clear_data()
        self.plt.title(f"{self._title} ({len(scores):,})")
        if scores:
            counts, edges = binned(scores)
            self.plt.bar([short(edge) for edge in edges], counts, color=(72, 149, 239), width=0.8)
        self.refresh()


def binned(scores: Sequence[float]) -> tuple[list[int], list[float]]:
    """Counts and lower edges of at most `BINS` bars; whole numbers get bars of whole numbers."""
    array = np.asarray(scores, np.float64)
    low, high = float(array.min()), float(array.max())
    if np.all(array == np.round(array)) and high - low < WHOLE_NUMBERS:
        width = max(1, int(np.ceil((high - low + 1) / BINS)))
        edges = np.arange(low, high + width + 0.5, width)
    else:
        edges = np.linspace(low, high, BINS + 1)
    counts, _ = np.histogram(array, edges)
    return counts.tolist(), edges[:-1].tolist()


class Figures(Static):
    """The run in a few lines."""

    _text = Text()

    def fill(self, history: History, status: Mapping[str, Any], shown: Mapping[str, Any]) -> None:
        """Show the newest row, and what the board shows."""
        row = history.row
        lines = [
            ("score", f"{_number(row.get('score_mean'))} mean, {_number(row.get('score_max'))} best"),
            ("episodes", f"{history.episodes:,}"),
            ("loss", _number(row.get("loss"), 4)),
            _exploring(row),
            *([("lag", _number(row["lag"], 1))] if "lag" in row else []),
            ("workers", str(len([one for one in status.get("workers", ()) if one["state"] != "gone"]) or "-")),
            *shown.items(),
        ]
        text = Text()
        for name, value in lines:
            text.append(f"{name:<10}", DIM)
            text.append(f"{value}\n")
        if text != self._text:
            is_longer, self._text = len(lines) != self._text.plain.count("\n"), text
            self.update(text, layout=is_longer)


class ReplayStrip(Static):
    """The replay's gear, and how its buckets are filled."""

    _text = Text()

    def fill(self, history: History) -> None:
        """Show them; nothing where the run has none."""
        self.display = bool(history.gear or history.buckets)
        if not self.display:
            return
        text = Text()
        if history.gear:
            gear = history.gear
            text.append("gear      ", DIM)
            text.append(f"{gear['gear']}  ", f"bold {GOOD}")
            text.append(f"{gear['batch']} sequences of {gear['sequence']}\n")
        if history.buckets:
            most = max(*history.buckets, 1)
            text.append("buckets   ", DIM)
            text.append("".join(BLOCKS[-(-8 * count // most)] for count in history.buckets), GOOD)
            text.append(f" {len(history.buckets)}", DIM)
        if text != self._text:
            was_empty, self._text = not self._text.plain, text
            self.update(text, layout=was_empty)


class Workers(DataTable[Text]):
    """Who works on the run, for whom, how fast, and for how many tokens."""

    def on_mount(self) -> None:
        """Lay out the columns."""
        self.cursor_type, self.zebra_stripes = "row", True
        for column in WORKER_COLUMNS:
            self.add_column(column, key=column)

    def fill(self, workers: Sequence[Mapping[str, Any]]) -> None:
        """Show them as they are now; where one looks in the table stays."""
        cells = {one["name"]: _worker_cells(one) for one in workers}
        if [key.value for key in self.rows] != list(cells):
            self.clear()
            for name, row in cells.items():
                self.add_row(*row, key=name)
            return
        for name, row in cells.items():
            for column, cell in zip(WORKER_COLUMNS, row, strict=True):
                if self.get_cell(name, column) != cell:
                    self.update_cell(name, column, cell, update_width=True)


def _worker_cells(one: Mapping[str, Any]) -> tuple[Text, ...]:
    colour = {"alive": GOOD, "gone": DIM}.get(one["state"], BAD)
    speed = one["steps_per_second"] if one["state"] != "gone" else 0
    return (
        Text(one["name"]),
        Text(one["owner"]),
        Text(one["state"], colour),
        Text(f"{speed:,.0f}", justify="right"),
        Text(f"{one['microtokens'] / 1e6:,.3f}", justify="right"),
        Text(f"{one['env_steps']:,}", justify="right"),
        Text(" ".join(map(str, one["shards"]))),
        Text(one["node"]),
    )


class Events(RichLog):
    """What happened, the newest last."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        """Nothing yet."""
        super().__init__(id=id, wrap=True, markup=False, highlight=False, max_lines=MOST_EVENTS)
        self._told = 0

    def fill(self, history: History) -> None:
        """Add what is new."""
        if history.told < self._told:
            self.clear()
            self._told = 0
        new = history.told - self._told
        for event in list(history.events)[-new:] if new else ():
            text = Text(time.strftime("%H:%M:%S ", time.localtime(event["time"])), DIM)
            text.append(event["kind"], BAD if _is_bad(event["kind"]) else GOOD)
            self.write(text.append(f" {event['text']}"))
        self._told = history.told


def short(value: float) -> str:
    """A number in few characters, as in `1.2M`."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{unit}"
    return f"{value:.4g}"


def _ticks(low: float, high: float, count: int) -> list[float]:
    return np.linspace(low, high, count).tolist() if high > low else [low]


def _number(value: Any, digits: int = 2) -> str:
    return f"{value:.{digits}f}" if isinstance(value, int | float) else "-"


def _exploring(row: Mapping[str, Any]) -> tuple[str, str]:
    if "epsilon" in row:
        return "epsilon", _number(row["epsilon"], 3)
    return "entropy", _number(row.get("entropy"), 3)


def _is_bad(kind: str) -> bool:
    return any(word in kind for word in ("lost", "fail", "diverged", "refused", "away", "taken_back", "tainted"))
