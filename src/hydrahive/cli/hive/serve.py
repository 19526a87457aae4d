"""`hydrahive serve`."""

from __future__ import annotations

import argparse
import errno
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from hydrahive.cli.arguments import add_runs, add_trust, command_parser, positive
from hydrahive.cli.hive.ledger import microtokens
from hydrahive.core.errors import UsageError
from hydrahive.runtime.cluster.address import is_embedded


def run(arguments: Sequence[str]) -> int:
    """Answer with runs' trained policies over HTTP, for tokens, until told to stop."""
    parser = command_parser("serve", "Answer with trained policies over HTTP, for tokens, until Ctrl-C.")
    parser.add_argument("names", metavar="RUN", nargs="*", help="runs to serve; the first is asked by default")
    parser.add_argument(
        "--ensemble", metavar="RUN", nargs="+", help="several runs as one policy, each weighted by its validation"
    )
    add_runs(parser)
    add_trust(parser)
    parser.add_argument("--address", help="a Ray cluster (default: $RAY_ADDRESS, else this machine alone)")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (default: 127.0.0.1)")
    parser.add_argument("--port", type=positive, default=8000, help="default: 8000")
    parser.add_argument("--config", type=Path, metavar="FILE", help="prices and limits as YAML; see docs/serving.md")
    parser.add_argument("--price", metavar="TOKENS", help="of a query; 0 asks for no key (default: 0.5)")
    parser.add_argument("--episode-price", metavar="TOKENS", help="of an episode (default: 5)")
    parser.add_argument("--rate", type=positive, help="queries a second of one account (default: 1000)")
    parser.add_argument("--replicas", type=positive, help="processes that answer (default: 1)")
    parser.add_argument("--wait", action="store_true", help="answer once there is a run's first checkpoint")
    given = parser.parse_args(arguments)

    from hydrahive.runtime.runs.run_folder import RunFolder, find_run, runs_folder, runs_place
    from hydrahive.serving.config import load_serving

    config = load_serving(given.config, _overrides(given))
    if is_embedded(given.address):
        _refuse_taken(given.host, given.port)
    runs = runs_folder(given.runs)
    from hydrahive.core.interrupts import Interrupted
    from hydrahive.runtime.inspect.playing import load_ensemble
    from hydrahive.runtime.runs.newest import shown_checkpoint
    from hydrahive.serving.policy import TOGETHER, require_names, require_one_precision
    from hydrahive.serving.running import serve_runs

    wanted = [[name] for name in given.names] + ([given.ensemble] if given.ensemble else [])
    if not wanted:
        raise UsageError("RUN: expected at least one run, or --ensemble with several")
    require_names([TOGETHER.join(names) for names in wanted])
    if not given.wait:
        folders = [find_run(runs, name) for names in wanted for name in names]
        for folder in folders:
            shown_checkpoint(folder)
        require_one_precision({folder.name: folder.config().precision for folder in folders})
        if given.ensemble:
            load_ensemble([find_run(runs, name) for name in given.ensemble])

    def found(name: str) -> str:
        """A folder is found from wherever the server's processes stand."""
        return str(Path(name).absolute()) if RunFolder(Path(name)).exists() else name

    names = [TOGETHER.join(map(found, names)) for names in wanted]

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    try:
        serve_runs(runs_place(given.runs), names, config, given.address, (given.host, given.port), say)
    except Interrupted as interrupted:
        return interrupted.exit_code
    return 0


def _refuse_taken(host: str, port: int) -> None:
    """See that nobody listens there already, which Ray would tell late and in many words.

    Raises:
        UsageError: If somebody does, or one cannot.
    """
    try:
        family, kind, *_, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OverflowError as error:
        raise UsageError(f"--port: {port} is not accepted: {error}") from None
    except OSError as error:
        is_taken = error.errno == errno.EADDRINUSE
        why = "is taken by another process; expected a free one" if is_taken else f"cannot be listened at: {error}"
        raise UsageError(f"--port: {port} on {host} {why}") from None


def _overrides(given: argparse.Namespace) -> dict[str, int]:
    """What the command line says of prices and limits, by the config's keys."""
    said: dict[str, int | None] = {
        "microtokens_per_query": given.price and microtokens(given.price, "--price", free=True),
        "microtokens_per_episode": given.episode_price
        and microtokens(given.episode_price, "--episode-price", free=True),
        "queries_per_second": given.rate,
        "replicas": given.replicas,
    }
    return {key: value for key, value in said.items() if value is not None}
