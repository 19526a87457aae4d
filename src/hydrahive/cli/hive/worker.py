"""`hydrahive worker`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from hydrahive.cli.arguments import command_parser, positive
from hydrahive.cli.hive.ledger import read_key
from hydrahive.core.errors import UsageError
from hydrahive.core.machine import cpus as own_cpus


def run(arguments: Sequence[str]) -> int:
    """Have this machine join a Ray cluster, for its operator or to earn for an account, until it is told to stop."""
    parser = command_parser("worker", "Have this machine join a Ray cluster and work for it, until Ctrl-C.")
    parser.add_argument("--owner", metavar="NAME", help="the account to earn for (default: the cluster's own machine)")
    parser.add_argument("--address", default=os.environ.get("RAY_ADDRESS"), help="the cluster's head, HOST:PORT")
    parser.add_argument(
        "--key-file", type=Path, metavar="FILE", help="read the account's key from it, not $HYDRAHIVE_KEY"
    )
    parser.add_argument("--cpus", type=positive, help="CPUs to give (default: all of this machine's)")
    given = parser.parse_args(arguments)
    if not given.address:
        raise UsageError("--address is missing: the cluster's head, as HOST:PORT (or RAY_ADDRESS)")
    from hydrahive.ledger.accounts import refuse_name

    key = None
    if given.owner is not None:
        refuse_name(given.owner)
        key = read_key(given.key_file)
    if given.owner is not None and not key:
        raise UsageError(f"--owner: {given.owner!r} needs its account's key, in $HYDRAHIVE_KEY or --key-file")

    from hydrahive.core.interrupts import Interrupted
    from hydrahive.runtime.cluster.volunteer import Volunteer

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    try:
        Volunteer(given.owner, key, given.address, given.cpus or own_cpus(), say).work()
    except Interrupted as interrupted:
        return interrupted.exit_code
    return 0
