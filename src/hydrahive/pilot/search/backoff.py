"""One key after the other: a step that gains is kept and the next is longer; one that does not is turned around."""

from __future__ import annotations

import numpy as np

from hydrahive.pilot.search.strategy import UNCLEAR, Strategy, inside

LONGER, SHORTER = 1.2, 0.7
LONGEST, SHORTEST = 3.0, 0.3
"""Of a step, in times its first length."""


class Backoff(Strategy):
    """Tries a step along a key, then the one in the other direction, and keeps what gains more than is usual."""

    name = "backoff"
    _key = 0
    _turned = False
    _usual = 0.0
    _heard = 0

    def __init__(self, point: np.ndarray, probe: float, gain: float, seed: int) -> None:
        """As always; steps begin upwards."""
        super().__init__(point, probe, gain, seed)
        self._sides, self._lengths = np.ones_like(point), np.ones_like(point)

    def next(self) -> np.ndarray:
        """A step along the key whose turn it is."""
        tried = self.point.copy()
        tried[self._key] += self._sides[self._key] * self._lengths[self._key] * self.probe
        return inside(tried)

    def hear(self, tried: np.ndarray, gain: float) -> None:
        """Keep it or turn around; after both directions the next key has its turn."""
        usual, key = self._usual, self._key
        self.heard_alike(tried, gain)
        if gain > usual + UNCLEAR / 2:
            self.point = tried.copy()
            self._lengths[key] = min(self._lengths[key] * LONGER, LONGEST)
            self._go_on()
        elif self._turned:
            self._lengths[key] = max(self._lengths[key] * SHORTER, SHORTEST)
            self._go_on()
        else:
            self._sides[key] = -self._sides[key]
            self._turned = True

    def heard_alike(self, tried: np.ndarray, gain: float) -> None:
        """What is usual is the mean of the last few."""
        self._heard += 1
        self._usual += (gain - self._usual) / min(self._heard, 5)

    def _go_on(self) -> None:
        self._turned, self._key = False, (self._key + 1) % len(self.point)

    def resume(self, point: np.ndarray) -> None:
        """As always."""
        super().resume(point)
        self._turned = False
