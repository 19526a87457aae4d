"""Whether a run still gets better: active, cooling or dormant, by the slope of its validation scores."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from hydrahive.pilot.config import Convergence
from hydrahive.pilot.seen import Validation
from hydrahive.pilot.trend import Slope, slope_of, smoothed

State = Literal["active", "cooling", "dormant"]


class Progressing:
    """Counts validations in a row without a rise.

    Attributes:
        state: What follows from them.
        resting: How many they are.
        slope: Of the smoothed scores in the window; its probability is that of the scores themselves.
    """

    def __init__(self, config: Convergence) -> None:
        """Nothing is seen yet."""
        self._config = config
        self._scores: list[float] = []
        self.state: State = "active"
        self.resting = 0
        self.slope = Slope(0.0, 1.0, 0.0, 0.0, 0.0)

    def take(self, validation: Validation, best: float, *, is_new_best: bool) -> bool:
        """Look at one more; whether the state is another one now.

        Args:
            validation: The newest.
            best: The best score so far.
            is_new_best: Whether it is confirmed to be this one.
        """
        config, before = self._config, self.state
        self._scores.append(validation.mean)
        # The line is through smoothed scores. Those share parts with their neighbours, so its test is of the scores
        # themselves: else a slope would come about by chance three times as often as it says.
        line = slope_of(smoothed(self._scores, config.smoothing)[-config.window :])
        test = slope_of(np.array(self._scores[-config.window :]))
        self.slope = replace(line, probability=test.probability, effective=test.effective, correlation=test.correlation)
        least = config.least * max(abs(best), abs(validation.mean))
        rises = self.slope.probability < config.significance and self.slope.rise > max(least, 0.0)
        if rises or is_new_best:
            self.resting, self.state = 0, "active"
        else:
            self.resting += 1
            if self.resting >= config.dormant and len(self._scores) >= config.earliest:
                self.state = "dormant"
            elif self.resting >= config.cooling:
                self.state = "cooling"
        return self.state != before

    def wider(self) -> int:
        """How many times as far apart as at first validations are to be."""
        times: int = 2 ** (self.resting // self._config.cooling)
        return min(times, self._config.widest)

    def wake(self) -> None:
        """Count anew: something was changed."""
        self.resting, self.state = 0, "active"

    def go_back(self, count: int) -> None:
        """Only so many validations are on the run's line."""
        del self._scores[count:]
        self.wake()

    def in_words(self) -> str:
        """What the state rests on."""
        slope = self.slope
        chance = f"by chance with a probability of {slope.probability:.2g}"
        return f"{self.resting} validations without a rise; slope {slope.slope:+.3g} a validation, {chance}"
