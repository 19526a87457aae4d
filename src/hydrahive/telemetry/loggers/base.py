"""What a logger is: ours, and yours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydrahive.core.config import Part
from hydrahive.core.sink import Clip, Row


@dataclass(frozen=True)
class About:
    """A run, as loggers are told of it when it begins or goes on.

    Attributes:
        name: The run's.
        run_id: The same whenever it goes on.
        experiment: What it is a run of.
        config: Its config as plain data, nested.
        folder: Where it lies.
        updates: From which it goes on; 0 at its beginning.
    """

    name: str
    run_id: str
    experiment: str
    config: Mapping[str, Any]
    folder: Path
    updates: int


class Logger:
    """Takes a run's story; each call may take its time, and may fail: training neither waits nor ends.

    All calls come from one thread, in order.
    """

    def begin(self, about: About) -> None:
        """A run begins, or goes on; then all rows before come again, for who was killed may have missed some."""

    def row(self, row: Row) -> None:
        """A row of metrics, with all counters."""

    def event(self, kind: str, text: str, facts: Mapping[str, Any]) -> None:
        """Something happened."""

    def episodes(self, facts: Mapping[str, Any]) -> None:
        """What finished in an update: counters, `scores` and `lengths`."""

    def picture(self, env_steps: int, clip: Clip) -> None:
        """A picture of the policy."""

    def end(self, summary: Mapping[str, Any] | None) -> None:
        """The run has ended, or stopped before its end, then without a summary."""


@dataclass(frozen=True)
class LoggerConfig(Part):
    """Which logger: `build` makes it. Changes no byte of a run."""

    def build(self) -> Logger:
        """The logger; what is not installed is named by an ImportError."""
        raise NotImplementedError(f"{type(self).__name__} must define build")
