"""What becomes of a run that has come to rest: it ends, is pruned, or is forked with other values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from hydrahive.core.streams import stream
from hydrahive.pilot.config import Dormant
from hydrahive.pilot.seen import Validation
from hydrahive.pilot.space import Range
from hydrahive.pilot.trend import slope_of

TINY = 1e-12


class Verdict(NamedTuple):
    """What is done, and why."""

    does: Literal["stop", "prune", "spawn", "go_on"]
    why: str


def verdict_on(validations: Sequence[Validation], config: Dormant) -> Verdict:
    """The rule: what does not carry over is pruned, what has nothing more to learn as it is gives rise to a fork."""
    if config.does != "decide":
        return Verdict(config.does, "as the config says")
    recent = validations[-config.window :]
    if len(recent) < 3:
        return Verdict("go_on", f"{len(recent)} validations say nothing")
    means = np.array([one.mean for one in recent])
    # Scores around 0 are as large as they go up and down; where nothing was ever scored, nothing is large.
    size = max(abs(float(means.mean())), float(means.std()), max(one.error for one in recent))
    size = size if size > TINY else math.inf
    gaps = np.array([one.gap for one in recent]) / size
    gap, growth = float(gaps.mean()), slope_of(gaps).slope
    slope = slope_of(means).slope / size
    if gap > config.gap:
        return Verdict("prune", f"training scores {gap:.0%} more than validation")
    if growth > config.gap_slope:
        return Verdict("prune", f"what training scores above validation grows by {growth:.1%} a validation")
    if slope < config.slope:
        return Verdict("spawn", f"validation scores grow by {slope:.1%} a validation, and do carry over")
    return Verdict("go_on", f"validation scores grow by {slope:.1%} a validation")


def forked(
    values: Mapping[str, Any], ranges: Mapping[str, Range], perturbed: float, seed: int, number: int
) -> dict[str, Any]:
    """A fork's values: the run's, each moved by a normal deviate of its range.

    Args:
        values: By key.
        ranges: Of the keys that are moved.
        perturbed: Standard deviation, of a range.
        seed: Of whoever forks.
        number: The fork's.
    """
    moved = {}
    for place, key in enumerate(sorted(ranges)):
        random = stream(seed, "pilot-fork", number, place)
        at = ranges[key].place_of(values[key]) + perturbed * float(random.standard_normal())
        moved[key] = ranges[key].value_at(min(max(at, 0.0), 1.0))
    return moved
