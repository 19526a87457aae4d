"""`hydrahive report`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydrahive.cli.arguments import add_run, add_trust, command_parser, writable, writing


def run(arguments: Sequence[str]) -> int:
    """Write a run as one page."""
    parser = command_parser(
        "report",
        "Write a run, live or finished, as one page that needs no other file: its recording, curves, episodes, "
        "losses and recoveries, tokens, config.",
    )
    add_run(parser)
    add_trust(parser)
    parser.add_argument(
        "--out", type=Path, metavar="FILE.html", help="the page (default: report.html in the run's folder)"
    )
    given = parser.parse_args(arguments)
    if given.out is not None:
        writable(given.out, ".html")

    from hydrahive.runtime.inspect.reports import write_report
    from hydrahive.runtime.runs.run_folder import find_run, runs_folder

    folder = find_run(runs_folder(given.runs), given.run)
    out = given.out or folder.path / "report.html"
    with writing(out):
        write_report(folder, out)
    print(out)
    return 0
