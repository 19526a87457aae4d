"""The progress line: live on a terminal, plain lines in a log."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Mapping
from typing import TextIO

from hydrahive.core.sink import Clip, Row

LOG_SECONDS = 5.0
"""Time between plain lines."""

LIVE_SECONDS = 0.2
"""Time between redraws of the live line."""


QUIET = "replay_buckets"
"""The kind of event that is not shown."""


EXPLORING = (("entropy", 2), ("epsilon", 3), ("temperature", 3))
"""How a policy tries things out, by the first of these figures that it has, and its digits."""


class ProgressSink:
    """Shows the newest row as one line, and each event as a line of its own."""

    def __init__(self, target_steps: int, stream: TextIO | None = None) -> None:
        """Write to `stream`, standard error by default, towards `target_steps` env steps."""
        self._target = target_steps
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._shown_at = float("-inf")
        self._open_line = False

    def row(self, row: Row) -> None:
        """Show the row if the last one has been shown long enough."""
        now = time.monotonic()
        if "steps_per_second" not in row or now - self._shown_at < (LIVE_SECONDS if self._live else LOG_SECONDS):
            return
        self._shown_at = now
        line = self._line(row)
        if self._live:
            width = shutil.get_terminal_size((120, 24)).columns - 1  # a full row would begin the next
            self._stream.write(f"\r\x1b[2K{line[:width]}")
            self._open_line = True
        else:
            self._stream.write(f"{line}\n")
        self._stream.flush()

    def episodes(self, facts: Mapping[str, object]) -> None:
        """Scores are in the line."""

    def clip(self, env_steps: int, clip: Clip) -> None:
        """Pictures are for TensorBoard."""

    def event(self, kind: str, text: str, **fields: object) -> None:
        """Show the event's sentence; what comes every moment is for the files only."""
        if kind == QUIET:
            return
        self._end_line()
        self._stream.write(f"{text}\n")
        self._stream.flush()

    def close(self) -> None:
        """End the live line."""
        self._end_line()

    def _end_line(self) -> None:
        if self._open_line:
            self._stream.write("\n")
            self._open_line = False

    def _line(self, row: Row) -> str:
        steps, rate = row["env_steps"], row["steps_per_second"]
        assert isinstance(steps, int)
        assert isinstance(rate, int | float)
        share = min(1.0, steps / self._target)
        bar = ("#" * round(share * 20)).ljust(20, ".") if self._live else f"{share:4.0%}"
        parts = [
            f"[{bar}]" if self._live else bar,
            f"{steps:,} steps",
            f"{rate:,.0f}/s",
            f"score {_number(row['score_mean'])} best {_number(row['score_max'])}",
            f"loss {_number(row.get('loss'), 3)}",
            *([f"{name} {_number(row[name], digits)}" for name, digits in EXPLORING if name in row][:1]),
            *([f"gear {row['replay_gear']}"] if "replay_gear" in row else []),
            *([f"lag {_number(row['lag'], 1)}"] if "lag" in row else []),
        ]
        return "  ".join(parts)


def _number(value: float | int | str | None, digits: int = 2) -> str:
    return "-" if value is None else f"{float(value):.{digits}f}"
