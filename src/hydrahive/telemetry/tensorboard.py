"""Metrics as TensorBoard scalars over env steps."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from hydrahive.core.sink import Clip, Row

FLUSH_SECONDS = 5.0
COUNTERS = ("rounds", "updates", "gradient_steps", "env_steps")


MOST_BYTES = 2**20
"""Size at which another file is begun: a storage that cannot append is sent the newest only."""


class TensorBoardSink:
    """Writes event files in the caller's thread, so that a full disk is an error here and not in a thread."""

    def __init__(self, folder: Path, purge_from: int | None = None) -> None:
        """Begin a file.

        Args:
            folder: TensorBoard's log folder.
            purge_from: Env step from which earlier files' points are void, after a resume.
        """
        folder.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads files by their names, and a clock may have been set back since the last one was begun.
        self._ahead = max(0.0, _newest(folder) + 1 - time.time())
        self._folder = folder
        self._begin(purge_from)

    def _begin(self, purge_from: int | None = None) -> None:
        started = self._now()
        # A run that is trained in steps has several files of one process, some begun within one second.
        name = f"events.out.tfevents.{int(started)}.{os.uname().nodename}.{os.getpid()}.{time.monotonic_ns()}"
        self._file = (self._folder / name).open("wb")
        self._records = RecordWriter(self._file)
        self._flushed = 0.0
        self._write(Event(wall_time=started, file_version="brain.Event:2"))
        if purge_from is not None:
            session = SessionLog(status=SessionLog.START)
            self._write(Event(wall_time=started, step=purge_from, session_log=session))

    def _now(self) -> float:
        return time.time() + self._ahead

    def row(self, row: Row) -> None:
        """Write each number of the row as a scalar at its env step."""
        values = [
            Summary.Value(tag=name.replace("_", "/", 1) if name.startswith("evaluation_") else name, simple_value=value)
            for name, value in row.items()
            if isinstance(value, int | float) and name not in COUNTERS
        ]
        step = row["env_steps"]
        assert isinstance(step, int)
        self._write(Event(wall_time=self._now(), step=step, summary=Summary(value=values)))

    def episodes(self, facts: Mapping[str, object]) -> None:
        """Scores are in the rows."""

    def clip(self, env_steps: int, clip: Clip) -> None:
        """Show the picture among the images; TensorBoard plays it."""
        image = Summary.Image(height=clip.height, width=clip.width, colorspace=3, encoded_image_string=clip.gif)
        value = Summary.Value(tag="policy", image=image)
        self._write(Event(wall_time=self._now(), step=env_steps, summary=Summary(value=[value])))

    def event(self, kind: str, text: str, **fields: object) -> None:
        """Events are not scalars."""

    def close(self) -> None:
        """Write out and close the file."""
        self._file.close()

    def _write(self, event: Event) -> None:
        self._records.write(event.SerializeToString())
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._records.flush()
            self._flushed = time.monotonic()
        if self._file.tell() > MOST_BYTES:
            self._file.close()
            self._begin()


def _newest(folder: Path) -> float:
    """When the newest file there was begun, by its name; 0 if there is none."""
    began = (path.name.split(".")[3] for path in folder.glob("events.out.tfevents.*"))
    return max((float(text) for text in began if text.isdigit()), default=0.0)
