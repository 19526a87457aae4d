"""Which boundaries of a run are its best, by validations; beyond noise, and never lowered."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hydrahive.pilot.config import Rollback
from hydrahive.pilot.seen import Validation
from hydrahive.pilot.trend import smoothed, unrest

IN_A_ROW = 3
"""Validations above the best that confirm a better one where none is beyond noise."""

REMEMBERED = 20
"""Validations whose ups and downs are looked at."""

WITHIN = 0.1
"""Of the best score's size: what lies further below it is no part of an average."""


class Champions:
    """The best boundary so far, and the next ones.

    Attributes:
        best: Confirmed; None before the first validation.
        ranked: The best by score, confirmed or not, the best first.
    """

    def __init__(self, top: int, noise: float) -> None:
        """Keep so many; scores are equal within `noise` standard errors of their difference."""
        self._top, self._noise = top, noise
        self.best: Validation | None = None
        self.ranked: list[Validation] = []
        self._above: list[Validation] = []

    def take(self, validation: Validation) -> str | None:
        """Look at one more; why the best is another one now, None if it is not."""
        self.ranked = sorted([*self.ranked, validation], key=lambda one: (-one.mean, one.updates))[: self._top]
        best = self.best
        if best is None:
            self.best = validation
            return "the first"
        if validation.mean <= best.mean:
            self._above = []
            return None
        self._above.append(validation)
        noise = self.noise_between(validation, best)
        if validation.mean > best.mean + noise:
            return self._crown(validation, f"{validation.mean - best.mean:.4g} above the best, noise {noise:.2g}")
        if len(self._above) >= IN_A_ROW:
            highest = max(self._above, key=lambda one: (one.mean, one.updates))
            return self._crown(highest, f"the highest of {IN_A_ROW} in a row above the best")
        return None

    def _crown(self, validation: Validation, why: str) -> str:
        self.best, self._above = validation, []
        return why

    def noise_between(self, one: Validation, other: Validation) -> float:
        """Difference that two scores have by chance: so many times sqrt(e_1^2 + e_2^2)."""
        return self._noise * math.hypot(one.error, other.error)

    @property
    def held(self) -> frozenset[int]:
        """Boundaries whose checkpoints are to be kept."""
        return frozenset(one.updates for one in (*self.ranked, *self._above, *([self.best] if self.best else [])))

    def averaged(self) -> list[Validation]:
        """Those whose weights' average is worth a try: near the best; fewer than two are none."""
        if self.best is None:
            return []
        least = self.best.mean - WITHIN * abs(self.best.mean)
        near = [one for one in self.ranked if one.mean >= least]
        return near if len(near) > 1 else []

    def go_back(self) -> None:
        """Only what led to the best is on the run's line."""
        assert self.best is not None, "a run goes back to its best boundary"
        self.ranked = [one for one in self.ranked if one.updates <= self.best.updates]
        self._above = []


class Falling:
    """Sees that a run has got worse than it was, and that it is no accident."""

    def __init__(self, config: Rollback) -> None:
        """Nothing has fallen yet."""
        self._config = config
        self._in_a_row = 0

    def take(self, validations: Sequence[Validation], training: Sequence[float], noise: float) -> bool:
        """Whether it is confirmed: by validations, and by what training scores.

        Args:
            validations: On the run's line, oldest first.
            training: What training scored at boundaries, oldest first.
            noise: Standard errors within which scores are equal.
        """
        if len(validations) < self._config.earliest:
            return False
        error = float(np.median([one.error for one in validations[-REMEMBERED:]]))
        below = self._is_below([one.mean for one in validations], error, noise) and self._is_below(training, 0.0, noise)
        self._in_a_row = self._in_a_row + 1 if below else 0
        return self._in_a_row >= self._config.after

    def _is_below(self, scores: Sequence[float], error: float, noise: float) -> bool:
        """Whether the mean of the last few lies below the best mean of as many: one lucky score is no height.

        It must be below by a share of that, and beyond the noise that the scores have: each its own `error`, and what
        they go up and down by from one to the next. And it must be lower than it was before since it was that high:
        what swings has been there, and came back.
        """
        config, few = self._config, self._config.smoothing
        curve = smoothed(scores, few)[few - 1 :]
        if not len(curve):
            return False
        deviation = math.hypot(error, unrest(scores[-REMEMBERED:]))
        beyond = noise * deviation * math.sqrt(2 / few)
        height, now = float(curve.max()), float(curve[-1])
        since = int(np.argmax(curve >= height - config.drop / 2 * abs(height)))
        before = curve[since : len(curve) - config.after - few]
        lowest = float(before.min()) if len(before) else height
        return height - now > max(beyond, config.drop * abs(height)) and now < lowest - beyond / 2

    def go_back(self) -> None:
        """Count anew."""
        self._in_a_row = 0
