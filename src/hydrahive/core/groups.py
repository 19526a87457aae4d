"""Observations of agents that belong to unlike groups, laid out alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from gymnasium import spaces


class GroupedBox(spaces.Box):
    """Rows that begin with what an agent sees, zeros up to the widest group's, and end with its group's one-hot.

    Attributes:
        widths: Numbers that each group's agents see.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        """For groups whose agents see so many numbers each."""
        self.widths = tuple(widths)
        super().__init__(-np.inf, np.inf, (max(widths) + len(widths),), np.float32)

    def laid_out(self, seen: np.ndarray, group: int) -> np.ndarray:
        """The row, float32 `[F]`, of what an agent of a group sees, `[widths[group]]`."""
        row = np.zeros(self.shape, np.float32)
        row[: self.widths[group]] = seen.ravel()
        row[max(self.widths) + group] = 1.0
        return row
