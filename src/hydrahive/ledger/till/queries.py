"""Paying for answers: what a query costs is set aside before it is answered, and let go or given back afterwards."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from hydrahive.core.errors import RefusedError, UsageError
from hydrahive.ledger.accounts import hash_of
from hydrahive.ledger.entries import TREASURY
from hydrahive.ledger.journal import Journal
from hydrahive.ledger.transfers import Transfers

HOLD_SECONDS = 60
"""Time after which what was set aside for a query that nobody has answered goes back by itself."""

ATTEMPTS = 16
"""How often a query that failed may be asked anew under its name; who needs more takes another."""

MICROSECONDS = 1_000_000

ASKERS = 8
"""So many may wait for one answer at once."""

AGAIN, REMEMBERED = 3, 10_000
"""How often what was paid is computed again, where its answer is not kept; and of how many queries that is counted."""

Reason = Literal["wrong-key", "overdraft", "reused-key", "busy"]


@dataclass(frozen=True)
class Query:
    """What somebody asks.

    Attributes:
        key: The API key of the account that pays.
        price: In micro-tokens; recorded with the entry.
        run: The run that is asked.
        what: `act` or `episode`.
        asked: Digest of the question itself.
        once: Names the query among its account's: asked again under the same name, it is not paid again. A name is
            good for one question.
    """

    key: str
    price: int
    run: str
    what: str
    asked: str
    once: str


@dataclass(frozen=True)
class Admitted:
    """A query that may be answered.

    Attributes:
        account: Who pays.
        hold: Number of the entry that set its price aside.
        paid: Whether it was answered and paid before.
        available: What the account has left, in micro-tokens.
    """

    account: str
    hold: int
    paid: bool
    available: int


@dataclass(frozen=True)
class Refused:
    """A query that may not be answered, and why, for a program and for people."""

    reason: Reason
    text: str


class Queries:
    """Admits queries, and settles them, many at a time: each call is durable as a whole when it returns."""

    def __init__(self, journal: Journal) -> None:
        """Let accounts of this journal pay."""
        self.journal, self._transfers = journal, Transfers(journal)
        self._askers: dict[int, int] = {}  # of each hold: a query may be asked again while it is answered
        self._again: OrderedDict[int, int] = OrderedDict()
        assert journal.path.is_absolute(), "an open journal"
        assert HOLD_SECONDS > 0, "answering takes time"

    def account_of(self, key: str) -> str | None:
        """The account whose key this is."""
        assert isinstance(key, str), "keys are text"
        if not key:
            return None
        row = self.journal.db.execute("SELECT name FROM accounts WHERE key_hash = ?", (hash_of(key),)).fetchone()
        assert row is None or row[0] != TREASURY, "the treasury has no key"
        return None if row is None else str(row[0])

    def answer_again(self, hold: int) -> bool:
        """Whether a query that was paid may be answered once more; counted."""
        assert hold >= 1, "entries are numbered from 1"
        done = self._again.pop(hold, 0)
        self._again[hold] = done + 1
        while len(self._again) > REMEMBERED:
            self._again.popitem(last=False)
        assert self._again[hold] >= 1, "counted"
        return done < AGAIN

    def balance(self, key: str) -> dict[str, int | str] | None:
        """What the account of a key has: its name, its balance, and what of it is not set aside."""
        name = self.account_of(key)
        if name is None:
            return None
        self._transfers.expire()
        account = self.journal.account(name)
        assert account is not None, "it was just found"
        assert account.available <= account.balance, "what is set aside is still its own"
        return {
            "account": name,
            "balance_microtokens": account.balance,
            "available_microtokens": account.available,
        }

    def admit(self, queries: Sequence[Query]) -> list[Admitted | Refused]:
        """For each query, in order: set its price aside, or say why not. Nobody can spend more than he has."""
        assert all(query.price > 0 for query in queries), "what costs nothing is not asked here"
        answers: list[Admitted | Refused] = []
        self._forget_expired()
        askers = dict(self._askers)
        with self.journal.transaction():
            answers.extend(self._admitted(query, askers) for query in queries)
        self._askers = askers
        assert len(answers) == len(queries), "one each"
        return answers

    def settle(self, answered: Sequence[int], failed: Sequence[int]) -> None:
        """Take the price of queries that were answered, and give that of those that failed back, by their holds.

        What went back by itself meanwhile stays there: an answer that takes too long is free. Where a query was asked
        more than once at a time, one answer is paid for, and the price goes back when the last has failed.
        """
        assert all(hold >= 1 for hold in [*answered, *failed]), "entries are numbered from 1"
        askers = dict(self._askers)
        with self.journal.transaction():
            for hold in answered:
                askers.pop(hold, None)
                with suppress(UsageError):  # it has expired
                    self._transfers.post(hold, "query")
            for hold in failed:
                left = askers.pop(hold, 1) - 1
                if left:
                    askers[hold] = left
                    continue
                with suppress(UsageError):  # the same query's other answer was paid
                    self._transfers.void(hold, "query-failed")
        self._askers = askers
        assert not self.journal.db.in_transaction, "durable"

    def _forget_expired(self) -> None:
        """Whoever was waited for so long that the price went back by itself is not waited for any more."""
        if len(self._askers) > ASKERS * REMEMBERED:
            self._askers = {hold: count for hold, count in self._askers.items() if self._is_open(hold)}
        assert HOLD_SECONDS > 0, "prices go back"
        assert all(count >= 1 for count in self._askers.values()), "counted"

    def _admitted(self, query: Query, askers: dict[int, int]) -> Admitted | Refused:
        assert self.journal.db.in_transaction, "of the whole batch"
        assert query.once, "it has a name"
        name = self.account_of(query.key)
        if name is None:
            return Refused("wrong-key", "no account has this key")
        memo = {"run": query.run, "what": query.what, "price": query.price, "asked": query.asked}
        for attempt in range(ATTEMPTS):
            # What went back is set aside anew, under a name that nobody can ask for.
            key = f"query{f'+{attempt}' if attempt else ''}/{name}/{query.once}"
            made = self.journal.entry(key=key)
            if made is None:
                given = self._set_aside(name, query.price, key, memo)
                return self._counted(given, askers) if isinstance(given, Admitted) else given
            if {**made.facts(), "expires_us": 0} != {**memo, "expires_us": 0}:
                return Refused("reused-key", f"Idempotency-Key {query.once!r} was used for another query")
            if self._is_open(made.seq) and askers.get(made.seq, 0) >= ASKERS:
                return Refused("busy", f"Idempotency-Key {query.once!r}: {ASKERS} wait for its answer already")
            if self._is_open(made.seq):
                return self._counted(Admitted(name, made.seq, False, self._available(name)), askers)
            if self._is_paid(made.seq):
                return Admitted(name, made.seq, True, self._available(name))
        return Refused("reused-key", f"Idempotency-Key {query.once!r}: its query failed {ATTEMPTS} times; use another")

    def _set_aside(self, name: str, price: int, key: str, memo: dict[str, Any]) -> Admitted | Refused:
        assert price > 0, "what costs nothing is not asked here"
        expires_us = self.journal.now_us() + HOLD_SECONDS * MICROSECONDS
        try:
            made = self._transfers.hold(name, TREASURY, price, key, code="query", expires_us=expires_us, memo=memo)
        except RefusedError as error:
            return Refused("overdraft", str(error))
        assert made.kind == "pending", "set aside"
        return Admitted(name, made.seq, False, self._available(name))

    def _counted(self, admitted: Admitted, askers: dict[int, int]) -> Admitted:
        """One more waits for the answer that this was set aside for."""
        assert not admitted.paid, "it is still to be answered"
        assert self._is_open(admitted.hold), "set aside"
        askers[admitted.hold] = askers.get(admitted.hold, 0) + 1
        return admitted

    def _is_paid(self, hold: int) -> bool:
        assert not self._is_open(hold), "something came of it"
        (kind,) = self.journal.db.execute(
            "SELECT kind FROM journal WHERE refers = ? AND kind IN ('post', 'void', 'expire')", (hold,)
        ).fetchone()
        assert kind in ("post", "void", "expire"), "one of these"
        return bool(kind == "post")

    def _is_open(self, hold: int) -> bool:
        assert hold >= 1, "entries are numbered from 1"
        found = self.journal.db.execute("SELECT 1 FROM holds WHERE seq = ?", (hold,)).fetchone()
        assert found in (None, (1,)), "there or not"
        return found is not None

    def _available(self, name: str) -> int:
        assert name != TREASURY, "it has no limit"
        account = self.journal.account(name)
        assert account is not None, "it has just paid"
        return account.available
