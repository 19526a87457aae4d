"""`hydrahive compare`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from hydrahive.cli.arguments import add_runs, command_parser, writable, writing
from hydrahive.core.errors import UsageError


def run(arguments: Sequence[str]) -> int:
    """Tell what tells runs apart."""
    parser = command_parser(
        "compare",
        "Hold runs against the first: whether their bytes are the same, from which update on they are not, where "
        "their configs differ, and by how much their scores do.",
    )
    parser.add_argument("names", metavar="RUN", nargs="+", help="two runs or more, by name or folder")
    add_runs(parser)
    parser.add_argument("--out", type=Path, metavar="FILE.html", help="write it as a page, with curves")
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    given = parser.parse_args(arguments)
    if len(given.names) < 2:
        raise UsageError("RUN: two runs or more are compared")
    if given.out is not None:
        writable(given.out, ".html")

    from hydrahive.core.durable import replace_file
    from hydrahive.runtime.inspect.side_by_side import compared
    from hydrahive.runtime.runs.run_folder import find_run, runs_folder
    from hydrahive.telemetry.pages.comparison import SCORES, cell_of, comparison_page, value_of
    from hydrahive.telemetry.run_table import table

    runs = runs_folder(given.runs)
    side = compared([find_run(runs, name) for name in given.names])
    if given.out is not None:
        with writing(given.out):
            replace_file(given.out, comparison_page(side))
        print(given.out, file=sys.stderr)
    if given.json:
        told = {name: getattr(side, name) for name in ("names", "facts", "differences", "bytes", "scores")}
        print(json.dumps(told))
        return 0
    blocks = ["\n".join(side.bytes), table(SCORES, side.scores)]
    for first, rows, shown in (("key", side.differences, value_of), ("", side.facts, cell_of)):
        if rows:
            blocks.append(table([first, *side.names], [[shown(value) for value in row] for row in rows]))
    print("\n\n".join(blocks))
    return 0
