"""The journal: one SQLite file, append-only, each entry chained to the one before by its hash."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hydrahive.core.errors import LedgerError, RefusedError
from hydrahive.ledger.entries import (
    ACCOUNT_KINDS,
    KINDS,
    NAME,
    RESOLUTIONS,
    Account,
    Entry,
    account_after,
    apply,
    canonical,
    chained,
)
from hydrahive.ledger.place import require_local
from hydrahive.ledger.store.refusals import Refusals
from hydrahive.ledger.store.schema import FORMAT, lay_out, upgrade

APPLICATION = 0x48594456
"""SQLite's application id of our files: `HYDV`."""

PRIVATE = 0o600
"""Mode of a ledger's file."""

LOCK_SECONDS = 30.0
"""Longest wait for another process's transaction."""


def now_us() -> int:
    """Microseconds since 1970."""
    now = time.time_ns() // 1000
    assert isinstance(now, int), "whole microseconds"
    assert now > 0, "after 1970"
    return now


def _keep_private(path: Path) -> None:
    """Make a file that only its owner may read, or have one that is there be so; SQLite's beside it follow its mode.

    It holds what runs seal their word with. Where this is refused, SQLite says what is wrong. One that is there is not
    opened: closing it would free the locks that this process holds on it (sqlite.org/howtocorrupt.html, section 2.2).
    """
    assert path.is_absolute(), "a ledger is known by its whole path"
    assert PRIVATE & 0o077 == 0, "nobody else's"
    with suppress(OSError):
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDONLY, PRIVATE))
        except FileExistsError:
            if path.stat().st_mode & 0o077:
                path.chmod(PRIVATE)


def _forget_seals(path: Path) -> None:
    """Take the runs' keys out of a copy, and what is left of them in the file."""
    assert path.is_file(), "it was just written"
    copy = sqlite3.connect(path, isolation_level=None)
    try:
        copy.execute("PRAGMA secure_delete = ON")
        copy.execute("UPDATE runs SET seal_key = x''")
        copy.execute("VACUUM")
        assert copy.execute("SELECT count(*) FROM runs WHERE length(seal_key) > 0").fetchone() == (0,), "none is left"
    finally:
        copy.close()


class Journal:
    """Appends entries and keeps the accounts' running sums beside them, always in one transaction."""

    def __init__(self, path: Path, clock_us: Callable[[], int] = now_us, *, create: bool = True) -> None:
        """Open the ledger at `path`, or make it.

        Args:
            path: On a local disk.
            clock_us: Microseconds since 1970.
            create: Make it where there is none.

        Raises:
            LedgerError: If it lies on a network filesystem, cannot be written, is no ledger, of a newer version,
                or damaged; or if there is none and none shall be made.
        """
        assert path.is_absolute(), "a ledger is known by its whole path"
        if not __debug__:
            raise LedgerError("a ledger is not opened without its assertions: run Python without -O")
        self.path, self._clock = path, clock_us
        require_local(path)
        if not create and not path.is_file():
            raise LedgerError(f"there is no ledger at {path} yet; training makes it, --ledger names another")
        self._depth = 0
        assert callable(clock_us), "a clock"
        self._touched: dict[str, Account] = {}
        self._seq, self._hash = 0, ""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LedgerError(f"ledger {path}: its folder cannot be made: {error.strerror}") from None
        with self.readable_errors():
            _keep_private(path)
            self.db = sqlite3.connect(path, isolation_level=None, timeout=LOCK_SECONDS, check_same_thread=False)
            self._prepare()
        self._refusals = Refusals(self.db, self.transaction, clock_us)

    def close(self) -> None:
        """Close the file."""
        assert self._depth == 0, "not inside a transaction"
        with suppress(LedgerError):
            self._refusals.write()
        self.db.close()
        assert not self._touched, "nothing is left unwritten"

    @property
    def ledger_id(self) -> str:
        """A UUID; the first entry is chained to it."""
        with self.readable_errors():
            rows = self.db.execute("SELECT ledger_id FROM about").fetchall()
        assert len(rows) == 1, "a ledger has one id"
        assert isinstance(rows[0][0], str), "it is text"
        return rows[0][0]

    def head(self) -> tuple[int, str]:
        """Number and hash of the newest entry; of an empty journal 0 and what its first will be chained to."""
        row = self.db.execute("SELECT seq, hash FROM journal ORDER BY seq DESC LIMIT 1").fetchone()
        seq, hash_ = row or (0, chained("0" * 64, self.ledger_id, *[None] * 9))
        assert seq >= 0, "entries are numbered from 1"
        assert len(hash_) == 64, "a SHA-256 in hex"
        return seq, hash_

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is appended in the block is durable when it ends well, or has not happened; blocks may nest.

        Raises:
            LedgerError: If the disk does not take it, or another process holds the ledger for too long.
        """
        assert self._depth >= 0, "blocks end as often as they begin"
        if self._depth:
            yield
            return
        with self.readable_errors():
            self.db.execute("BEGIN IMMEDIATE")
            self._depth = 1
            try:
                self._seq, self._hash = self.head()
                yield
                self._write_accounts()
                self._commit()
            except BaseException:
                if self.db.in_transaction:
                    self.db.execute("ROLLBACK")
                raise
            finally:
                self._depth = 0
                self._touched.clear()
        assert not self.db.in_transaction, "committed or rolled back"

    def append(
        self,
        kind: str,
        code: str,
        debit: str,
        credit: str,
        amount: int,
        key: str,
        memo: dict[str, Any] | None = None,
        refers: int | None = None,
    ) -> Entry:
        """Append an entry, inside a transaction, and move what it moves; the key must be new."""
        assert self._depth, "entries are appended in transactions"
        assert kind in KINDS, kind
        assert type(amount) is int, "money is counted, not measured"
        assert (kind in RESOLUTIONS) <= (refers is not None), "what is resolved is named"
        giver, taker = (None, None) if kind in ACCOUNT_KINDS else (self.opened(debit), self.opened(credit))
        self._seq += 1
        columns = (self._seq, self._clock(), kind, code, debit, credit, amount, key, refers, canonical(memo or {}))
        self._hash = chained(self._hash, *columns)
        entry = Entry(*columns, self._hash)
        self.db.execute("INSERT INTO journal VALUES (?,?,?,?,?,?,?,?,?,?,?)", (*columns, self._hash))
        if giver is None or taker is None:
            self._touched[credit] = account_after(entry, self.account(credit))
        else:
            apply(entry, giver, taker)
        if kind == "pending":
            self.db.execute("INSERT INTO holds VALUES (?, ?)", (entry.seq, (memo or {}).get("expires_us")))
        if kind in RESOLUTIONS:
            self.db.execute("DELETE FROM holds WHERE seq = ?", (refers,))
        return entry

    def account(self, name: str) -> Account | None:
        """An account as it stands now, inside a transaction as that has left it."""
        assert isinstance(name, str), "accounts have names"
        if name not in self._touched:
            row = self.db.execute("SELECT * FROM accounts WHERE name = ?", (name,)).fetchone()
            if row is None:
                return None
            account = Account(*row)
            if not self._depth:
                return account
            self._touched[name] = account
        assert self._touched[name].name == name, "found under its own name"
        return self._touched[name]

    def opened(self, name: str) -> Account:
        """An account that is there; the treasury and those that work earns for are opened when first needed."""
        assert self._depth, "opening appends an entry"
        assert NAME.fullmatch(name), f"{name!r} is not a name"
        account = self.account(name)
        if account is None:
            self.append("opened", "opened", name, name, 0, f"opened/{name}", {"key_hash": ""})
            account = self._touched[name]
        return account

    def accounts(self) -> list[Account]:
        """All accounts, by name."""
        assert not self._depth, "read when nothing is being changed"
        with self.readable_errors():
            accounts = [Account(*row) for row in self.db.execute("SELECT * FROM accounts ORDER BY name")]
        assert len({account.name for account in accounts}) == len(accounts), "names are unique"
        return accounts

    def entry(self, *, seq: int | None = None, key: str | None = None) -> Entry | None:
        """The entry of a number or an idempotency key."""
        assert (seq is None) != (key is None), "by the one or the other"
        column, value = ("seq", seq) if key is None else ("key", key)
        row = self.db.execute(f"SELECT * FROM journal WHERE {column} = ?", (value,)).fetchone()  # noqa: S608  of our own words; values are bound
        assert row is None or len(row) == 11, "a row is an entry"
        return Entry(*row) if row else None

    def entries(self, after: int = 0) -> Iterator[Entry]:
        """All entries behind number `after`, in order."""
        assert after >= 0, "entries are numbered from 1"
        with self.readable_errors():
            for row in self.db.execute("SELECT * FROM journal WHERE seq > ? ORDER BY seq", (after,)):
                assert len(row) == 11, "a row is an entry"
                yield Entry(*row)

    def refuse(self, code: str, subject: str, text: str) -> RefusedError:
        """Record a refusal, and give the error to raise; what is refused again and again is counted."""
        assert code, "a refusal has a reason"
        assert subject, "somebody or something is refused"
        self._refusals.note(code, subject, text)
        return RefusedError(code, text)

    def strike(self, account: str, run: str, node: str, text: str) -> None:
        """Note that an account was caught, once for a node in a run; strikes last until they are forgiven."""
        assert run, "it was caught in a run"
        assert account, "a strike is somebody's"
        with self.transaction():
            self.db.execute(
                "INSERT INTO strikes (time_us, account, run, node, text) SELECT ?1, ?2, ?3, ?4, ?5 WHERE NOT EXISTS "
                "(SELECT 1 FROM strikes WHERE account = ?2 AND run = ?3 AND node = ?4 AND forgiven_us IS NULL)",
                (self._clock(), account, run, node, text),
            )

    def now_us(self) -> int:
        """The journal's clock."""
        now = self._clock()
        assert isinstance(now, int), "whole microseconds"
        assert now >= 0, "after 1970"
        return now

    def backup(self, target: Path, *, secrets: bool = False) -> None:
        """Write a copy to `target`, which must not exist.

        Args:
            target: Where.
            secrets: With the keys that runs seal their word with: to go on with it in place of this file. Whoever has
                them can speak for the runs.

        Raises:
            LedgerError: If it exists or cannot be written.
        """
        assert target.is_absolute(), "a backup is known by its whole path"
        assert not self._depth, "a backup is of what is committed"
        if target.exists():
            raise LedgerError(f"backup {target}: exists already")
        with self.readable_errors(target):
            _keep_private(target)
            try:
                self.db.execute("VACUUM INTO ?", (str(target),))
                if not secrets:
                    _forget_seals(target)
            except BaseException:
                with suppress(OSError):
                    target.unlink()
                raise

    @contextmanager
    def readable_errors(self, path: Path | None = None) -> Iterator[None]:
        """Turn what SQLite raises into one line about the file.

        Raises:
            LedgerError: Instead.
        """
        assert self.path.is_absolute(), "a ledger is known by its whole path"
        path = path or self.path
        assert path.name, "it is a file"
        try:
            yield
        except sqlite3.OperationalError as error:
            reason = str(error)
            if "locked" in reason:
                reason = f"another process has held it for {LOCK_SECONDS:.0f} s"
            elif "unable to open" in reason or "readonly" in reason:
                reason = f"cannot be opened for writing ({reason})"
            raise LedgerError(f"ledger {path}: {reason}") from error
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.IntegrityError):
                raise
            raise LedgerError(f"ledger {path}: is damaged or no ledger ({error})") from error

    def _prepare(self) -> None:
        """Check what is there, or lay out a new file; several processes may come at once."""
        assert self._depth == 0, "once, before all else"
        self.db.execute("PRAGMA synchronous = FULL")
        if self._is_new():
            self.db.execute("PRAGMA journal_mode = WAL")
            self.db.execute("BEGIN IMMEDIATE")
            if self._is_new():
                lay_out(self.db)
                self.db.execute(f"PRAGMA application_id = {APPLICATION}")
            self.db.execute("COMMIT")
        application, format_ = (
            self.db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
        )
        if application != APPLICATION:
            raise LedgerError(f"ledger {self.path}: is a database, but no ledger")
        if format_ > FORMAT:
            raise LedgerError(
                f"ledger {self.path}: is of format {format_}, this version of hydrahive reads up to {FORMAT}; "
                "use the newer version"
            )
        if format_ < FORMAT:
            self.db.execute("BEGIN IMMEDIATE")
            upgrade(self.db)
            self.db.execute("COMMIT")
        assert self.db.execute("PRAGMA user_version").fetchone() == (FORMAT,), "of this version now"

    def _is_new(self) -> bool:
        tables = self.db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        assert isinstance(tables, int), "a count"
        assert tables >= 0, "a count"
        return tables == 0

    def _write_accounts(self) -> None:
        """Write the sums of the accounts that the transaction touched."""
        assert self._depth, "with the entries that changed them"
        assert self.db.in_transaction, "with the entries that changed them"
        self.db.executemany(
            "INSERT OR REPLACE INTO accounts VALUES (?, ?, ?, ?, ?, ?, ?)",
            [tuple(vars(account).values()) for account in self._touched.values()],
        )

    def _commit(self) -> None:
        assert self.db.in_transaction, "there is something to commit"
        self.db.execute("COMMIT")
        assert not self.db.in_transaction, "it is on the disk"
