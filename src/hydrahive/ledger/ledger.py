"""The ledger as one thing: a file, and everything that may be done with it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hydrahive.ledger.accounts import Accounts
from hydrahive.ledger.journal import Journal, now_us
from hydrahive.ledger.paying import Work
from hydrahive.ledger.transfers import Transfers

FILE = "ledger.sqlite"


class Ledger:
    """Double-entry accounts over one SQLite file; several processes may have it open.

    Attributes:
        journal: The entries.
        accounts: Who may speak for which account.
        transfers: Moving tokens.
        work: Crediting work.
    """

    def __init__(self, path: Path, clock_us: Callable[[], int] = now_us, *, create: bool = True) -> None:
        """Open the ledger at `path`, or make it; errors as `Journal`."""
        self.journal = Journal(path, clock_us, create=create)
        self.accounts = Accounts(self.journal)
        self.transfers = Transfers(self.journal)
        self.work = Work(self.journal)
        assert self.journal.path == path, "this one"
        assert path.is_file(), "it is there now"

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Group commit: all calls in the block become durable together at its end, or none of them."""
        with self.journal.transaction():
            assert self.journal.db.in_transaction, "one for all"
            yield
        assert not self.journal.db.in_transaction, "durable"

    def close(self) -> None:
        """Close the file."""
        assert not self.journal.db.in_transaction, "not inside a batch"
        self.journal.close()
        assert self.journal.path.is_file(), "it outlives its readers"


def ledger_path(given: str | Path | None, runs: Path | None) -> Path | None:
    """Where the ledger lies: what was given, else HYDRAHIVE_LEDGER, else beside the runs; None without runs."""
    assert runs is None or runs.is_absolute(), "runs are known by their whole path"
    chosen = given or os.environ.get("HYDRAHIVE_LEDGER") or (runs / FILE if runs else None)
    path = None if chosen is None else Path(chosen).absolute()
    assert path is None or path.is_absolute(), "a ledger is known by its whole path"
    return path
