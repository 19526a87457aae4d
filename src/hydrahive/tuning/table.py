"""What a sweep shows while it runs: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from dataclasses import dataclass, field
from typing import Any, TextIO

from hydrahive.tuning.config import SweepConfig
from hydrahive.tuning.folder import Ending, SweepFolder

REDRAW_SECONDS = 0.2


@dataclass
class _Row:
    name: str
    status: str = "running"
    milestone: int = 0
    env_steps: int = 0
    score: float | None = None
    values: dict[str, Any] = field(default_factory=dict)


class Table:
    """Trials with their state, score and values."""

    def __init__(self, config: SweepConfig, folder: SweepFolder, title: str, out: TextIO | None = None) -> None:
        """Show nothing yet."""
        self._config, self._folder, self._title = config, folder, title
        self._out = out or sys.stderr
        self._live = self._out.isatty()
        self._rows: dict[str, _Row] = {}
        self._lines, self._drawn = 0, 0.0
        self._say(f"{folder.name}: {title}, {config.metric} ({config.mode})")

    def begin(self, name: str) -> None:
        """A trial runs."""
        self._rows.setdefault(name, _Row(name)).status = "running"
        self._draw()

    def report(self, name: str, result: dict[str, Any]) -> None:
        """A trial has reached a milestone."""
        if result.get("failed"):
            return
        row = self._rows.setdefault(name, _Row(name))
        row.milestone, row.env_steps, row.score = result["milestone"], result["env_steps"], result["score"]
        row.values = result["values"]
        if not self._live:
            self._say(f"  {self._line(row)}")
        self._draw()

    def end(self, name: str, ending: Ending) -> None:
        """A trial has ended."""
        row = self._rows.setdefault(name, _Row(name))
        row.status = ending.status
        if not self._live and ending.status != "done":
            self._say(f"  {name}: {ending.status}: {ending.reason}")
        self._draw(now=ending.status != "done")

    def close(self) -> None:
        """Leave the last state standing."""
        self._draw(now=True)

    def _line(self, row: _Row) -> str:
        score = "-" if row.score is None else f"{row.score:.4g}"
        values = "  ".join(f"{key.rpartition('.')[2]} {shown(value)}" for key, value in row.values.items())
        return f"{row.name:<14} {row.status:<10} {row.milestone:>3}  {row.env_steps:>12,} steps  {score:>10}  {values}"

    def _say(self, text: str) -> None:
        print(text, file=self._out, flush=True)

    def _draw(self, *, now: bool = False) -> None:
        if not self._live or (not now and time.monotonic() - self._drawn < REDRAW_SECONDS):
            return
        self._drawn = time.monotonic()
        sign = -1 if self._config.mode == "max" else 1
        scored = sorted(self._rows.values(), key=lambda row: (row.score is None, sign * (row.score or 0.0), row.name))
        width, height = shutil.get_terminal_size()
        lines = [self._line(row)[: width - 1] for row in scored[: min(40, height - 1)]]
        back = f"\x1b[{self._lines}A" if self._lines else ""
        print(back + "".join(f"\x1b[2K{line}\n" for line in lines), end="", file=self._out, flush=True)
        self._lines = len(lines)


def shown(value: Any) -> str:
    """A value in few letters."""
    if isinstance(value, dict) and "class_path" in value:
        return str(value["class_path"]).rpartition(".")[2]
    return f"{value:.3g}" if isinstance(value, float) else str(value)
