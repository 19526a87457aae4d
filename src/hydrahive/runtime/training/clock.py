"""How long a run has been trained; pauses and what lay between two of its processes do not count."""

from __future__ import annotations

import time


class Clock:
    """Seconds of training."""

    def __init__(self, before: float = 0.0) -> None:
        """Begin now, `before` seconds having been trained already."""
        self._before, self._started = before, time.perf_counter()

    def start(self) -> None:
        """Begin now instead."""
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Trained so far."""
        return self._before + time.perf_counter() - self._started

    def leave_out(self, seconds: float) -> None:
        """So much of it was no training."""
        self._started += seconds
