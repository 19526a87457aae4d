"""`hydrahive drain`."""

from __future__ import annotations

from collections.abc import Sequence

from hydrahive.cli.arguments import Parser, command_parser, positive
from hydrahive.core.errors import HydrahiveError


def run(arguments: Sequence[str]) -> int:
    """Have the runs take their shards back from this machine's node, as before it is switched off."""
    given = parser().parse_args(arguments)

    from hydrahive.runtime.cluster.volunteer import drain_here

    if not drain_here(given.seconds):
        raise HydrahiveError(f"the node still works after {given.seconds} s; what it holds will be computed again")
    print("the node is free")
    return 0


def parser() -> Parser:
    """The command's arguments."""
    parser = command_parser("drain", "Before this machine's Ray node ends: have the runs take their shards back.")
    parser.add_argument("--seconds", type=positive, default=20, help="longest wait (default: 20)")
    return parser
