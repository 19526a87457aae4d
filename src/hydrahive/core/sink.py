"""Where a run's story goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

Row = Mapping[str, float | int | str | None]
"""One line of metrics: counters and values by name."""


@dataclass(frozen=True)
class Clip:
    """A moving picture.

    Attributes:
        gif: The file's bytes.
        width: In pixels.
        height: In pixels.
    """

    gif: bytes
    width: int
    height: int


class Sink(Protocol):
    """Receives rows of metrics and events; writing them somewhere is its whole job."""

    def row(self, row: Row) -> None:
        """Take one row of metrics."""

    def episodes(self, facts: Mapping[str, object]) -> None:
        """Take what finished in an update: counters, `scores` and `lengths` in order, and how they were explored."""

    def clip(self, env_steps: int, clip: Clip) -> None:
        """Take a picture of the policy after so many env steps."""

    def event(self, kind: str, text: str, **fields: object) -> None:
        """Take one event: a stable `kind`, a sentence for people, and the facts."""

    def close(self) -> None:
        """Write out what is held back."""
