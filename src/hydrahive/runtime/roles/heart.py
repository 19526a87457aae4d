"""Signs of life: a thread of its own says that a process lives, and what its main thread is at."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

BEAT_SECONDS = 2.0
"""Time between two signs of life."""


@dataclass
class Work:
    """What a process is at; written by its main thread, read by its heart.

    Attributes:
        shard: The shard being simulated; -1 between two fragments.
        round: Its round.
        since: When that began, on this process's monotonic clock.
    """

    shard: int = -1
    round: int = -1
    since: float = 0.0

    def begin(self, shard: int, round_: int, now: float) -> None:
        """A fragment begins."""
        self.since, self.round, self.shard = now, round_, shard

    def end(self) -> None:
        """It is over."""
        self.shard = -1


@dataclass(frozen=True)
class Sign:
    """A sign of life.

    Attributes:
        shard: The shard being simulated; -1 for none.
        round: Its round.
        busy_s: How long that has taken so far.
    """

    shard: int
    round: int
    busy_s: float


class Heart(threading.Thread):
    """Sends a sign of life every `BEAT_SECONDS` until its process ends.

    A thread of its own, because compiling a kernel or a long fragment may take longer than any timeout.
    """

    def __init__(self, work: Work, send: Callable[[Sign], object]) -> None:
        """Watch `work`; `send` must return at once and may fail, the next beat tries again."""
        super().__init__(name="heart", daemon=True)
        self._work, self._send = work, send
        self._stopped = threading.Event()

    def run(self) -> None:
        """Beat."""
        while not self._stopped.is_set():
            work = self._work
            busy_s = time.monotonic() - work.since if work.shard >= 0 else 0.0
            try:
                self._send(Sign(work.shard, work.round, busy_s))
            except Exception as error:  # the coordinator may be away; that must not end the process's pulse
                del error
            self._stopped.wait(BEAT_SECONDS)

    def stop(self) -> None:
        """Beat no more."""
        self._stopped.set()
