"""What the journal is made of: entries, accounts, and how the ones make up the balances of the others."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any, Literal, get_args

MICROTOKENS = 1_000_000
"""Micro-tokens in a token; the ledger knows only whole micro-tokens."""

TREASURY = "treasury"
"""The account that tokens are minted from; its debit is what all others own together."""

WORK, REPORTED = "work", "reported"
"""Why work is paid: it was consumed, and can be computed again; or it was only reported, as RLlib's env runners do."""

NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
"""Names of accounts: what Ray takes as a node label's value."""

Kind = Literal["opened", "renewed", "revoked", "posted", "pending", "post", "void", "expire"]
KINDS: tuple[str, ...] = get_args(Kind)
ACCOUNT_KINDS = ("opened", "renewed", "revoked")
RESOLUTIONS = ("post", "void", "expire")

_AS_JSON = json.JSONEncoder(sort_keys=True, separators=(",", ":"), check_circular=False).encode
"""Made once: making an encoder takes as long as encoding an entry."""


@dataclass(frozen=True)
class Entry:
    """One row of the journal; never changed, never removed.

    Attributes:
        seq: Its number, from 1 without gaps.
        time_us: When it was appended, in microseconds since 1970 (UTC); informs, decides nothing.
        kind: `posted` moves tokens; `pending` sets them aside until a `post`, `void` or `expire` that refers to it;
            `opened`, `renewed` and `revoked` are about an account and move nothing.
        code: Why, in one word, for example `work`, `transfer`, `clawback`.
        debit: Account that gives.
        credit: Account that takes.
        amount: In micro-tokens.
        key: Idempotency key: the second entry of a key is never made.
        refers: The entry that this one resolves or reverses.
        memo: The facts behind it, as canonical JSON.
        hash: SHA-256 over the previous entry's hash and all of this; hex.
    """

    seq: int
    time_us: int
    kind: str
    code: str
    debit: str
    credit: str
    amount: int
    key: str
    refers: int | None
    memo: str
    hash: str

    def facts(self) -> dict[str, Any]:
        """What the memo holds."""
        facts = json.loads(self.memo)
        assert isinstance(facts, dict), "a memo is a mapping"
        assert canonical(facts) == self.memo, "a memo is canonical"
        return facts

    def hash_after(self, previous: str) -> str:
        """What its hash must be behind an entry with the hash `previous`."""
        assert len(previous) == 64, "a SHA-256 in hex"
        assert self.kind in KINDS, "only known kinds are hashed"
        return chained(
            previous, self.seq, self.time_us, self.kind, self.code, self.debit, self.credit, self.amount, self.key,
            self.refers, self.memo,
        )  # fmt: skip


def chained(previous: str, *columns: str | int | None) -> str:
    """The hash of a row with these columns behind a row with the hash `previous`."""
    assert len(previous) == 64, "a SHA-256 in hex"
    assert len(columns) == 10, "every column but the hash itself is hashed"
    return hashlib.sha256(_AS_JSON([previous, *columns]).encode()).hexdigest()


def canonical(value: Any) -> str:
    """Plain data as the one JSON text that stands for it."""
    assert value is not None, "nothing is written as an empty mapping"
    text = _AS_JSON(value)
    assert "\n" not in text, "one line"
    return text


@dataclass
class Account:
    """A name that tokens belong to, and its running sums, all in micro-tokens.

    Attributes:
        name: Unique.
        opened_us: When it was opened.
        key_hash: SHA-256 of its API key in hex; empty while it has none or once that was revoked.
        debits: What it gave.
        credits: What it took.
        debits_pending: What it is about to give; not available any more.
        credits_pending: What it is about to take; not available yet.
    """

    name: str
    opened_us: int
    key_hash: str = ""
    debits: int = 0
    credits: int = 0
    debits_pending: int = 0
    credits_pending: int = 0

    @property
    def balance(self) -> int:
        """What it owns; the treasury's is negative."""
        assert self.debits >= 0, "sums only grow"
        assert self.credits >= 0, "sums only grow"
        return self.credits - self.debits

    @property
    def available(self) -> int:
        """What it may give now."""
        assert self.debits_pending >= 0, "no more is resolved than was pending"
        assert self.credits_pending >= 0, "no more is resolved than was pending"
        return self.balance - self.debits_pending


def apply(entry: Entry, debit: Account, credit: Account) -> None:
    """Add an entry that moves tokens to its two accounts' sums: balances are the fold of the journal by this."""
    assert entry.kind not in ACCOUNT_KINDS, "these move nothing"
    assert entry.amount > 0, "nothing moves backwards; whoever owes is debited"
    if entry.kind in RESOLUTIONS:
        debit.debits_pending -= entry.amount
        credit.credits_pending -= entry.amount
    if entry.kind in ("posted", "post"):
        debit.debits += entry.amount
        credit.credits += entry.amount
    if entry.kind == "pending":
        debit.debits_pending += entry.amount
        credit.credits_pending += entry.amount
    assert debit.debits_pending >= 0, "no more is resolved than was pending"
    assert credit.credits_pending >= 0, "no more is resolved than was pending"


def account_after(entry: Entry, account: Account | None) -> Account:
    """An account once an entry about it (`opened`, `renewed`, `revoked`) is there."""
    assert entry.kind in ACCOUNT_KINDS, "the entry is about an account"
    assert (account is None) == (entry.kind == "opened"), "opened once, and before anything else"
    account = account or Account(entry.credit, entry.time_us)
    account.key_hash = str(entry.facts()["key_hash"])
    return account


def tokens(microtokens: int) -> str:
    """Micro-tokens as people read them: tokens with six decimals."""
    assert isinstance(microtokens, int), "money is counted, not measured"
    whole, part = divmod(abs(microtokens), MICROTOKENS)
    assert 0 <= part < MICROTOKENS, "the rest of a division"
    return f"{'-' if microtokens < 0 else ''}{whole:,}.{part:06d}"


def share(part: int, whole: int) -> float:
    """A part of a whole; 0 of nothing."""
    assert part >= 0, "a share of something"
    assert whole >= 0, "a share of something"
    return part / whole if whole else 0.0
