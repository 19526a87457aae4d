"""`hydrahive export`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydrahive.cli.arguments import add_newest, add_run, add_trust, command_parser
from hydrahive.core.errors import HydrahiveError


def run(arguments: Sequence[str]) -> int:
    """Write a run's policy for programs that do not know Hydrahive."""
    parser = command_parser(
        "export", "Write a trained policy as a file that other programs run, with 25 lines that do."
    )
    add_run(parser)
    add_newest(parser)
    add_trust(parser)
    parser.add_argument(
        "--format", choices=["onnx", "torch"], default="onnx", help="onnx, or a program of torch's (default: onnx)"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder to write to (default: `policy` in the run's own)"
    )
    given = parser.parse_args(arguments)

    from hydrahive.runtime.inspect.exporting import export
    from hydrahive.runtime.runs.run_folder import find_run, runs_folder

    folder = find_run(runs_folder(given.runs), given.run)
    out = given.out or folder.path / "policy"
    try:
        facts = export(folder, out, given.format, newest=given.newest)
    except OSError as error:
        raise HydrahiveError(f"--out: cannot write {error.filename}: {error.strerror or error}") from None
    told = f"acts as the policy does in {facts['tried']:,} held-out observations"
    print(f"{out}: {facts['format']} ({facts['version']}), {told}")
    return 0
