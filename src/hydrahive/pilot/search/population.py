"""Population-based training (Jaderberg et al. 2017) in one run: its population is what it has tried so far."""

from __future__ import annotations

import numpy as np

from hydrahive.pilot.search.strategy import Strategy, inside

REMEMBERED, FEWEST = 50, 4
"""Probes that are remembered, and fewest to choose among."""

WORST, BEST = 0.2, 0.2
"""Shares of them: who is among the worst goes on as one of the best."""

NEAR, FAR = 0.5, 1.0
"""How far values are then moved, and otherwise, in times the probe's width."""


class Population(Strategy):
    """Goes on from what it has tried: from one of the best where the newest is among the worst, else from there."""

    name = "population"

    def __init__(self, point: np.ndarray, probe: float, gain: float, seed: int) -> None:
        """Nothing is tried yet."""
        super().__init__(point, probe, gain, seed)
        self._tried: list[tuple[np.ndarray, float]] = []
        self._next: np.ndarray | None = None

    def next(self) -> np.ndarray:
        """What is chosen next is drawn once."""
        if self._next is None:
            self._next = self._chosen()
        return self._next

    def _chosen(self) -> np.ndarray:
        random, known = self.draws(), self._tried
        moved = random.uniform(-1.0, 1.0, len(self.point)) * self.probe
        if len(known) < FEWEST:
            return inside(self.point + FAR * moved)
        gains = np.array([gain for _, gain in known])
        if known[-1][1] > float(np.quantile(gains, WORST)):
            return inside(self.point + FAR * moved)
        order = np.argsort(-gains, kind="stable")[: max(1, int(len(known) * BEST))]
        donor = known[int(order[int(random.integers(len(order)))])][0]
        self.point = donor.copy()
        return inside(donor + NEAR * moved)

    def hear(self, tried: np.ndarray, gain: float) -> None:
        """It is the one to go on from, until it is among the worst."""
        self.heard_alike(tried, gain)
        self.point, self._next = tried.copy(), None

    def heard_alike(self, tried: np.ndarray, gain: float) -> None:
        """Remember it."""
        self._tried = [*self._tried, (tried.copy(), gain)][-REMEMBERED:]

    def resume(self, point: np.ndarray) -> None:
        """As always."""
        super().resume(point)
        self._next = None
