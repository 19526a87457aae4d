"""How long a volunteer is waited for, and when one that is late is tried again."""

from __future__ import annotations

import time
from collections.abc import Callable

from hydrahive.runtime.config.remote import RemoteConfig

COLD_SECONDS, WARM_SECONDS = 0.05, 0.25
"""So long everybody is waited for: who has not been in time yet, and who has."""

TIMES = 3.0
"""So many times as long as a round takes here it may take somebody who has been in time before."""

ATTEMPT_SECONDS, ATTEMPT_TIMES = 2.0, 20.0
"""Somebody has so long, or so many times as long as a round takes here, to come in time again."""

MOST_REST_SECONDS = 300.0
"""Longest rest of somebody who never is."""

NEW, OLD = 0.3, 0.7
"""Shares of the newest measurement, and of those before, in how long a fragment takes here."""

DRAG_NEW, DRAG_OLD, MOST_DRAG = 0.1, 0.9, 0.5
"""Shares of the newest round and of those before in how much longer rounds take for him, and how much is borne."""

TIRED = 3
"""After so many attempts in vain somebody else may have the place."""


class Pace:
    """One volunteer's. An attempt costs half of the speed at most; after one in vain comes a rest, ever longer."""

    def __init__(self, config: RemoteConfig, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing is known of him yet; `clock` gives seconds."""
        self._deadline_s, self._clock = config.deadline_seconds, clock
        self._own_s = 0.0
        self._is_warm, self._in_vain = False, 0
        self._since: float | None = None
        self._rests_until = self._drag = 0.0

    def note_own(self, seconds: float) -> None:
        """A fragment took so long here."""
        self._own_s = OLD * self._own_s + NEW * seconds if self._own_s else seconds

    def patience_s(self, shards: int) -> float:
        """How long a round of so many shards that is due is waited for."""
        round_s = self._own_s * shards
        wanted = max(WARM_SECONDS, TIMES * round_s) if self._is_warm else max(COLD_SECONDS, round_s)
        return min(self._deadline_s, wanted)

    @property
    def rests(self) -> bool:
        """Whether he is not to be tried now."""
        return self._clock() < self._rests_until

    def begin(self) -> None:
        """He is tried, from the state that the shards have here."""
        self._is_warm, self._since = False, self._clock()

    def in_time(self, waited_s: float, shards: int, *, is_trusted: bool) -> bool:
        """He gave what was lent while it was waited for; whether that was worth the waiting, taking one with another.

        Who is trusted saves what it takes here; who is not saves nothing.
        """
        round_s = max(self._own_s * shards, COLD_SECONDS)
        self._drag = DRAG_OLD * self._drag + DRAG_NEW * (waited_s / round_s - is_trusted)
        if self._drag > MOST_DRAG:
            self._drag = 0.0
            return False
        self._is_warm, self._since, self._in_vain = True, None, 0
        return True

    def late(self, shards: int) -> bool:
        """He did not; whether the attempt was in vain, and he rests now."""
        now = self._clock()
        self._is_warm = False
        self._since = now if self._since is None else self._since
        longest = min(self._deadline_s, max(ATTEMPT_SECONDS, ATTEMPT_TIMES * self._own_s * shards))
        if now - self._since < longest:
            return False
        self._in_vain += 1
        self._rests_until = now + min(longest * 2**self._in_vain, MOST_REST_SECONDS)
        return True

    @property
    def is_tired(self) -> bool:
        """Whether somebody else had better be asked."""
        return self._in_vain >= TIRED
