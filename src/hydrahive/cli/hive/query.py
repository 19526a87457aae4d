"""`hydrahive query`."""

from __future__ import annotations

import argparse
import base64
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydrahive.cli.arguments import command_parser
from hydrahive.cli.hive.ledger import read_key
from hydrahive.core.durable import write_whole
from hydrahive.core.errors import HydrahiveError, UsageError
from hydrahive.ledger.entries import tokens

EXPLANATION = """with nothing behind ACCOUNT: observations, one JSON array a line, each answered with actions;
`balance`, `model` and `episode N FILE.gif` are understood, too; Ctrl-D ends"""


def run(arguments: Sequence[str]) -> int:
    """Ask a server for actions, an episode, or the balance."""
    parser = command_parser("query", f"Ask `hydrahive serve` for actions, for an account's tokens. {EXPLANATION}.")
    parser.add_argument("account", metavar="ACCOUNT", help="who pays; its key is in $HYDRAHIVE_KEY or --key-file")
    parser.add_argument("words", metavar="...", nargs="*", help="balance | model | episode N FILE.gif | OBSERVATIONS")
    parser.add_argument("--url", default=os.environ.get("HYDRAHIVE_URL", "http://127.0.0.1:8000"), help="the server's")
    parser.add_argument("--run", help="which run to ask (default: the server's first)")
    parser.add_argument("--key-file", type=Path, metavar="FILE", help="read the account's key from it")
    parser.add_argument("--json", action="store_true", help="print the server's whole answer")
    given = parser.parse_args(arguments)
    key = read_key(given.key_file)

    from hydrahive.serving.client import Client

    client = Client(given.url, key, given.account)
    if given.words:
        print(_asked(client, given, list(given.words)))
        return 0
    return _interactive(client, given)


def _interactive(client: Any, given: argparse.Namespace) -> int:
    """Answer line by line; a line that fails is told, and the next is read."""
    if sys.stdin.isatty():
        print(EXPLANATION, file=sys.stderr)
    memory, failures = None, 0
    while True:
        if sys.stdin.isatty():
            print(f"{given.account}> ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            return 1 if failures else 0
        if not line.strip():
            continue
        try:
            if line.lstrip().startswith("["):
                observations = _observations(line)
                if memory is not None and len(memory) != len(observations):
                    memory = None  # others begin
                answer = client.act(observations, given.run, memory)
                memory = answer["state"]
                print(_actions(answer, given.json), flush=True)
            else:
                print(_asked(client, given, line.split()), flush=True)
        except HydrahiveError as error:
            failures += 1
            print(f"hydrahive: error: {error}", file=sys.stderr, flush=True)


def _asked(client: Any, given: argparse.Namespace, words: list[str]) -> str:
    """The answer to one question, as people read it.

    Raises:
        UsageError: If it is none.
        HydrahiveError: If the server does not answer, or refuses.
    """
    if words == ["balance"]:
        found = client.balance()
        shown = f"{found['account']}: {tokens(found['balance_microtokens'])} tokens"
        return json.dumps(found) if given.json else shown
    if words == ["model"]:
        return json.dumps(client.model(), indent=1)
    if words[0] == "episode" and len(words) == 3 and words[1].isdigit():
        folder = Path(words[2]).absolute().parent
        if not (folder.is_dir() and os.access(folder, os.W_OK)):  # before it is paid for
            raise UsageError(f"{words[2]}: cannot be written: {folder} is no folder that one can write to")
        answer = client.episode(int(words[1]), given.run)
        try:
            write_whole(Path(words[2]), base64.b64decode(answer.pop("gif")))
        except OSError as error:
            raise HydrahiveError(f"{words[2]}: cannot be written: {error.strerror or error}") from None
        if given.json:
            return json.dumps(answer)
        return f"score {answer['score']:g} in {answer['steps']:,} steps: {words[2]}{_cost(answer)}"
    if len(words) == 1:
        return _actions(client.act(_observations(words[0]), given.run), given.json)
    raise UsageError(
        f"{' '.join(words)!r} is not understood; expected balance, model, episode N FILE.gif, or observations"
    )


def _observations(text: str) -> Any:
    """Observations as somebody typed them, or the file that holds them."""
    try:
        return json.loads(Path(text).read_text("utf-8") if not text.lstrip().startswith("[") else text)
    except (OSError, ValueError) as error:
        raise UsageError(f"OBSERVATIONS: neither JSON nor a file of it: {error}") from None


def _actions(answer: dict[str, Any], whole: bool) -> str:
    return json.dumps(answer) if whole else f"{json.dumps(answer['actions'])}{_cost(answer)}"


def _cost(answer: dict[str, Any]) -> str:
    paid = answer["payment"]
    if paid is None:
        return ""
    return f"  ({tokens(paid['microtokens'])} tokens; {tokens(paid['available_microtokens'])} left)"
