"""`hydrahive serve`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from hydrahive.cli.arguments import add_runs, command_parser, positive
from hydrahive.core.errors import UsageError
from hydrahive.ledger.entries import MICROTOKENS


def run(arguments: Sequence[str]) -> int:
    """Answer with runs' trained policies over HTTP, for tokens, until told to stop."""
    parser = command_parser("serve", "Answer with trained policies over HTTP, for tokens, until Ctrl-C.")
    parser.add_argument("names", metavar="RUN", nargs="+", help="runs to serve; the first is asked by default")
    add_runs(parser)
    parser.add_argument("--address", help="a Ray cluster (default: $RAY_ADDRESS, else this machine alone)")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (default: 127.0.0.1)")
    parser.add_argument("--port", type=positive, default=8000, help="default: 8000")
    parser.add_argument("--price", default="0.5", metavar="TOKENS", help="of a query; 0 asks for no key (default: 0.5)")
    parser.add_argument("--episode-price", default="5", metavar="TOKENS", help="of an episode (default: 5)")
    parser.add_argument("--rate", type=positive, default=1000, help="queries a second of one account (default: 1000)")
    parser.add_argument("--replicas", type=positive, default=1, help="processes that answer (default: 1)")
    given = parser.parse_args(arguments)

    from hydrahive.runtime.run_folder import find_run, runs_folder
    from hydrahive.serving.config import ServingConfig

    config = ServingConfig(
        microtokens_per_query=_microtokens("--price", given.price),
        microtokens_per_episode=_microtokens("--episode-price", given.episode_price),
        queries_per_second=given.rate,
        replicas=given.replicas,
    )
    for name in given.names:
        if find_run(runs_folder(given.runs), name).checkpoints().newest()[0] is None:
            raise UsageError(f"run {name!r} has no checkpoint yet")
    from hydrahive.runtime.interrupts import Interrupted
    from hydrahive.serving.running import serve_runs

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    runs = given.runs or os.environ.get("HYDRAHIVE_RUNS") or "runs"
    chosen = runs if "://" in runs else str(runs_folder(runs))
    try:
        serve_runs(chosen, given.names, config, given.address, (given.host, given.port), say)
    except Interrupted as interrupted:
        return interrupted.exit_code
    return 0


def _microtokens(option: str, text: str) -> int:
    """An amount of tokens as people write it.

    Raises:
        UsageError: If it is none, or not a whole number of micro-tokens.
    """
    whole, _, fraction = text.partition(".")
    if not (whole.isdigit() and (fraction.isdigit() or not fraction) and len(fraction) <= 6):
        raise UsageError(f"{option}: {text!r} is not accepted; expected tokens with up to six decimals, such as 0.5")
    return int(whole) * MICROTOKENS + int(fraction.ljust(6, "0") or 0)
