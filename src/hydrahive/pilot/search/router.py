"""Which way of searching fits how scores go."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hydrahive.pilot.trend import lag_one_correlation

REMEMBERED, NEEDED = 20, 10
"""Scores that are looked at, and fewest that say anything."""

FAR_BELOW, CORRELATED = -0.2, 0.3
"""A score so far below the best, of its size or deviation; and a correlation beyond which it is one."""

HELD, CONFIRMED = 3, 3
"""Probes that a choice stands at least, and how often in a row another one must be wanted."""


def fitting(scores: Sequence[float], best: float) -> str:
    """Far below the best the population's memory, along a trend momentum, to and fro back-off, else SPSA."""
    known = np.array(scores[-REMEMBERED:])
    if len(known) < NEEDED:
        return "spsa"
    deviation = float(known.std())
    behind = (float(known[-1]) - best) / max(abs(best), deviation, 1e-9)
    if behind < FAR_BELOW:
        return "population"
    correlation = lag_one_correlation(known)
    if correlation > CORRELATED:
        return "momentum"
    return "backoff" if correlation < -CORRELATED else "spsa"


class Router:
    """Changes from one way to another only when that was wanted several times in a row.

    Attributes:
        choice: The way that is gone now.
    """

    choice = "spsa"

    def __init__(self) -> None:
        """Begin with SPSA."""
        self._held, self._wanted, self._times = 0, "spsa", 0

    def route(self, scores: Sequence[float], best: float) -> bool:
        """Look at the scores before another probe; whether the way is another one now."""
        wanted = fitting(scores, best)
        self._held += 1
        self._times = self._times + 1 if wanted == self._wanted else 1
        self._wanted = wanted
        if wanted == self.choice or self._held <= HELD or self._times < CONFIRMED:
            return False
        self.choice, self._held = wanted, 0
        return True
