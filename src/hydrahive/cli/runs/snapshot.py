"""`hydrahive snapshot`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydrahive.cli.arguments import add_run, add_trust, command_parser, positive
from hydrahive.core.errors import HydrahiveError, UsageError


def run(arguments: Sequence[str]) -> int:
    """Write the report of a run, live or finished."""
    parser = command_parser(
        "snapshot", "Write a run's report as snapshot.txt and as snapshot.html, which needs no other file."
    )
    add_run(parser)
    add_trust(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder to write to (default: the run's own)")
    parser.add_argument("--every", type=positive, default=500, help="episodes between two lines (default: 500)")
    given = parser.parse_args(arguments)
    if given.out is not None and not given.out.is_dir():
        raise UsageError(f"--out: the folder {given.out.absolute()} does not exist")

    from hydrahive.runtime.runs.run_folder import find_run, runs_folder

    folder = find_run(runs_folder(given.runs), given.run)
    from hydrahive.runtime.inspect.snapshots import write_snapshot

    try:
        paths = write_snapshot(folder, given.out or folder.path, given.every)
        for path in paths:
            folder.publish(path)
    except OSError as error:
        raise HydrahiveError(f"--out: cannot write {error.filename}: {error.strerror or error}") from None
    print("\n".join(map(str, paths)))
    return 0
