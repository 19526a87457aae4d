"""How long a volunteer is waited for, and how often one that is late is tried again."""

from __future__ import annotations

from hydrahive.runtime.config.remote import RemoteConfig

LEAST_SECONDS = 0.25
"""So long everybody is waited for."""

TIMES = 3.0
"""So many times as long as a round takes here it may take elsewhere."""

MOST_SKIPPED = 64
"""Rounds that are not lent, at most, to somebody who is late again and again."""

NEW, OLD = 0.3, 0.7
"""Shares of the newest measurement, and of those before, in how long a fragment takes here."""

TIRED = 6
"""Late so many times more often than in time, somebody makes room for another."""


class Pace:
    """One volunteer's. A late one costs training less and less: who is late skips a round, then 3, 7, 15, ..."""

    def __init__(self, config: RemoteConfig) -> None:
        """Nothing is known of him yet."""
        self._deadline_s = config.deadline_seconds
        self._own_s = 0.0
        self._late = self._skip = 0

    def note_own(self, seconds: float) -> None:
        """A fragment took so long here."""
        self._own_s = OLD * self._own_s + NEW * seconds if self._own_s else seconds

    def patience_s(self, shards: int) -> float:
        """How long a round of so many shards that is due is waited for."""
        return min(self._deadline_s, max(LEAST_SECONDS, TIMES * self._own_s * shards))

    def is_due(self) -> bool:
        """Whether the next round may be lent; counts the rounds that are not."""
        if self._skip:
            self._skip -= 1
            return False
        return True

    @property
    def rests(self) -> bool:
        """Whether rounds are being skipped."""
        return self._skip > 0

    def in_time(self) -> None:
        """He gave what was lent while it was waited for."""
        self._late = max(0, self._late - 1)

    def late(self) -> None:
        """He did not."""
        self._late += 1
        self._skip = min(2**self._late - 1, MOST_SKIPPED)

    @property
    def is_tired(self) -> bool:
        """Whether he is late so often that somebody else had better be asked."""
        return self._late >= TIRED
