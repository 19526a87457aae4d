"""`hydrahive tune`: run a sweep, and train its winner again."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser

from hydrahive.cli.arguments import COMMAND, add_runs, command_parser, only_json, split_config
from hydrahive.core.errors import HydrahiveError, UsageError
from hydrahive.runtime.config.parsing import config_arguments, parse
from hydrahive.runtime.config.portable import ensure_pinned
from hydrahive.runtime.config.shipped import find_config, shipped_sweeps
from hydrahive.runtime.runs.run_folder import NAME, runs_folder
from hydrahive.runtime.runs.storage import storage_of

if TYPE_CHECKING:
    from hydrahive.tuning.folder import SweepFolder

USAGE = (
    "hydrahive tune run SWEEP [--name N] [--runs DIR] [--address A] [--any.dotted.key VALUE ...]\n"
    "       hydrahive tune replay SWEEP [--runs DIR]\n"
    "       hydrahive tune report SWEEP [--runs DIR]"
)


def run(arguments: Sequence[str]) -> int:
    """Run one of the three."""
    known = {"run": _run, "replay": _replay, "report": _report}
    if not arguments or arguments[0] in ("-h", "--help"):
        print(f"usage: {USAGE}\n\nSWEEP: a YAML file, or a shipped sweep: {', '.join(shipped_sweeps())}")
        return 0 if arguments else 2
    if arguments[0] not in known:
        raise UsageError(f"tune: unknown command {arguments[0]!r}; known: {', '.join(known)}")
    return known[arguments[0]](arguments[1:])


def _run(arguments: Sequence[str]) -> int:
    from hydrahive.tuning.config import SweepConfig, sweep_of, sweep_parser

    parser = _with_options(sweep_parser("hydrahive tune run"))
    if {"-h", "--help"} & set(arguments):
        parser.usage = USAGE
        print(parser.format_help(), end="")
        return 0
    given_name, overrides = split_config(arguments)
    if given_name is None:
        raise UsageError(f"SWEEP is missing: a YAML file or one of {', '.join(shipped_sweeps())}")
    path, default_name = find_config(given_name, shipped_sweeps(), "SWEEP")
    given = parse(parser, [*config_arguments(path, SweepConfig), *overrides], SweepConfig)
    config = sweep_of({key: value for key, value in given.as_dict().items() if key not in ("name", "runs", "address")})
    if config.base().portable:
        ensure_pinned(*COMMAND, "tune", "run", *arguments)
    from hydrahive.core.interrupts import Interrupted
    from hydrahive.tuning.folder import SweepFolder
    from hydrahive.tuning.sweep import run_sweep

    name = given.name or default_name
    if not NAME.fullmatch(name):
        raise UsageError(f"--name: {name!r} is not accepted; expected letters, digits and . _ + = - (no path)")
    folder = SweepFolder(_sweeps_folder(given.runs) / name)
    try:
        winner = run_sweep(config, folder, given.address)
    except Interrupted as interrupted:
        return interrupted.exit_code
    from hydrahive.tuning.report import summary_text, write_report

    write_report(folder, config)
    print(summary_text(folder, config, winner))
    return 0


def _replay(arguments: Sequence[str]) -> int:
    given = _of_a_sweep("replay", arguments)
    folder = _found(given.sweep, given.runs)
    if folder.is_portable():
        ensure_pinned(*COMMAND, "tune", "replay", *arguments)
    from hydrahive.core.interrupts import Interrupted
    from hydrahive.tuning.replay import replay_winner

    with only_json() as out:
        try:
            wanted, got = replay_winner(folder)
        except Interrupted as interrupted:
            return interrupted.exit_code
        print(json.dumps({"sweep": folder.name, "digest": got, "winner": wanted, "equal": wanted == got}), file=out)
    if wanted != got:
        raise HydrahiveError(f"trained from scratch, the winner's schedule gives {got}, not {wanted}")
    return 0


def _report(arguments: Sequence[str]) -> int:
    given = _of_a_sweep("report", arguments)
    from hydrahive.tuning.report import summary_text, write_report
    from hydrahive.tuning.winner import winner_of

    folder = _found(given.sweep, given.runs)
    config = folder.config()
    write_report(folder, config)
    print(summary_text(folder, config, winner_of(folder)) if folder.winner.is_file() else folder.report)
    return 0


def _with_options(parser: ArgumentParser) -> ArgumentParser:
    parser.add_argument("--name", type=str, help="The sweep's name (default: its file's).")
    parser.add_argument("--runs", type=str, help="Folder of the runs (default: $HYDRAHIVE_RUNS, else ./runs).")
    parser.add_argument("--address", type=str, help="A Ray cluster (default: $RAY_ADDRESS, else an embedded one).")
    return parser


def _of_a_sweep(command: str, arguments: Sequence[str]) -> argparse.Namespace:
    parser = command_parser(f"tune {command}", USAGE)
    parser.add_argument("sweep", metavar="SWEEP", help="a sweep's name or folder")
    add_runs(parser)
    return parser.parse_args(list(arguments))


def _sweeps_folder(given: str | None) -> Path:
    """Where sweeps lie.

    Raises:
        UsageError: If that is a URI.
    """
    runs = runs_folder(given)
    if storage_of(runs):
        raise UsageError("--runs: a sweep's trials share one folder; mount the storage and name the folder")
    return runs


def _found(given: str, given_runs: str | None) -> SweepFolder:
    from hydrahive.tuning.folder import SweepFolder

    runs = _sweeps_folder(given_runs)
    for path in (Path(given), runs / given):
        folder = SweepFolder(path.absolute())
        if folder.exists():
            return folder
    known = ", ".join(sorted(path.parent.name for path in runs.glob("*/sweep.yaml"))) or "none"
    raise UsageError(f"SWEEP: {given!r} is neither a sweep's folder nor a sweep in {runs}; known: {known}")
