"""What the coordinator does beside answering: it shows that it lives, and copies its ledger where that is asked for."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from hydrahive.core.errors import LedgerError
from hydrahive.ledger.journal import Journal

SIGN_SECONDS = 15.0
"""Time between two signs of life."""

BACKUP_SECONDS = 3600.0
"""Time between two copies of the ledger."""

KEPT = 24
"""Copies that are kept; the oldest go."""


class Keeping(threading.Thread):
    """A thread of its own, so that neither waits for the other."""

    def __init__(self, show: Callable[[float], None], ledger: Callable[[], Path | None], backups: Path | None) -> None:
        """Begin nothing yet.

        Args:
            show: Takes the time, in seconds since 1970, at which this process lived.
            ledger: Where the ledger lies; None while nobody has said it.
            backups: Folder of its copies; None for none.
        """
        super().__init__(name="keeping", daemon=True)
        self._show, self._ledger, self._backups = show, ledger, backups

    def run(self) -> None:
        """Go on for ever."""
        next_backup = time.monotonic() + BACKUP_SECONDS / 60
        while True:
            self._show(time.time())
            if self._backups is not None and time.monotonic() >= next_backup:
                next_backup = time.monotonic() + BACKUP_SECONDS
                path = self._ledger()
                if path is not None:
                    with suppress(LedgerError, OSError):  # the next one may do better; the alert is of the disk
                        back_up(path, self._backups)
            time.sleep(SIGN_SECONDS)


def back_up(ledger: Path, folder: Path, kept: int = KEPT) -> Path:
    """Copy a ledger with its runs' keys, whole or not at all, and remove the oldest copies; the copy.

    Raises:
        LedgerError: If it cannot be read, or the copy not be written.
        OSError: If the folder cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for left in folder.glob("*.partial"):
        left.unlink()
    whole = folder / time.strftime("ledger-%Y%m%dT%H%M%SZ.sqlite", time.gmtime())
    partial = whole.with_suffix(".partial")
    journal = Journal(ledger, create=False)
    try:
        journal.backup(partial, secrets=True)
    finally:
        journal.close()
    os.replace(partial, whole)
    for old in sorted(folder.glob("ledger-*.sqlite"))[:-kept]:
        old.unlink()
    return whole
