"""Loggers on threads of their own: training neither waits for them nor ends with them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from typing import Any

from hydrahive.core.errors import first_line, how_to_install
from hydrahive.core.sink import Clip, Row
from hydrahive.telemetry.jsonl import read_rows
from hydrahive.telemetry.loggers.base import About, Logger, LoggerConfig

CLOSE_SECONDS = 20.0
"""For which a run's end waits for a logger that has not caught up."""

MOST_WAITING = 100_000
"""Calls that wait for a logger; beyond that it is given up."""

Tell = Callable[[str], None]
"""Says a sentence to people."""


class Background:
    """Hands a run's story to a logger, in order; what goes wrong is told once, and then nothing is handed on."""

    def __init__(
        self, config: LoggerConfig, about: About, summary: Callable[[], Mapping[str, Any] | None], tell: Tell
    ) -> None:
        """Begin.

        Args:
            config: Makes the logger.
            about: The run.
            summary: What the run has come to; asked at its end.
            tell: Is called on the thread that trains.
        """
        self._name, self._config, self._about, self._summary, self._tell = (
            type(config).__name__, config, about, summary, tell,
        )  # fmt: skip
        self._calls: queue.SimpleQueue[Callable[[Logger], None] | None] = queue.SimpleQueue()
        self._wrong: str | None = None
        self._is_told = False
        self._thread = threading.Thread(target=self._work, name=f"logger {self._name}", daemon=True)
        self._thread.start()

    def row(self, row: Row) -> None:
        """Hand a row on."""
        kept = dict(row)
        self._put(lambda logger: logger.row(kept))

    def episodes(self, facts: Mapping[str, object]) -> None:
        """Hand on what finished."""
        kept = dict(facts)
        self._put(lambda logger: logger.episodes(kept))

    def clip(self, env_steps: int, clip: Clip) -> None:
        """Hand a picture on."""
        self._put(lambda logger: logger.picture(env_steps, clip))

    def event(self, kind: str, text: str, **fields: object) -> None:
        """Hand an event on."""
        self._put(lambda logger: logger.event(kind, text, fields))

    def close(self) -> None:
        """Wait a while until all is handed on."""
        summary = self._summary()
        self._put(lambda logger: logger.end(summary))
        self._calls.put(None)
        self._thread.join(CLOSE_SECONDS)
        if self._thread.is_alive() and self._wrong is None:
            self._wrong = f"has not taken all of the run's story in {CLOSE_SECONDS:.0f} s, and was left behind"
        self._say()

    def _put(self, call: Callable[[Logger], None]) -> None:
        if self._wrong is None and self._calls.qsize() > MOST_WAITING:
            self._wrong = f"is {MOST_WAITING:,} calls behind, and was given up"
        self._say()
        if self._wrong is None:
            self._calls.put(call)

    def _say(self) -> None:
        if self._wrong is not None and not self._is_told:
            self._is_told = True
            self._tell(f"logger {self._name} {self._wrong}; the run goes on without it")

    def _work(self) -> None:
        try:
            logger = self._config.build()
            logger.begin(self._about)
            rows: list[Any] = list(read_rows(self._about.folder / "metrics.jsonl")) if self._about.updates else []
            for row in rows:
                if row.get("updates", 0) <= self._about.updates:
                    logger.row(row)
            while (call := self._calls.get()) is not None and self._wrong is None:
                call(logger)
        except ImportError as error:
            self._wrong = f"cannot be imported ({how_to_install(error) or first_line(error)})"
        except BaseException as error:  # whatever a library raises
            self._wrong = f"failed ({type(error).__name__}: {first_line(error)})"
