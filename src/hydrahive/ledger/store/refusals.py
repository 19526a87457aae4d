"""Refusals on record: each kind once at once, and then counted, so that who is refused cannot fill the disk."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

WINDOW_US = 60 * 1_000_000
"""Who is refused again for the same reason within this time is counted; the count is written when it is over."""

SUBJECTS = 200
"""So many different ones are written in a window; the rest are counted together."""

OTHERS = "(others)"

ROWS = 100_000
"""So many rows are kept; the oldest go."""

TEXT = 500
"""Letters of a text, and of a subject, that are kept."""


@dataclass
class _Counted:
    """A row of this window, and how often its refusal came again."""

    row: int
    again: int = 0


class Refusals:
    """Writes refusals of one journal."""

    def __init__(
        self,
        db: sqlite3.Connection,
        transaction: Callable[[], AbstractContextManager[None]],
        clock_us: Callable[[], int],
    ) -> None:
        """Write into this file, within the journal's transactions."""
        self._db, self._transaction, self._clock = db, transaction, clock_us
        self._counted: dict[tuple[str, str], _Counted] = {}
        self._since = 0
        assert WINDOW_US > 0, "somebody may be refused twice"
        assert ROWS > SUBJECTS, "a window fits"

    def note(self, code: str, subject: str, text: str) -> None:
        """Record one: at once if it is new in this window, else it is counted."""
        assert code, "a refusal has a reason"
        assert subject, "somebody or something is refused"
        subject, text = subject[:TEXT], text[:TEXT]
        now = self._clock()
        if now - self._since >= WINDOW_US or now < self._since:
            self.write()
            self._since = now
        if (code, subject) not in self._counted and len(self._counted) >= SUBJECTS:
            subject = OTHERS
        known = self._counted.get((code, subject))
        if known is not None:
            known.again += 1
            return
        with self._transaction():
            row = self._db.execute(
                "INSERT INTO refusals (time_us, code, subject, text) VALUES (?, ?, ?, ?)", (now, code, subject, text)
            ).lastrowid
            self._db.execute("DELETE FROM refusals WHERE id <= ?", ((row or 0) - ROWS,))
        self._counted[code, subject] = _Counted(row or 0)

    def write(self) -> None:
        """Write how often each came again, and begin a new window."""
        again = [(one.again, one.row, *which) for which, one in self._counted.items() if one.again]
        if again:
            with self._transaction():
                self._db.executemany(
                    "UPDATE refusals SET times = times + ? WHERE id = ? AND code = ? AND subject = ?", again
                )
        self._counted.clear()
        assert not self._counted, "a new window"
        assert all(count > 0 for count, *_ in again), "counted"
