"""`hydrahive ledger`."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import io
import json
import os
import sys
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal, DecimalException
from pathlib import Path
from typing import Any

from hydrahive.cli.arguments import add_runs, at_most, command_parser
from hydrahive.cli.hidden import hide_from_others
from hydrahive.core.errors import HydrahiveError, UsageError
from hydrahive.ledger import statements
from hydrahive.ledger.entries import MICROTOKENS, tokens
from hydrahive.ledger.ledger import Ledger, ledger_path
from hydrahive.ledger.transfers import LARGEST_AMOUNT
from hydrahive.ledger.verification import parse_head, verify
from hydrahive.telemetry.run_table import table

AMOUNTS = ("amount", "earned", "received", "spent", "pending", "balance")
"""Columns in micro-tokens; people are shown tokens."""

LARGEST = 2**63 - 1
"""Integer that SQLite takes."""

SHARES = ("share", "audited_share", "replayed_share")

HIDDEN = ("time_us", "opened_us", "memo", "key", "hash", "digest", "run_id")
"""Columns that only `--json`, CSV and `export` show in full."""

EXPORTS: dict[str, Callable[[Any], list[statements.Row]]] = {
    "journal": statements.entries,
    "work": statements.work_credits,
    "balance": statements.balances,
    "accounts": statements.accounts,
    "workers": statements.workers,
    "audits": statements.audits,
    "refusals": statements.refusals,
    "strikes": statements.strikes,
}


def run(arguments: Sequence[str]) -> int:
    """Show, check or change the accounts of who computed what."""
    given = _parser().parse_args(arguments)
    from hydrahive.runtime.runs.run_folder import runs_folder

    path = ledger_path(
        given.ledger, None if given.ledger or os.environ.get("HYDRAHIVE_LEDGER") else runs_folder(given.runs)
    )
    assert path is not None, "a ledger was named, or lies beside the runs"
    ledger = Ledger(path, create=given.command == "accounts" and given.action == "open")
    try:
        with ledger.journal.readable_errors():
            code: int = COMMANDS[given.command](ledger, given)
            return code
    finally:
        ledger.close()


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("ledger", "Who computed what, and what it earned: double-entry accounts in one file.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        command.add_argument(
            "--ledger",
            type=Path,
            metavar="FILE",
            help="the ledger (default: $HYDRAHIVE_LEDGER, else ledger.sqlite in the folder of the runs)",
        )
        add_runs(command)
        command.add_argument("--json", action="store_true", help="print one JSON object a row, amounts in micro-tokens")
        return command

    accounts = add("accounts", "list accounts, open one, renew or revoke its API key, or forgive its strikes")
    actions = ["open", "renew", "revoke", "forgive"]
    accounts.add_argument("action", nargs="?", choices=actions, help="what to do (default: list)")
    accounts.add_argument("name", nargs="?", type=_name, metavar="NAME", help="the account")
    accounts.add_argument("--csv", action="store_true", help="print CSV, amounts in micro-tokens")
    balance = add("balance", "show what each owner did, earned, spent and has")
    balance.add_argument("name", nargs="?", type=_name, metavar="NAME", help="only this account")
    balance.add_argument(
        "--run", type=_name, metavar="RUN", help="only what was done for this run, or for all runs of this sweep"
    )
    balance.add_argument("--csv", action="store_true", help="print CSV, amounts in micro-tokens")
    transfer = add("transfer", "move tokens from one account to another, or an entry's tokens back")
    transfer.add_argument(
        "debit", nargs="?", type=_name, metavar="FROM", help="who gives; its key is read from $HYDRAHIVE_KEY"
    )
    transfer.add_argument("credit", nargs="?", type=_name, metavar="TO", help="who takes")
    transfer.add_argument("tokens", nargs="?", metavar="TOKENS", help="how many, with up to six decimals")
    transfer.add_argument("--key-file", type=Path, metavar="FILE", help="read FROM's key from this file")
    transfer.add_argument("--why", default="", help="what it is for; kept with the entry")
    transfer.add_argument("--once", metavar="WORD", help="a word of your own: the same transfer given twice moves once")
    transfer.add_argument(
        "--reverse", type=at_most(LARGEST), metavar="ENTRY", help="correct this entry by one that moves back"
    )
    journal = add("journal", "show the entries, oldest first")
    journal.add_argument("--account", type=_name, metavar="NAME", help="only those of this account")
    journal.add_argument("--run", type=_name, metavar="RUN", help="only work for this run (its name or id)")
    journal.add_argument("--last", type=at_most(LARGEST), metavar="N", help="only the newest so many")
    journal.add_argument("--csv", action="store_true", help="print CSV, amounts in micro-tokens")
    check = add("verify", "check the hash chain, the balances, the credits and conservation; name the first bad row")
    check.add_argument("--head", metavar="NUMBER:HASH", help="a head noted earlier, which must still be in the chain")
    audit = add("audit", "show audits, or the workers and their standing, or what was refused")
    audit.add_argument("--run", type=_name, metavar="RUN", help="only audits of this run (its name or id)")
    audit.add_argument("--workers", action="store_true", help="show workers instead")
    audit.add_argument("--refusals", action="store_true", help="show what was refused instead")
    audit.add_argument("--strikes", action="store_true", help="show who was caught instead")
    audit.add_argument("--csv", action="store_true", help="print CSV")
    export = add("export", "write a part of the ledger as CSV or JSON lines, or the whole as a copy (.sqlite)")
    export.add_argument("file", type=Path, metavar="FILE", help="ends in .csv, .jsonl or .sqlite")
    export.add_argument("--what", choices=list(EXPORTS), default="journal", help="the part (default: journal)")
    secrets = "keep the keys that runs seal their word with, for a backup to go on with; .sqlite only"
    export.add_argument("--with-secrets", action="store_true", help=secrets)
    return parser


def _name(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("an empty text is not accepted; expected a name")
    return text


def _accounts(ledger: Ledger, given: argparse.Namespace) -> int:
    if given.action is None:
        return _show(statements.accounts(ledger.journal), given, "no accounts yet")
    if given.name is None:
        raise UsageError(f"NAME is missing: whose account is to {given.action}?")
    if given.action == "revoke":
        ledger.accounts.revoke(given.name)
        print(
            f"account {given.name}: its key is revoked; `hydrahive ledger accounts renew {given.name}` gives a new one"
        )
        return 0
    if given.action == "forgive":
        print(f"account {given.name}: {ledger.accounts.forgive(given.name)} strikes are forgiven")
        return 0
    key = ledger.accounts.open(given.name) if given.action == "open" else ledger.accounts.renew(given.name)
    if given.json:
        print(json.dumps({"account": given.name, "key": key}))
        return 0
    print(f"account {given.name}: its key is shown this once, only its hash is kept", file=sys.stderr)
    print(key)
    return 0


def _balance(ledger: Ledger, given: argparse.Namespace) -> int:
    if given.run:
        return _show(statements.work_of(ledger.journal, given.run), given, f"nothing was credited for {given.run!r}")
    ledger.transfers.expire()  # what was set aside for too long is not shown as pending
    rows = statements.balances(ledger.journal, given.name)
    if given.name and not rows:
        raise UsageError(f"NAME: there is no account {given.name!r} in {ledger.journal.path}")
    return _show(rows, given, "no accounts yet")


def _transfer(ledger: Ledger, given: argparse.Namespace) -> int:
    if given.reverse is not None:
        if given.debit is not None:
            raise UsageError("--reverse: takes no accounts; it moves the entry's tokens back")
        entry = ledger.transfers.reverse(given.reverse, given.why)
    else:
        if given.tokens is None:
            raise UsageError("FROM, TO and TOKENS are needed (see hydrahive ledger transfer --help)")
        amount = microtokens(given.tokens)
        ledger.accounts.prove(given.debit, read_key(given.key_file))
        memo = {"why": given.why} if given.why else {}
        once = f"transfer/{given.debit}/{given.once or uuid.uuid4()}"
        entry = ledger.transfers.transfer(given.debit, given.credit, amount, once, memo=memo)
    if given.json:
        print(json.dumps(dataclasses.asdict(entry)))
    else:
        print(f"entry {entry.seq}: {tokens(entry.amount)} tokens from {entry.debit} to {entry.credit}")
    return 0


def _journal(ledger: Ledger, given: argparse.Namespace) -> int:
    rows = statements.entries(ledger.journal, given.account, given.run, given.last)
    if not (given.json or given.csv):
        rows = [{**row, "about": _about(json.loads(row["memo"]))} for row in rows]
    return _show(rows, given, "no entries")


def _verify(ledger: Ledger, given: argparse.Namespace) -> int:
    found = verify(ledger.journal, parse_head(given.head) if given.head else None)
    if given.json:
        print(json.dumps(dataclasses.asdict(found)))
    if found.problem:
        raise HydrahiveError(f"ledger {ledger.journal.path}: {found.problem}")
    if not given.json:
        print(
            f"{ledger.journal.path}: {found.entries:,} entries in order, balances sum to zero and are the fold of the "
            f"journal, {found.env_steps:,} env steps paid and conserved\nhead {found.entries}:{found.head}"
        )
    return 0


def _audit(ledger: Ledger, given: argparse.Namespace) -> int:
    if given.refusals:
        return _show(statements.refusals(ledger.journal), given, "nothing was refused")
    if given.strikes:
        return _show(statements.strikes(ledger.journal), given, "nobody was caught")
    if given.workers:
        return _show(statements.workers(ledger.journal), given, "nobody has worked yet")
    return _show(statements.audits(ledger.journal, given.run), given, "no audits yet")


def _export(ledger: Ledger, given: argparse.Namespace) -> int:
    from hydrahive.core.durable import write_whole

    target = given.file.absolute()
    if target.suffix == ".sqlite":
        ledger.journal.backup(target, secrets=given.with_secrets)
    elif target.suffix in (".csv", ".jsonl"):
        rows = EXPORTS[given.what](ledger.journal)
        text = _csv(rows) if target.suffix == ".csv" else "".join(json.dumps(row) + "\n" for row in rows)
        try:
            write_whole(target, text.encode())
        except OSError as error:
            raise HydrahiveError(f"FILE: cannot write {given.file}: {error.strerror or error}") from None
    else:
        raise UsageError(
            f"FILE: {str(given.file)!r} is not accepted; expected a name that ends in .csv, .jsonl or .sqlite"
        )
    print(f"{given.file}: {'a copy of the ledger' if target.suffix == '.sqlite' else given.what}")
    return 0


COMMANDS: dict[str, Callable[[Ledger, argparse.Namespace], int]] = {
    "accounts": _accounts,
    "balance": _balance,
    "transfer": _transfer,
    "journal": _journal,
    "verify": _verify,
    "audit": _audit,
    "export": _export,
}


def read_key(file: Path | None) -> str | None:
    """An account's API key: from `file`, else from $HYDRAHIVE_KEY; never from the command line, which others can see.

    The environment that a process was started with stays readable in /proc for its user's other processes, so this one
    is hidden from them; before it was, and for root, a file is the better place.

    Raises:
        UsageError: If the file cannot be read.
    """
    if file is None:
        # Not for the processes that this one starts, in which others' code may run.
        if "HYDRAHIVE_KEY" in os.environ:
            hide_from_others()
        key, where = os.environ.pop("HYDRAHIVE_KEY", "").strip(), "HYDRAHIVE_KEY"
    else:
        try:
            key, where = file.read_text("utf-8").strip(), f"--key-file: {file}"
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--key-file: cannot read {file}: {error}") from None
    if not all("!" <= character <= "~" for character in key):
        raise UsageError(f"{where}: holds characters that no account's key has")
    return key or None


def microtokens(text: str, what: str = "TOKENS", *, free: bool = False) -> int:
    """An amount of tokens as people write it, in micro-tokens.

    Args:
        text: What was written.
        what: The argument, for errors.
        free: Whether it may be 0.

    Raises:
        UsageError: If it is no amount, or not a whole number of micro-tokens.
    """
    try:
        amount = Decimal(text.replace("_", "").replace(",", "")) * MICROTOKENS
    except DecimalException:
        amount = Decimal(-1)
    least = 0 if free else 1
    if not (amount.is_finite() and least <= amount <= LARGEST_AMOUNT and amount == int(amount)):
        accepted = "a number of at least 0" if free else "a number above 0"
        raise UsageError(f"{what}: {text!r} is not accepted; expected {accepted} with up to six decimals")
    return int(amount)


def _about(memo: dict[str, Any]) -> str:
    """What stands behind an entry, in few words."""
    if "gradient_rows" in memo:
        place = f"segment {memo['segment']}, updates {memo['from_update']} to {memo['until_update']}"
        return f"{memo['gradient_rows']:,} gradient rows of {memo['worker']}: {place}"
    if "worker" in memo:
        place = f"segment {memo['segment']}, round {memo['round']}, shard {memo['shard']}"
        return f"{memo['env_steps']:,} env steps of {memo['worker']}: {place}"
    return str(memo.get("why", ""))


def _show(rows: list[statements.Row], given: argparse.Namespace, nothing: str) -> int:
    if given.json:
        for row in rows:
            print(json.dumps(row))
    elif given.csv:
        print(_csv(rows), end="")
    elif not rows:
        print(nothing)
    else:
        print(table(*_for_people(rows)))
    return 0


def _csv(rows: list[statements.Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _for_people(rows: list[statements.Row]) -> tuple[list[str], list[list[str]]]:
    """Header and cells: amounts in tokens, shares in percent, times of day; what is too long left out."""
    shown = [key for key in rows[0] if key not in HIDDEN]
    timed = next((key for key in rows[0] if key.endswith("_us")), None)
    header = ([timed.removesuffix("_us")] if timed else []) + [key.replace("_", " ") for key in shown]
    cells = []
    for row in rows:
        time = [datetime.fromtimestamp(row[timed] / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%SZ")] if timed else []
        cells.append(time + [_cell(key, row[key]) for key in shown])
    return header, cells


def _cell(key: str, value: Any) -> str:
    if value is None or value == "":
        return "-"
    if key in AMOUNTS:
        return tokens(value)
    if key in SHARES:
        return f"{value:.1%}"
    if key == "node":
        return str(value)[:12]
    return f"{value:,}" if isinstance(value, int) and "steps" in key else str(value)
