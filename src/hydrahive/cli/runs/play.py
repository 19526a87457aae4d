"""`hydrahive play`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydrahive.cli.arguments import add_newest, add_run, add_trust, command_parser, natural, positive, writable, writing


def run(arguments: Sequence[str]) -> int:
    """Record one episode of a run's newest policy, its actions chosen as in evaluations."""
    parser = command_parser("play", "Record an episode of a trained policy as a GIF or an MP4, without a screen.")
    add_run(parser)
    add_newest(parser)
    add_trust(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="a .gif or .mp4 to write")
    parser.add_argument("--episode", type=natural, default=0, help="which held-out episode, from 0 (default: 0)")
    parser.add_argument("--max-frames", type=positive, default=1500, help="longest recording (default: 1500)")
    parser.add_argument(
        "--before", action="store_true", help="show the untrained policy on the left of the trained one"
    )
    given = parser.parse_args(arguments)
    writable(given.out, ".gif", ".mp4")

    from hydrahive.runtime.runs.run_folder import find_run, runs_folder

    folder = find_run(runs_folder(given.runs), given.run)
    from hydrahive.runtime.inspect.playing import record_run

    with writing(given.out):
        score, steps = record_run(
            folder, given.out, given.episode, given.max_frames, before=given.before, newest=given.newest
        )
    print(f"{given.out}: score {score:g} in {steps:,} steps")
    return 0
