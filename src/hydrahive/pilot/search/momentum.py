"""One key after the other: what a step to one side gains gives a slope, which Adam climbs (Kingma & Ba 2015)."""

from __future__ import annotations

import numpy as np

from hydrahive.pilot.search.strategy import CLEAR, Strategy, inside

BETA_1, BETA_2 = 0.8, 0.95

LEAST = CLEAR
"""Deviations below which a slope is not made a step of full length: where nothing is gained, nothing is known."""


class Momentum(Strategy):
    """Tries the point itself, then a step along one key; round robin."""

    name = "momentum"
    _here: float | None = None
    _key = 0

    def __init__(self, point: np.ndarray, probe: float, gain: float, seed: int) -> None:
        """As always; no slope is known."""
        super().__init__(point, probe, gain, seed)
        self._mean, self._square = np.zeros_like(point), np.zeros_like(point)
        self._steps = np.zeros(len(point), np.int64)

    def next(self) -> np.ndarray:
        """Here, then to one side: the one with more room."""
        return self.point.copy() if self._here is None else self._aside()

    def _aside(self) -> np.ndarray:
        tried = self.point.copy()
        tried[self._key] += self._side() * self.probe
        return inside(tried)

    def _side(self) -> float:
        return 1.0 if self.point[self._key] <= 0.5 else -1.0

    def hear(self, tried: np.ndarray, gain: float) -> None:
        """After both, a step of Adam along the key."""
        if self._here is None:
            self._here = gain
            return
        key = self._key
        slope = (gain - self._here) * self._side()
        self._steps[key] += 1
        self._mean[key] = BETA_1 * self._mean[key] + (1 - BETA_1) * slope
        self._square[key] = BETA_2 * self._square[key] + (1 - BETA_2) * slope * slope
        mean = self._mean[key] / (1 - BETA_1 ** int(self._steps[key]))
        square = self._square[key] / (1 - BETA_2 ** int(self._steps[key]))
        self.point[key] += self.gain * mean / max(float(np.sqrt(square)), LEAST)
        self.point = inside(self.point)
        self._here, self._key = None, (key + 1) % len(self.point)

    def resume(self, point: np.ndarray) -> None:
        """As always."""
        super().resume(point)
        self._here = None
