"""Why a run may have diverged: numbers that no network computes with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hydrahive.core.fragment import Fragment
from hydrahive.runtime.config.run_config import RunConfig

LARGE = 1e4
"""Beyond this, numbers are worth naming where something has become infinite."""


def because_of(fragments: Sequence[Fragment], config: RunConfig) -> str:
    """What in a round is large enough to explain that its loss, gradient, or policy is not finite; empty if nothing."""
    said = []
    seen, paid = (max(_largest(getattr(fragment, of)) for fragment in fragments) for of in ("observations", "rewards"))
    if seen > LARGE and not config.policy.normalize:
        said.append(f"; observations were as large as {seen:.3g}: policy.normalize: true scales them")
    if paid > LARGE:
        scaled = getattr(config.algorithm, "normalize_rewards", None) is False
        key = ": algorithm.normalize_rewards: true scales them" if scaled else ""
        said.append(f"; rewards were as large as {paid:.3g}{key}")
    return "".join(said)


def _largest(array: np.ndarray) -> float:
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f" or not array.size:
        return 0.0
    largest = float(max(abs(array.min()), abs(array.max())))
    return largest if np.isfinite(largest) else 0.0
