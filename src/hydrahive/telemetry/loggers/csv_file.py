"""Rows of metrics for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from hydrahive.core.durable import write_whole
from hydrahive.core.sink import Row
from hydrahive.telemetry.loggers.base import About, Logger

NAME = "metrics.csv"


class CsvLogger(Logger):
    """Appends to a file whose columns may become more; then it is written anew."""

    def __init__(self) -> None:
        """Wait for a run."""
        self._path, self._columns = Path(NAME), list[str]()
        self._file: TextIO | None = None

    def begin(self, about: About) -> None:
        """Begin the file."""
        self._path = about.folder / NAME
        self._write([])

    def row(self, row: Row) -> None:
        """Append it."""
        if row.keys() <= set(self._columns):
            self._append(row)
            return
        assert self._file is not None, "a run has begun"
        self._file.close()
        with self._path.open(newline="") as file:
            known: list[Row] = list(csv.DictReader(file))
        self._write([*known, row])

    def end(self, summary: object) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _append(self, row: Row) -> None:
        assert self._file is not None, "a run has begun"
        csv.DictWriter(self._file, self._columns).writerow(row)
        self._file.flush()

    def _write(self, rows: Sequence[Row]) -> None:
        """The whole file."""
        self._columns = list(dict.fromkeys([*self._columns, *(name for row in rows for name in row)]))
        text = io.StringIO()
        writer = csv.DictWriter(text, self._columns)
        if self._columns:
            writer.writeheader()
        writer.writerows(rows)
        write_whole(self._path, text.getvalue().encode())
        self._file = self._path.open("a", newline="")
