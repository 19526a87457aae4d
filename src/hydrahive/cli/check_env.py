"""`hydrahive check-env`."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from hydrahive.cli.arguments import at_most, command_parser, only_json

if TYPE_CHECKING:
    from hydrahive.runtime.inspect.envs.check import Finding

WIDTH = 13
"""Of the column of names."""

SIGNS = {"ok": "ok   ", "note": "note ", "wrong": "WRONG"}


def run(arguments: Sequence[str]) -> int:
    """Try a config's environment and say what is wrong with it; the exit code is 1 if something is."""
    parser = command_parser(
        "check-env", "Try what a run expects of its environment; dotted config keys may follow, as for train."
    )
    parser.add_argument("config", metavar="CONFIG", help="a YAML file or a shipped experiment")
    parser.add_argument(
        "--patience",
        type=at_most(1_000_000),
        default=120,
        help="seconds after which a check is taken to hang (default: 120)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object, for programs")
    given, overrides = parser.parse_known_args(arguments)

    from hydrahive.runtime.config.shipped import find_config
    from hydrahive.runtime.inspect.envs.watch import watched

    path, _ = find_config(given.config)
    if given.json:
        with only_json() as out:
            found = list(watched(path, overrides, given.patience))
            passed = all(finding.passed for finding in found)
            print(json.dumps({"config": given.config, "passed": passed, "checks": list(map(asdict, found))}), file=out)
        return 0 if passed else 1
    return _told(watched(path, overrides, given.patience))


def _told(findings: Iterator[Finding]) -> int:
    """Print a row for each as it comes, and how it went in all."""
    count = {"ok": 0, "note": 0, "wrong": 0}
    for finding in findings:
        width = max(60, shutil.get_terminal_size((120, 24)).columns) - WIDTH - 7
        first, *rest = textwrap.wrap(finding.says, width, break_long_words=False) or [""]
        print(
            f"{SIGNS[finding.verdict]}  {finding.check:<{WIDTH}}{first}",
            *rest,
            sep="\n" + " " * (WIDTH + 7),
            flush=True,
        )
        count[finding.verdict] += 1
    said = [f"{number} {what}" for what, number in count.items() if number]
    print(f"{', '.join(said)}{': a run would go wrong' if count['wrong'] else ''}")
    return 1 if count["wrong"] else 0
