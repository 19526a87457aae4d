"""How long a run has been trained, and when the parts of its start were done."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path


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


def process_began() -> float:
    """When this process was started, in seconds since the epoch; now, where the system does not say."""
    try:
        ticks = int(Path("/proc/self/stat").read_text("utf-8").rpartition(")")[2].split()[19])
        up = float(Path("/proc/uptime").read_text("utf-8").split()[0])
    except (OSError, ValueError, IndexError):
        return time.time()
    return time.time() - (up - ticks / os.sysconf("SC_CLK_TCK"))


@dataclass
class StartTimes:
    """Times of day, in seconds since the epoch, by the part that was done then."""

    done: dict[str, float] = field(default_factory=lambda: {"process_began": process_began()})

    def note(self, part: str) -> None:
        """A part is done now."""
        self.done[part] = time.time()
