"""`hydrahive plot`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydrahive.cli.arguments import add_runs, command_parser, positive, writable, writing

if TYPE_CHECKING:
    from hydrahive.telemetry.curves import Curve

DESCRIPTION = """Draw curves of runs. Runs that differ in nothing but their seeds are one curve, with a 95% bootstrap
interval over them; what its end is worth, and how likely the one is better than the other, is told as a table."""


def run(arguments: Sequence[str]) -> int:
    """Draw runs, and tell what their curves end at."""
    parser = command_parser("plot", DESCRIPTION)
    parser.add_argument("names", metavar="RUN", nargs="+", help="runs' names or folders")
    add_runs(parser)
    parser.add_argument(
        "--x", default="env_steps", help="env_steps, seconds, episodes, or any column (default: env_steps)"
    )
    parser.add_argument("--y", help="the column to draw (default: evaluation_mean, or score_mean where a run has none)")
    parser.add_argument(
        "--of", choices=["median", "iqm", "mean"], default="median", help="what is drawn of several runs"
    )
    parser.add_argument("--smooth", type=positive, default=1, help="points that each point is the mean of (of 200)")
    parser.add_argument("--out", type=Path, default=Path("curves.svg"), metavar="FILE", help="a .svg or .html")
    parser.add_argument("--json", action="store_true", help="print the table as JSON")
    given = parser.parse_args(arguments)
    writable(given.out, ".svg", ".html")

    from hydrahive.core.durable import replace_file
    from hydrahive.runtime.inspect.curves import groups_of
    from hydrahive.runtime.runs.run_folder import find_run, runs_folder
    from hydrahive.telemetry.curves import curve_of, drawn

    runs = runs_folder(given.runs)
    folders = [find_run(runs, name) for name in dict.fromkeys(given.names)]
    groups, column = groups_of(folders, given.x, given.y)
    curves = [curve_of(group, given.of, given.smooth) for group in groups]
    picture = drawn(curves, given.x, column, given.of, given.smooth)
    facts = _facts(curves, given.x)
    page = picture if given.out.suffix == ".svg" else _page(picture, facts, column)
    with writing(given.out):
        replace_file(given.out, page)
    if given.json:
        print(json.dumps(facts))
    else:
        print(_table(facts))
        print(given.out, file=sys.stderr)
    return 0


def _facts(curves: Sequence[Curve], x: str) -> list[dict[str, Any]]:
    """What each curve ends at; how likely a run of it is above one of the first curve's."""
    from hydrahive.telemetry.curves import improvement

    facts = []
    for i, curve in enumerate(curves):
        fact: dict[str, Any] = {"curve": curve.label, "runs": len(curve.runs), x: float(curve.x[-1])}
        fact |= {"end": float(curve.y[-1]), "low": float(curve.low[-1]), "high": float(curve.high[-1])}
        if i:
            better = improvement(curve.runs[:, -1], curves[0].runs[:, -1])
            fact |= dict(zip(("better_than_first", "better_low", "better_high"), better, strict=True))
        facts.append(fact)
    return facts


def _cells(facts: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    x = list(facts[0])[2]
    header = ["curve", "runs", x.replace("_", " "), "end", "95% interval"]
    header += ["better than the first"] if len(facts) > 1 else []
    rows = []
    for fact in facts:
        row = [fact["curve"], str(fact["runs"]), f"{fact[x]:,.0f}", f"{fact['end']:,.2f}"]
        row.append(f"{fact['low']:,.2f} to {fact['high']:,.2f}" if fact["runs"] > 1 else "-")
        if len(facts) > 1:
            told = "{better_than_first:.0%} ({better_low:.0%} to {better_high:.0%})"
            row.append(told.format(**fact) if "better_than_first" in fact else "-")
        rows.append(row)
    return header, rows


def _table(facts: Sequence[dict[str, Any]]) -> str:
    from hydrahive.telemetry.run_table import table

    return table(*_cells(facts))


def _page(picture: bytes, facts: Sequence[dict[str, Any]], column: str) -> bytes:
    """The curves and their table as one page that needs no other file."""
    from hydrahive.telemetry.pages.page import page, table

    svg = picture.decode()
    title = column.replace("_", " ")
    body = f"<h1>{escape(title)}</h1><figure>{svg[svg.index('<svg') :]}</figure>{table(*_cells(facts))}"
    return page(title, body)
