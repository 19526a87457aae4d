"""A run's story while it is being written: what plots and figures need of it, in bounded memory."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from hydrahive.telemetry.story import BEGINNINGS, BUCKETS, SHIFT, is_finite

MOST_POINTS = 4096
"""Points of a curve that are kept; where there are more, every second one is."""

RECENT_ROWS, RECENT_SCORES, MOST_EVENTS = 120, 500, 1000
"""Newest rows and scores that count as recent, and events that are kept."""


class Thinned:
    """A series of points of which every n-th is kept, n doubling as they become too many."""

    def __init__(self, most: int = MOST_POINTS) -> None:
        """Keep at most so many."""
        self._most, self._every, self._count = most, 1, 0
        self.points: list[tuple[float, float]] = []

    def append(self, x: float, y: float) -> None:
        """Add a point, or pass it over."""
        if self._count % self._every == 0:
            self.points.append((x, y))
            if len(self.points) >= self._most:
                self.points = self.points[::2]
                self._every *= 2
        self._count += 1


class History:
    """Rows, episodes and events of a run, as its sinks write them.

    Attributes:
        row: The newest row of metrics; empty before the first.
        scores: How episodes scored, over env steps, thinned.
        recent_scores: The newest ones, all of them.
        episodes: How many have finished.
        best: The best score; None before the first.
        events: The newest, each with `time`, `kind` and `text`.
        told: How many events there were.
        beginnings: How often a process began to train the run.
        lock: To be held by a thread that reads while another one takes.
    """

    def __init__(self) -> None:
        """Know nothing yet."""
        self.lock = threading.RLock()
        self._unfinished: dict[str, bytes] = {}
        self._forget_rows()
        self._forget_episodes()
        self._forget_events()

    def take(self, file: str, anew: bool, data: bytes) -> None:
        """Take new bytes of one of the run's files; `anew`: they begin it, and what it told before counts no more."""
        with self.lock:
            self._take(file, anew, data)

    def _take(self, file: str, anew: bool, data: bytes) -> None:
        kind = file.partition(".")[0]
        if anew:
            self._unfinished.pop(kind, None)
            {"metrics": self._forget_rows, "episodes": self._forget_episodes, "events": self._forget_events}[kind]()
        whole, newline, rest = (self._unfinished.pop(kind, b"") + data).rpartition(b"\n")
        self._unfinished[kind] = rest
        take = {"metrics": self._take_row, "episodes": self._take_episodes, "events": self._take_event}[kind]
        for line in (whole + newline).splitlines():
            try:
                take(json.loads(line))
            except (ValueError, KeyError, TypeError):
                continue  # a line that a crash cut short

    def curve(self, name: str) -> Sequence[tuple[float, float]]:
        """All of a figure (`score_mean`, `score_max` or `loss`) over env steps."""
        return self._curves[name].points

    def recent(self, name: str) -> Sequence[tuple[float, float]]:
        """The newest rows' values of any figure over env steps."""
        return [(row["env_steps"], row[name]) for row in self._recent if is_finite(row.get(name))]

    def _forget_rows(self) -> None:
        self.row: Mapping[str, Any] = {}
        self._curves = {"score_mean": Thinned(), "score_max": Thinned(), "loss": Thinned()}
        self._recent: deque[dict[str, Any]] = deque(maxlen=RECENT_ROWS)

    def _forget_episodes(self) -> None:
        self.scores = Thinned(2**16)
        self.recent_scores: deque[float] = deque(maxlen=RECENT_SCORES)
        self.episodes = 0
        self.best: float | None = None

    def _forget_events(self) -> None:
        self.events: deque[dict[str, Any]] = deque(maxlen=MOST_EVENTS)
        self.told = self.beginnings = 0
        self._replay_events: list[dict[str, Any]] = []

    def _take_row(self, row: dict[str, Any]) -> None:
        if any(name.startswith("evaluation_") for name in row):
            return
        self.row = row
        self._recent.append(row)
        for name, curve in self._curves.items():
            if is_finite(row.get(name)):
                curve.append(row["env_steps"], row[name])

    def _take_episodes(self, told: dict[str, Any]) -> None:
        self.episodes = told["episodes"]
        for score in filter(is_finite, told["scores"]):
            self.scores.append(told["env_steps"], score)
            self.recent_scores.append(score)
            self.best = score if self.best is None else max(self.best, score)

    def _take_event(self, event: dict[str, Any]) -> None:
        if event["kind"] in BEGINNINGS:
            self.beginnings += 1
            self._replay_events = [past for past in self._replay_events if past["updates"] <= event["updates"]]
        if event["kind"] in (BUCKETS, SHIFT):
            self._replay_events = [*self._replay_events[-MOST_EVENTS:], event]
        if event["kind"] != BUCKETS:
            self.events.append(event)
            self.told += 1

    @property
    def gear(self) -> Mapping[str, Any]:
        """What the replay's gearbox was last shifted to: `gear`, `sequence`, `batch`; empty without."""
        return next((past for past in reversed(self._replay_events) if past["kind"] == SHIFT), {})

    @property
    def buckets(self) -> Sequence[int]:
        """Episodes in each of the replay's buckets; empty without."""
        return next((past["counts"] for past in reversed(self._replay_events) if past["kind"] == BUCKETS), ())
