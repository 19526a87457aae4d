"""How much of a computer a volunteer gives: for how long, and only while nobody else needs it."""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil

OTHERS_SHARE = 0.25
"""Of all CPUs; where others use more than that, the machine is not idle."""

IDLE_SECONDS = 30.0
"""For which it must be idle before work begins again."""

LOOK_SECONDS = 5.0
"""Time between two looks."""


class Budget:
    """What was allowed."""

    def __init__(
        self,
        hours: float | None = None,
        *,
        idle_only: bool = False,
        clock: Callable[[], float] = time.monotonic,
        others: Callable[[], float] | None = None,
    ) -> None:
        """Begin now.

        Args:
            hours: Of work and waiting; None for no end.
            idle_only: Work only while others leave the machine idle.
            clock: Monotonic seconds.
            others: Gives the CPU-seconds that others have used since the machine started.
        """
        self._ends = None if hours is None else clock() + 3600 * hours
        self._idle_only, self._clock, self._others = idle_only, clock, others or _others_seconds
        self._looked_at, self._seen = clock(), self._others()
        self._busy_until = 0.0

    @property
    def is_spent(self) -> bool:
        """Whether the time is over."""
        return self._ends is not None and self._clock() >= self._ends

    @property
    def left_s(self) -> float:
        """Seconds until it is."""
        return float("inf") if self._ends is None else max(0.0, self._ends - self._clock())

    def may_work(self) -> bool:
        """Whether work may go on now."""
        if self.is_spent:
            return False
        now = self._clock()
        if self._idle_only and now - self._looked_at >= LOOK_SECONDS:
            seen = self._others()
            share = (seen - self._seen) / (now - self._looked_at) / (psutil.cpu_count() or 1)
            self._looked_at, self._seen = now, seen
            if share > OTHERS_SHARE:
                self._busy_until = now + IDLE_SECONDS
        return now >= self._busy_until


def _others_seconds() -> float:
    """CPU-seconds of all but this process and those that it belongs together with."""
    times = psutil.cpu_times()
    busy = sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)
    own = 0.0
    me = psutil.Process()
    parent = me.parent()
    family = [me, *me.children(recursive=True)]
    if parent is not None and "hydrahive" in " ".join(parent.cmdline()):
        family = [parent, *parent.children(recursive=True)]
    for process in family:
        try:
            used = process.cpu_times()
        except psutil.Error:
            continue
        own += used.user + used.system
    return float(busy - own)
