"""Careful exploration: short detours that never pick a fatal action."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DETOUR_COUNTS = ("calls", "begun", "fatal_greedy", "overridden", "no_safe_other")
"""What is counted: actions looked at, detours begun, and on detours: greedy actions that were fatal, actions that were
replaced by another safe one, and moments without another safe one."""


@dataclass(frozen=True)
class Detours:
    """How detours are made.

    Attributes:
        probability: That a detour begins, at each step that is on none.
        steps: Its length, in env steps.
    """

    probability: float
    steps: int

    def apply(
        self, behaviour: np.ndarray, greedy: np.ndarray, fatal: np.ndarray, left: np.ndarray, draws: np.ndarray
    ) -> np.ndarray:
        """Make the distribution of those who are on a detour uniform over their other safe actions.

        Who has no other safe action keeps the greedy one.

        Args:
            behaviour: `[N, A]` log-probabilities, changed in place.
            greedy: `[N]`, the greedy actions.
            fatal: `[N, A]` bool, the actions that would end the episode badly.
            left: `[N]` int64, steps left of each one's detour, changed in place.
            draws: `[N]`, uniform in [0, 1).

        Returns:
            The counts of `DETOUR_COUNTS`, int64.
        """
        rows = np.arange(len(greedy))
        begin = (left == 0) & (draws < self.probability)
        left[begin] = self.steps
        on_detour = left > 0
        left[on_detour] -= 1
        others = ~fatal
        others[rows, greedy] = False
        choices = others.sum(axis=1)
        replaced = on_detour & (choices > 0)
        with np.errstate(divide="ignore"):
            behaviour[replaced] = np.log(others[replaced] / choices[replaced, None], dtype=np.float32)
        stuck = on_detour & (choices == 0)
        fatal_greedy = on_detour & fatal[rows, greedy]
        counts = [len(greedy), begin.sum(), fatal_greedy.sum(), replaced.sum(), stuck.sum()]
        return np.array(counts, np.int64)
