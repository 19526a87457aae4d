"""What ways of searching have in common: a point in [0, 1]^n, what is tried next, and what came of it."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from hydrahive.core.streams import stream

UNCLEAR, CLEAR = 2.0, 4.0
"""Deviations of a difference of two gains below which it is noise, and above which it is none at all."""


class Strategy(ABC):
    """A way of searching.

    Attributes:
        point: What is taken for best now, `[n]` in [0, 1].
    """

    name: str

    def __init__(self, point: np.ndarray, probe: float, gain: float, seed: int) -> None:
        """Begin at a point.

        Args:
            point: `[n]` in [0, 1].
            probe: How far from it is looked.
            gain: How far it is moved.
            seed: Of what is drawn.
        """
        self.point, self.probe, self.gain, self._seed = point.copy(), probe, gain, seed
        self._drawn = 0

    @abstractmethod
    def next(self) -> np.ndarray:
        """The point to try now."""

    @abstractmethod
    def hear(self, tried: np.ndarray, gain: float) -> None:
        """What came of it: what scores gained meanwhile, in deviations of their noise."""

    def resume(self, point: np.ndarray) -> None:
        """Go on from another point; nothing is under way."""
        self.point = point.copy()

    @property
    def is_at_rest(self) -> bool:
        """Whether it has looked everywhere and found nothing better."""
        return False

    def draws(self) -> np.random.Generator:
        """Numbers for one decision: the n-th gets the n-th stream."""
        self._drawn += 1
        return stream(self._seed, f"pilot-{self.name}", self._drawn)

    def heard_alike(self, tried: np.ndarray, gain: float) -> None:  # noqa: B027
        """What came of another's probe."""


def inside(point: np.ndarray) -> np.ndarray:
    """The nearest point of the cube."""
    clipped: np.ndarray = np.clip(point, 0.0, 1.0)
    return clipped
