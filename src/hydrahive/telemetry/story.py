"""A run's story, read back from the files that its sinks wrote."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hydrahive.telemetry.jsonl import read_rows

BEGINNINGS = ("started", "resumed")
"""The events at which a process goes on from an update."""

SHIFT, BUCKETS = "replay_shift", "replay_buckets"


@dataclass(frozen=True)
class Record:
    """A new best score.

    Attributes:
        episode: Which episode, counted from 1.
        score: Its score.
        seconds: Training time at its end.
        epsilon: Share of random actions then; None where that is not how actions are tried out.
    """

    episode: int
    score: float
    seconds: float
    epsilon: float | None


@dataclass(frozen=True)
class Milestone:
    """Where a run stood after so many episodes.

    Attributes:
        episode: The episodes.
        seconds: Training time.
        mean: Score of all episodes up to it.
        median: Likewise.
        recent_mean: Score of those since the milestone before.
        recent_median: Likewise.
        gear: The replay's gear, sequence length and batch; None without gears.
        buckets: Episodes in each of the replay's buckets, told last before; empty without.
    """

    episode: int
    seconds: float
    mean: float
    median: float
    recent_mean: float
    recent_median: float
    gear: tuple[int, int, int] | None
    buckets: list[int]


@dataclass(frozen=True)
class Story:
    """What happened in a run.

    Attributes:
        rows: Rows of metrics of updates.
        events: Its events.
        scores: `[E]` float64, of all episodes in order.
        seconds: `[E]`, training time at each one's end.
        epsilons: `[E]`, share of random actions; nan where there is none.
        detours: Totals of what careful exploration did, by hundreds of episodes: (episodes, counts).
    """

    rows: list[dict[str, Any]]
    events: list[dict[str, Any]]
    scores: np.ndarray
    seconds: np.ndarray
    epsilons: np.ndarray
    detours: list[tuple[int, list[int]]]

    def records(self) -> list[Record]:
        """Each new best score."""
        best = np.maximum.accumulate(self.scores)
        places = np.flatnonzero(np.diff(best, prepend=-np.inf) > 0).tolist()
        return [
            Record(place + 1, float(best[place]), float(self.seconds[place]), self._epsilon(place)) for place in places
        ]

    def milestones(self, every: int) -> list[Milestone]:
        """Where the run stood after each `every` episodes, and at its end."""
        ends = [*range(every, len(self.scores), every), len(self.scores)] if len(self.scores) else []
        return [self._milestone(end, max(0, (end - 1) // every * every)) for end in ends]

    def gears(self) -> list[tuple[int, int]]:
        """The gears over time: (episode, gear) of each shift."""
        return [(event["episode"], event["gear"]) for event in self.events if event["kind"] == SHIFT]

    def buckets(self) -> list[int]:
        """Episodes in each bucket, told last."""
        return self._last(BUCKETS, len(self.scores), "counts") or []

    def _milestone(self, end: int, begin: int) -> Milestone:
        scores, recent = self.scores[:end], self.scores[begin:end]
        gear = self._last(SHIFT, end, "gear")
        facts = (gear, self._last(SHIFT, end, "sequence"), self._last(SHIFT, end, "batch")) if gear else None
        return Milestone(
            end,
            float(self.seconds[end - 1]),
            float(scores.mean()),
            float(np.median(scores)),
            float(recent.mean()),
            float(np.median(recent)),
            facts,
            self._last(BUCKETS, end, "counts") or [],
        )

    def _last(self, kind: str, episode: int, fact: str) -> Any:
        """A fact of the last event of a kind up to an episode; None if there is none."""
        found = [event[fact] for event in self.events if event["kind"] == kind and event["episode"] <= episode]
        return found[-1] if found else None

    def _epsilon(self, place: int) -> float | None:
        return None if np.isnan(self.epsilons[place]) else float(self.epsilons[place])


def read_story(metrics: Path, events: Path, episodes: Path) -> Story:
    """The story that the sinks of a run wrote; of a run that still goes on, as far as it is."""
    rows: list[dict[str, Any]] = [row for row in read_rows(metrics) if "loss" in row]
    told: list[dict[str, Any]] = list(read_rows(episodes, "scores"))
    finite = [list(filter(is_finite, one["scores"])) for one in told]
    counts = [len(scores) for scores in finite]
    per_episode = {
        name: np.repeat(np.array([one.get(name, np.nan) for one in told], np.float64), counts)
        for name in ("seconds", "epsilon")
    }
    scores = np.array([score for one in finite for score in one], np.float64)
    return Story(
        rows,
        _of_the_line(read_rows(events, "kind")),
        scores,
        per_episode["seconds"],
        per_episode["epsilon"],
        _detours(told),
    )


def is_finite(told: Any) -> bool:
    """Whether it is a number that can be averaged and drawn; what a game says of itself may be otherwise."""
    return isinstance(told, int | float) and math.isfinite(told)


def _of_the_line(events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events, without what a replay told of updates that were done again after a resume or a return."""
    kept: list[dict[str, Any]] = []
    for event in events:
        if event["kind"] in BEGINNINGS and "updates" in event:
            at = event["updates"]
            kept = [past for past in kept if not past["kind"].startswith("replay_") or past["updates"] <= at]
        kept.append(event)
    return kept


def _detours(told: Sequence[dict[str, Any]]) -> list[tuple[int, list[int]]]:
    """Careful exploration's counts by hundreds of episodes."""
    totals: dict[int, np.ndarray] = {}
    for one in told:
        if "detours" in one:
            hundred = one["episodes"] // 100 * 100
            totals[hundred] = totals.get(hundred, 0) + np.array(one["detours"], np.int64)
    return [(hundred, counts.tolist()) for hundred, counts in totals.items()]
