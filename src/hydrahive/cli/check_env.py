"""`hydrahive check-env`."""

from __future__ import annotations

from collections.abc import Sequence

from hydrahive.cli.arguments import at_most, command_parser


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
    given, overrides = parser.parse_known_args(arguments)

    from hydrahive.runtime.config.shipped import find_config
    from hydrahive.runtime.inspect.env_watch import watched

    path, _ = find_config(given.config)
    wrong = 0
    for finding in watched(path, overrides, given.patience):
        print(f"{'ok   ' if finding.passed else 'WRONG'}  {finding.check:<10} {finding.says}", flush=True)
        wrong += not finding.passed
    return 1 if wrong else 0
