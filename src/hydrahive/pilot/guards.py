"""Guards: what goes wrong at a boundary has rates and costs moved, within floors, and moved back."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from hydrahive.pilot.config import Guards
from hydrahive.pilot.helm import ENTROPY, RATE, Helm
from hydrahive.pilot.seen import Told

WATCHED = {"loss": ("loss",), "entropy": ("entropy",), "divergence": ("behaviour_kl", "divergence")}
"""What is looked at, and the names that algorithms have for it, of which the first is taken that there is."""

REMEMBERED, FEWEST = 10, 5
"""Boundaries whose losses are remembered, and fewest to compare with."""

LEAST_DEVIATION = 0.02
"""Of the loss's mean size: what deviates less is no deviation."""

WHOSE = "guards"


def watched_of(metrics: Mapping[str, float]) -> dict[str, float]:
    """What guards look at, by their own names."""
    found = {}
    for name, names in WATCHED.items():
        known = next((metrics[one] for one in names if one in metrics), None)
        if known is not None:
            found[name] = known
    return found


class Watch:
    """Looks at every boundary's figures."""

    def __init__(self, config: Guards, helm: Helm) -> None:
        """Nothing is wrong yet."""
        self._config, self._helm = config, helm
        self._losses: list[float] = []
        self._calm: dict[str, int] = {RATE: 0, ENTROPY: 0}

    def take(self, figures: Mapping[str, float]) -> list[Told]:
        """Move what has to be moved; what is said of it."""
        config, told = self._config, list[Told]()
        why = self._too_fast(figures)
        told += self._turn(RATE, why, config.factor, config.floor)
        entropy = figures.get("entropy")
        why = None
        if entropy is not None and config.entropy is not None and entropy < config.entropy:
            why = f"the policy's entropy is {entropy:.3g}, below {config.entropy:g}"
        told += self._turn(ENTROPY, why, 1 / config.factor, 1 / config.floor)
        return told

    def _too_fast(self, figures: Mapping[str, float]) -> str | None:
        """Why the learning rate is too high."""
        why = None
        loss, known = figures.get("loss"), self._losses
        if loss is not None and math.isfinite(loss):
            if len(known) >= FEWEST:
                mean = float(np.mean(known))
                deviation = max(float(np.std(known)), LEAST_DEVIATION * abs(mean), 1e-9)
                if loss > mean + self._config.loss * deviation:
                    why = f"the loss is {loss:.3g}, {(loss - mean) / deviation:.1f} deviations above its mean"
            self._losses = [*known, loss][-REMEMBERED:]
        divergence = figures.get("divergence")
        if divergence is not None and divergence > self._config.divergence:
            why = f"updates lead the policy {divergence:.3g} nats away, above {self._config.divergence:g}"
        return why

    def _turn(self, key: str, why: str | None, factor: float, bound: float) -> list[Told]:
        """Go one step where there is an alarm, and one back after so many boundaries without."""
        if not self._helm.has(key):
            return []
        now = self._helm.factor(WHOSE, key)
        if why is None:
            self._calm[key] += 1
            if now == 1.0 or self._calm[key] < self._config.calm:
                return []
            back = now / factor
            wanted = 1.0 if (back - 1.0) * (factor - 1.0) <= 0 else back
            kind, why = "pilot_eased", f"{self._calm[key]} boundaries without alarm"
        else:
            wanted = max(bound, now * factor) if bound < 1 else min(bound, now * factor)
            kind = "pilot_alarm"
        self._calm[key] = 0
        if wanted == now:
            return []
        self._helm.turn(WHOSE, key, wanted)
        name = key.partition(".")[2].replace("_", " ")
        return [Told(kind, f"{why}: {name} at {wanted:g} of its own", {"key": key, "factor": wanted})]

    def go_back(self) -> None:
        """What was seen is not on the run's line any more."""
        self._losses = []
        self._calm = dict.fromkeys(self._calm, 0)
