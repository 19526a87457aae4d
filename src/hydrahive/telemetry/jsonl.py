"""Metrics and events as one JSON object a line."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from hydrahive.core.sink import Clip, Row

BLOCK_BYTES = 2**16
"""Read at once from a file's end."""


class JsonlSink:
    """Appends to `metrics.jsonl`, `events.jsonl` and `episodes.jsonl`; a line is out when the call returns."""

    def __init__(self, metrics: Path, events: Path, episodes: Path) -> None:
        """Open the files for appending."""
        self._metrics, self._events, self._episodes = (_appending(path) for path in (metrics, events, episodes))

    def row(self, row: Row) -> None:
        """Append a row of metrics."""
        self._metrics.write(_line(row))

    def episodes(self, facts: Mapping[str, object]) -> None:
        """Append what finished in an update."""
        self._episodes.write(_line(facts))

    def clip(self, env_steps: int, clip: Clip) -> None:
        """Pictures are for TensorBoard."""

    def event(self, kind: str, text: str, **fields: object) -> None:
        """Append an event with the time of day."""
        self._events.write(_line({"time": round(time.time(), 3), "kind": kind, "text": text, **fields}))

    def sync(self) -> None:
        """Wait until all lines are on the disk."""
        for file in (self._episodes, self._metrics, self._events):
            file.flush()
            os.fsync(file.fileno())

    def close(self) -> None:
        """Close the files."""
        self._episodes.close()
        self._metrics.close()
        self._events.close()


def _line(row: Mapping[str, object]) -> str:
    """A row as strict JSON, which knows no infinity: what is no number is left out."""
    kept = {name: value for name, value in row.items() if not isinstance(value, float) or math.isfinite(value)}
    return json.dumps(kept if len(kept) < len(row) else row) + "\n"


def _appending(path: Path) -> TextIO:
    """A file of lines, opened for more of them; a last one that was cut short does not swallow the next."""
    with path.open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read() != b"\n":
                file.write(b"\n")
    return path.open("a", buffering=1, encoding="utf-8")


def read_rows(path: Path, has: str = "updates") -> list[dict[str, Any]]:
    """The rows of a JSONL file that have this key; a line that a crash cut short, or that is no row, is left out."""
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text(errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and has in row:
            rows.append(row)
    return rows


def cut_after(path: Path, updates: int) -> None:
    """Cut off the rows past so many updates, which a resumed run will write again, and a last line that is none."""
    if not path.is_file():
        return
    with path.open("rb+") as file:
        kept = size = file.seek(0, os.SEEK_END)
        for begin, line in _lines_from_the_end(file, size):
            if _updates_of(line) <= updates:
                break
            kept = begin
        if kept < size:
            file.truncate(kept)
            os.fsync(file.fileno())


def _updates_of(line: bytes) -> float:
    """The updates of a row; infinitely many of what is none."""
    try:
        row = json.loads(line)
    except ValueError:
        return math.inf
    updates = row.get("updates") if isinstance(row, dict) else None
    return updates if isinstance(updates, int) and line.endswith(b"\n") else math.inf


def _lines_from_the_end(file: BinaryIO, size: int) -> Iterator[tuple[int, bytes]]:
    """The lines of a file, the last first, each with the place where it begins."""
    end, held = size, b""
    while end > 0:
        begin = max(0, end - BLOCK_BYTES)
        file.seek(begin)
        held = file.read(end - begin) + held
        end = begin
        lines = held.splitlines(keepends=True)
        whole = lines if end == 0 else lines[1:]  # the first may begin before what was read
        at = end + len(held)
        for line in reversed(whole):
            at -= len(line)
            yield at, line
        held = b"" if end == 0 else lines[0]
