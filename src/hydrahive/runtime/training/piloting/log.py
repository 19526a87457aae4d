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
from hydrahive.pilot.seen import Order, Seen, Validation
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

    def go_on(
        self, segments: Sequence[Segment], updates: int, every: int, *, is_forked: bool = False
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Cut off what is not on the run's way to an update of its newest segment; what is left, and what was cut off.

        A part that the pilot itself went back from stays: that it did so follows from it.

        Args:
            segments: The run's, behind its first one.
            updates: Where it goes on.
            every: Updates between boundaries, at each of which something was seen.
            is_forked: It may have begun behind update 0.

        Raises:
            HydrahiveError: If lines are missing, without which something else would be decided.
        """
        by_segment: dict[int, list[dict[str, Any]]] = {}
        for line in self.lines():
            by_segment.setdefault(line["segment"], []).append(line)
        kept, on_line = list[dict[str, Any]](), list[int]()
        for number in range(len(segments) + 1):
            mine = by_segment.get(number, [])
            # A later part may begin before an earlier one: a checkpoint was damaged, or an audit went back further.
            limit = min([updates, *(segment.from_update for segment in segments[number:])])
            back_to = mine[-1]["order"]["back_to"] if mine else None
            went_back = number < len(segments) and back_to == segments[number].from_update == limit
            kept += mine if went_back else [line for line in mine if line["updates"] <= limit]
            on_line += [line["updates"] for line in mine if line["updates"] <= limit]
        first = min(on_line, default=updates + every) if is_forked else every
        missing = set(range(first, updates + 1, every)) - set(on_line)
        if missing:
            text = f"{NAME} lacks what was seen at update {min(missing)}: its pilot would decide something else"
            raise HydrahiveError(text)
        cut_off = [line for line in self.lines() if line not in kept]
        if kept or self.path.is_file():
            write_whole(self.path, "".join(json.dumps(line) + "\n" for line in kept).encode())
        return kept, cut_off

    def add(self, segment: int, seen: Seen, order: Order) -> None:
        """One more boundary; on the disk when this returns."""
        line = {"updates": seen.updates, "segment": segment, "seen": seen.as_plain(), "order": order.as_plain()}
        if not self.path.is_file():
            write_whole(self.path, b"")  # which sees to it that the folder names it
        with self.path.open("ab") as file:
            file.write(json.dumps(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def validations_in(lines: Sequence[dict[str, Any]]) -> dict[int, Validation]:
    """The validations that lines tell of, by the update of the policy that was validated."""
    seen = [Seen.from_plain(line["seen"]).validation for line in lines]
    return {one.updates: one for one in seen if one is not None}


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
