"""`pilot.jsonl`: what a run's pilot saw at each boundary, from which all that it decided follows again."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydrahive.core.durable import write_whole
from hydrahive.core.errors import HydrahiveError
from hydrahive.pilot.pilot import Pilot
from hydrahive.pilot.seen import Order, Seen
from hydrahive.runtime.runs.checkpoints import Segment
from hydrahive.telemetry.jsonl import read_rows

NAME = "pilot.jsonl"


class PilotLog:
    """The lines of a run's pilot, one a boundary."""

    def __init__(self, folder: Path) -> None:
        """In a run's folder."""
        self.path = folder / NAME

    def lines(self) -> list[dict[str, Any]]:
        """All that are whole."""
        return read_rows(self.path)

    def go_on(self, segments: Sequence[Segment], updates: int) -> list[dict[str, Any]]:
        """Cut off what is not on the run's way to an update of its newest segment; what is left.

        A part that the pilot itself went back from stays: that it did so follows from it.
        """
        by_segment: dict[int, list[dict[str, Any]]] = {}
        for line in self.lines():
            by_segment.setdefault(line["segment"], []).append(line)
        kept = list[dict[str, Any]]()
        for number in range(len(segments) + 1):
            mine = by_segment.get(number, [])
            limit = segments[number].from_update if number < len(segments) else updates
            went_back = bool(mine) and number < len(segments) and mine[-1]["order"]["back_to"] == limit
            kept += mine if went_back else [line for line in mine if line["updates"] <= limit]
        if kept or self.path.is_file():
            write_whole(self.path, "".join(json.dumps(line) + "\n" for line in kept).encode())
        return kept

    def add(self, segment: int, seen: Seen, order: Order) -> None:
        """One more boundary; on the disk when this returns."""
        line = {"updates": seen.updates, "segment": segment, "seen": seen.as_plain(), "order": order.as_plain()}
        with self.path.open("ab") as file:
            file.write(json.dumps(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def follow(pilot: Pilot, lines: Sequence[dict[str, Any]]) -> None:
    """Have a pilot see again what was seen.

    Raises:
        HydrahiveError: If it would decide something else than it did.
    """
    for line in lines:
        order = pilot.take(Seen.from_plain(line["seen"]))
        if json.loads(json.dumps(order.as_plain())) != line["order"]:
            text = f"{NAME}: at update {line['updates']} something else was decided than follows from what was seen"
            raise HydrahiveError(text)
