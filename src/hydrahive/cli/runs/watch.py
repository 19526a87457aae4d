"""`hydrahive watch`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hydrahive.cli.arguments import add_runs, add_trust, command_parser, natural, positive
from hydrahive.core.errors import UsageError

if TYPE_CHECKING:
    from hydrahive.runtime.runs.run_folder import RunFolder


MOST_FPS = 60
"""Frames a second that a terminal can show."""


def run(arguments: Sequence[str]) -> int:
    """Show a run in the terminal, live or finished; leaving leaves it alone."""
    parser = command_parser("watch", "Show a run in the terminal, live or finished; leaving leaves it alone.")
    parser.add_argument(
        "run", metavar="RUN", nargs="?", help="a run's name or folder (default: the one that was written last)"
    )
    add_runs(parser)
    add_trust(parser)
    parser.add_argument("--address", help="the Ray cluster it is trained on; without it, RUN is looked up in --runs")
    parser.add_argument("--env", type=natural, default=0, help="which environment to look at first (default: 0)")
    parser.add_argument("--fps", type=positive, default=6, help="frames a second at most (default: 6)")
    parser.add_argument("--turbo", action="store_true", help="begin without frames")
    given = parser.parse_args(arguments)
    if not sys.stdout.isatty() or not sys.stdin.isatty():
        raise UsageError("watch: this is no terminal; `hydrahive runs` and `hydrahive snapshot` tell of a run in text")
    if given.address and given.run is None:
        raise UsageError("RUN: which run of the cluster?")

    from hydrahive.core.watched import Wish
    from hydrahive.runtime.runs.run_folder import find_run, runs_folder
    from hydrahive.watching.app import Watcher, env_count
    from hydrahive.watching.source import ClusterSource, FolderSource, Source

    source: Source
    if given.address:
        source = ClusterSource(given.address, given.run)
    else:
        runs = runs_folder(given.runs)
        source = FolderSource(find_run(runs, given.run) if given.run else _newest(given.runs))
    try:
        count = env_count(source.folder.config())
        if given.env >= count:
            raise UsageError(f"--env: {given.env} is not accepted; run {source.name!r} has {count}, counted from 0")
        app = Watcher(source, Wish(given.env, min(given.fps, MOST_FPS)), turbo=given.turbo)
        app.run()
        return app.return_code or 0
    finally:
        source.close()


def _newest(given: str | None) -> RunFolder:
    from hydrahive.runtime.runs.controls import FolderControls
    from hydrahive.runtime.runs.run_folder import all_runs, runs_folder

    def rank(folder: RunFolder) -> tuple[bool, float]:
        written = folder.events.stat().st_mtime if folder.events.is_file() else 0.0
        return FolderControls(folder.path).is_live(), written

    folders = all_runs(runs_folder(given))
    if not folders:
        raise UsageError(f"RUN: there is no run in {runs_folder(given)} yet")
    return max(folders, key=rank)
