"""Moving tokens: at once, or in two phases (pending, then posted, voided or expired); corrections are new entries."""

from __future__ import annotations

from typing import Any

from hydrahive.core.errors import UsageError
from hydrahive.ledger.entries import TREASURY, Entry, canonical, tokens
from hydrahive.ledger.journal import Journal

LARGEST_AMOUNT = 2**53
"""Micro-tokens that one entry may move: what every JSON reader takes exactly."""


class Transfers:
    """Makes the entries that move tokens between accounts. Nobody gives what he does not have, but the treasury."""

    def __init__(self, journal: Journal) -> None:
        """Move tokens in this journal."""
        self._journal = journal
        assert journal.path.is_absolute(), "an open journal"
        assert LARGEST_AMOUNT < 2**63, "SQLite's integers take it"

    def transfer(
        self,
        debit: str,
        credit: str,
        amount: int,
        key: str,
        *,
        code: str = "transfer",
        memo: dict[str, Any] | None = None,
    ) -> Entry:
        """Move tokens at once; the entry, or the one that was made when this key was first used.

        Raises:
            UsageError: If the accounts or the amount make no sense, or the key was used for something else.
            RefusedError: If `debit` does not have so much; recorded.
        """
        entry = self._moved("posted", debit, credit, amount, key, code, memo or {})
        assert entry.kind == "posted", "at once"
        assert entry.key == key, "once"
        return entry

    def hold(
        self,
        debit: str,
        credit: str,
        amount: int,
        key: str,
        *,
        code: str = "hold",
        expires_us: int | None = None,
        memo: dict[str, Any] | None = None,
    ) -> Entry:
        """Set tokens aside until `post`, `void`, or `expires_us` (microseconds since 1970); errors as `transfer`."""
        assert expires_us is None or expires_us > 0, "a moment after 1970"
        assert "expires_us" not in (memo or {}), "given apart"
        timed = {} if expires_us is None else {"expires_us": expires_us}
        return self._moved("pending", debit, credit, amount, key, code, {**(memo or {}), **timed})

    def post(self, pending: int, code: str = "posted") -> Entry:
        """Let the tokens that entry `pending` set aside go; the same entry when it is asked again.

        Raises:
            UsageError: If there is no such entry, or it was voided or has expired.
        """
        assert pending >= 1, "entries are numbered from 1"
        with self._journal.transaction():
            self.expire()
            entry = self._resolved(pending, "post", code)
        assert entry.kind == "post", "let go"
        return entry

    def void(self, pending: int, code: str = "voided") -> Entry:
        """Give the tokens that entry `pending` set aside back; the same entry when it is asked again.

        Raises:
            UsageError: If there is no such entry, or it was posted.
        """
        assert pending >= 1, "entries are numbered from 1"
        with self._journal.transaction():
            entry = self._resolved(pending, "void", code)
        assert entry.kind in ("void", "expire"), "given back"
        return entry

    def expire(self) -> int:
        """Give back what was set aside for too long; how many entries that were."""
        now = self._journal.now_us()
        if self._journal.db.execute("SELECT 1 FROM holds WHERE expires_us <= ? LIMIT 1", (now,)).fetchone() is None:
            return 0
        with self._journal.transaction():
            due = self._journal.db.execute(
                "SELECT seq FROM holds WHERE expires_us <= ? ORDER BY seq", (now,)
            ).fetchall()
            for (seq,) in due:
                entry = self._resolved(seq, "expire", "expired")
                assert entry.refers == seq, "that one"
            left = self._journal.db.execute("SELECT count(*) FROM holds WHERE expires_us <= ?", (now,)).fetchone()[0]
            assert left == 0, "none is left behind"
        return len(due)

    def reverse(self, seq: int, why: str) -> Entry:
        """Correct entry `seq` by one that moves its tokens back; the same entry when it is asked again.

        Who has spent them meanwhile owes them: a correction may leave a balance below zero.

        Raises:
            UsageError: If there is no such entry, or it moved nothing.
        """
        assert seq >= 1, "entries are numbered from 1"
        with self._journal.transaction():
            wrong = self._journal.entry(seq=seq)
            if wrong is None or wrong.kind not in ("posted", "post"):
                raise UsageError(f"entry {seq}: is not one that moved tokens; nothing to reverse")
            taken = self._taken_back(wrong)
            if taken is not None:
                raise UsageError(f"entry {seq}: an audit has taken its tokens back already (entry {taken})")
            key = f"reversal/{seq}"
            entry = self._journal.entry(key=key) or self._journal.append(
                "posted", "correction", wrong.credit, wrong.debit, wrong.amount, key, {"why": why}, refers=seq
            )
        assert (entry.debit, entry.credit) == (wrong.credit, wrong.debit), "the other way"
        assert entry.amount == wrong.amount, "all of it"
        return entry

    def _taken_back(self, wrong: Entry) -> int | None:
        """The entry by which an audit took another's tokens back; None if none did."""
        assert wrong.seq >= 1, "entries are numbered from 1"
        found = self._journal.db.execute(
            "SELECT seq FROM journal WHERE refers = ? AND code = 'clawback'", (wrong.seq,)
        ).fetchone()
        assert found is None or found[0] > wrong.seq, "later"
        return None if found is None else int(found[0])

    def _moved(
        self, kind: str, debit: str, credit: str, amount: int, key: str, code: str, memo: dict[str, Any]
    ) -> Entry:
        assert kind in ("posted", "pending"), "these move tokens"
        if type(amount) is not int or not 0 < amount <= LARGEST_AMOUNT:
            raise UsageError(f"amount: {amount!r} is not accepted; expected micro-tokens from 1 to {LARGEST_AMOUNT}")
        if debit == credit:
            raise UsageError(f"accounts: {debit!r} cannot pay itself")
        with self._journal.transaction():
            made = self._journal.entry(key=key)
            if made is not None:
                same = (made.kind, made.code, made.debit, made.credit, made.amount, made.memo)
                if same != (kind, code, debit, credit, amount, canonical(memo)):
                    raise UsageError(f"key {key!r}: was used for another entry ({made.seq})")
                return made
            for name in {debit, credit} - {TREASURY}:
                if self._journal.account(name) is None:
                    raise UsageError(f"there is no account {name!r}")
            self.expire()
            available = self._journal.opened(debit).available
            short = debit != TREASURY and available < amount
            if not short:
                entry = self._journal.append(kind, code, debit, credit, amount, key, memo)
        if short:
            text = f"account {debit!r} has {tokens(available)} tokens available; {tokens(amount)} were asked for"
            raise self._journal.refuse("overdraft", debit, text)
        assert entry.amount == amount, "as asked"
        return entry

    def _resolved(self, pending: int, kind: str, code: str) -> Entry:
        assert kind in ("post", "void", "expire"), "the ways to resolve"
        held = self._journal.entry(seq=pending)
        if held is None or held.kind != "pending":
            raise UsageError(f"entry {pending}: is not a pending one")
        row = self._journal.db.execute(
            "SELECT seq FROM journal WHERE refers = ? AND kind IN ('post', 'void', 'expire')", (pending,)
        ).fetchone()
        if row is None:
            key = f"{kind}/{pending}"
            return self._journal.append(kind, code, held.debit, held.credit, held.amount, key, refers=pending)
        done = self._journal.entry(seq=row[0])
        assert done is not None, "it was just found"
        if (done.kind == "post") != (kind == "post"):
            words = {"post": "was posted", "void": "was voided", "expire": "has expired"}
            raise UsageError(f"entry {pending}: {words[done.kind]} already (entry {done.seq})")
        return done
