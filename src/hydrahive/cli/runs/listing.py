"""`hydrahive runs`."""

from __future__ import annotations

import json
from collections.abc import Sequence

from hydrahive.cli.arguments import add_runs, command_parser


def run(arguments: Sequence[str]) -> int:
    """List the runs of a folder, or set some side by side with the config keys in which they differ."""
    parser = command_parser("runs", "List runs; with names, compare these and show where their configs differ.")
    parser.add_argument("names", metavar="RUN", nargs="*", help="runs to compare (default: list all)")
    add_runs(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object a run")
    given = parser.parse_args(arguments)

    from hydrahive.runtime.inspect.comparison import config_differences, facts_of
    from hydrahive.runtime.runs.run_folder import all_runs, find_run, runs_folder
    from hydrahive.runtime.runs.storage import storage_of
    from hydrahive.telemetry.run_table import table

    runs = runs_folder(given.runs)
    folders = [find_run(runs, name) for name in given.names] or all_runs(runs)
    facts = [facts_of(folder) for folder in folders]
    if given.json:
        for fact in facts:
            print(json.dumps(fact))
        return 0
    if not facts:
        storage = storage_of(runs)
        print(f"no runs in {storage.shown if storage else runs}")
        return 0
    print(table(list(facts[0]), [[_cell(value) for value in fact.values()] for fact in facts]))
    differences = config_differences(folders) if len(given.names) > 1 else []
    if differences:
        print()
        print(
            table(["key", *(folder.name for folder in folders)], [[_cell(cell) for cell in row] for row in differences])
        )
    return 0


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.2f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)
