"""Simultaneous perturbation stochastic approximation (Spall 1992): two probes give all keys' slopes at once."""

from __future__ import annotations

import numpy as np

from hydrahive.pilot.search.strategy import CLEAR, UNCLEAR, Strategy, inside

NARROWER, WIDER = 0.8, 1.5
"""What the probes' width is multiplied by where their difference is clear, and where it is within noise."""

NARROWEST, WIDEST = 0.5, 4.0
"""Bounds of that, in times its first width."""

FURTHEST = 0.3
"""Most that the point is moved at once, of a range."""


class Spsa(Strategy):
    """Tries x + c D and x - c D, where each D_i is 1 or -1, and goes along D by the difference of what they gained."""

    name = "spsa"

    def __init__(self, point: np.ndarray, probe: float, gain: float, seed: int) -> None:
        """As always; nothing is under way."""
        super().__init__(point, probe, gain, seed)
        self._direction: np.ndarray | None = None
        self._first: float | None = None
        self._width, self._unclear = 1.0, 0

    def next(self) -> np.ndarray:
        """One side, then the other; which comes first is drawn with D."""
        if self._direction is None:
            self._direction = self.draws().choice([-1.0, 1.0], len(self.point))
        side = 1.0 if self._first is None else -1.0
        return inside(self.point + side * self._width * self.probe * self._direction)

    def hear(self, tried: np.ndarray, gain: float) -> None:
        """After both, move: x += a s D, s the difference in four deviations, which is Spall's a (g+ - g-) / (2 c D)."""
        if self._first is None:
            self._first = gain
            return
        assert self._direction is not None, "a probe goes somewhere"
        difference = self._first - gain
        step = min(self.gain * self._width, FURTHEST) * float(np.clip(difference / CLEAR, -1.0, 1.0))
        if abs(difference) > UNCLEAR:
            self.point = inside(self.point + step * self._direction)
        if abs(difference) > CLEAR:
            self._width, self._unclear = max(self._width * NARROWER, NARROWEST), 0
        elif abs(difference) <= UNCLEAR:
            self._unclear += self._width == WIDEST
            self._width = min(self._width * WIDER, WIDEST)
        self._direction = self._first = None

    @property
    def is_at_rest(self) -> bool:
        """However far it looked, nothing was better."""
        return self._unclear > 0

    def resume(self, point: np.ndarray) -> None:
        """As always; half a pair is worth nothing."""
        super().resume(point)
        self._direction = self._first = None
        self._unclear = 0
