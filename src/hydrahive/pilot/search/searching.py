"""The search inside a run: a probe at a time, each judged by what validation scores gained while it was in force."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hydrahive.pilot.config import Search
from hydrahive.pilot.helm import Helm
from hydrahive.pilot.search.backoff import Backoff
from hydrahive.pilot.search.momentum import Momentum
from hydrahive.pilot.search.population import Population
from hydrahive.pilot.search.router import Router
from hydrahive.pilot.search.spsa import Spsa
from hydrahive.pilot.search.strategy import Strategy
from hydrahive.pilot.seen import Told
from hydrahive.pilot.trend import slope_of, smoothed, unrest

KINDS: tuple[type[Strategy], ...] = (Spsa, Momentum, Backoff, Population)

REMEMBERED = 20
"""Scores whose ups and downs are their noise."""

TINY = 1e-9

SMOOTHING = 3
"""Scores whose mean is held against the best such mean."""

LARGEST = 6.0
"""Deviations of a gain beyond which it counts no more: one stroke of luck is no slope."""


@dataclass(frozen=True)
class Probe:
    """Values that are tried.

    Attributes:
        from_update: Since when they are in force.
        point: In [0, 1], `[n]`.
    """

    from_update: int
    point: np.ndarray


class Searching:
    """Moves a helm's values by what scores gain."""

    def __init__(self, config: Search, helm: Helm, seed: int) -> None:
        """Begin at the helm's values."""
        self._config, self._helm, self._ranges = config, helm, config.ranges
        self._router = Router()
        point = self._point()
        self._ways = {kind.name: kind(point, config.probe, config.gain, seed) for kind in KINDS}
        self._probe: Probe | None = None

    def _point(self) -> np.ndarray:
        return np.array([at.place_of(self._helm.own[key]) for key, at in self._ranges.items()])

    @property
    def _way(self) -> Strategy:
        auto = self._config.strategy == "auto"
        return self._ways[self._router.choice if auto else self._config.strategy]

    def take(self, curve: Sequence[tuple[int, float]], best: float, from_update: int, settle: int) -> list[Told]:
        """Judge the probe that is under way, once it was in force for `settle` updates, and begin the next.

        Args:
            curve: Scores on the run's line, each with the update that it was measured at, oldest first.
            best: The best of them.
            from_update: When what is decided now comes into force.
            settle: Updates.
        """
        probe, told = self._probe, list[Told]()
        if probe is not None:
            if curve[-1][0] < probe.from_update + settle:
                return []
            told += [self._judge(probe, curve)]
        before = self._way
        if self._config.strategy == "auto" and self._router.route([score for _, score in curve], best):
            self._way.resume(before.point)
            text = f"searching by {self._way.name} from now on, not by {before.name}"
            told.append(Told("pilot_search", text, {"strategy": self._way.name}))
        point = self._way.next()
        if self._way.is_at_rest and self._is_at_the_top(curve):
            point, self._probe = self._way.point, None
        else:
            self._probe = Probe(from_update, point)
        self._helm.own |= self._values(point)
        return told

    def _is_at_the_top(self, curve: Sequence[tuple[int, float]]) -> bool:
        """Whether scores are as high as ever, but for noise: then there is nothing to gain by looking."""
        scores = [score for _, score in curve]
        means = smoothed(scores, SMOOTHING)
        return bool(means[-1] >= means.max() - 2 * unrest(scores[-REMEMBERED:]) / math.sqrt(SMOOTHING) - TINY)

    def _judge(self, probe: Probe, curve: Sequence[tuple[int, float]]) -> Told:
        """What scores gained while it was in force, along their line, in deviations of its noise.

        Not by how much higher they were than before: that would be due to what was in force then, too.
        """
        before = [score for at, score in curve if at <= probe.from_update][-1:]
        scores = np.array([*before, *(score for at, score in curve if probe.from_update < at)])
        x = np.arange(len(scores)) - (len(scores) - 1) / 2
        gained = slope_of(scores).rise
        # s_b = s / sqrt(S_xx), s by how scores go up and down
        noise = (
            unrest([score for _, score in curve[-REMEMBERED:]]) * (len(scores) - 1) / math.sqrt(float((x * x).sum()))
        )
        relative = float(np.clip(gained / max(noise, TINY), -LARGEST, LARGEST))
        way = self._way
        way.hear(probe.point, relative)
        for other in self._ways.values():
            if other is not way:
                other.heard_alike(probe.point, relative)
        values, now = self._shown(probe.point), self._shown(way.point)
        facts = {"gained": gained, "relative": relative, "strategy": way.name, "tried": self._values(probe.point)}
        text = f"{values} gained {gained:+.4g} ({relative:+.1f} deviations); {way.name} goes on from {now}"
        return Told("pilot_probe", text, {**facts, "at": self._values(way.point)})

    def _values(self, point: np.ndarray) -> dict[str, Any]:
        places = zip(self._ranges.items(), point.tolist(), strict=True)
        return {key: known.value_at(place) for (key, known), place in places}

    def _shown(self, point: np.ndarray) -> str:
        return ", ".join(f"{key.rpartition('.')[2]} {value:.3g}" for key, value in self._values(point).items())

    def go_back(self) -> None:
        """Go on from the helm's values; what was tried is remembered, what was under way is not."""
        self._probe = None
        self._way.resume(self._point())
