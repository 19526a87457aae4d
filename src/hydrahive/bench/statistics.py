"""Medians of alternated windows, and how sure a ratio of them is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hydrahive.core.streams import stream

BOOTSTRAP_SAMPLES = 10_000


def ratio_interval(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """The median of the pairs' ratios with its 95% bootstrap interval.

    Args:
        ours: Speeds of our windows.
        theirs: Speeds of the windows run in turn with them, as many.
    """
    ratios = np.asarray(ours) / np.asarray(theirs)
    picks = stream(0, "bench", len(ratios)).integers(0, len(ratios), (BOOTSTRAP_SAMPLES, len(ratios)))
    low, high = np.percentile(np.median(ratios[picks], axis=1), [2.5, 97.5])
    return {"ratio": float(np.median(ratios)), "ratio_low": float(low), "ratio_high": float(high)}
