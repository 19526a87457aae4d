"""Population-based training's decisions: who copies whom, and with what values; functions of scores and a seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hydrahive.core.streams import stream
from hydrahive.pilot.space import Domain
from hydrahive.tuning.config import Pbt


def ranked(scores: Mapping[int, float | None], *, most_is_best: bool) -> list[int]:
    """Trials from the best to the worst: of equals the lower number first, and last those without a score."""
    sign = -1.0 if most_is_best else 1.0
    worst = float("inf")

    def place(number: int) -> tuple[float, int]:
        score = scores[number]
        return (worst if score is None else sign * score, number)

    return sorted(scores, key=place)


def donors(
    config: Pbt, seed: int, milestone: int, scores: Mapping[int, float | None], *, most_is_best: bool
) -> dict[int, int]:
    """For each trial that is replaced the one that it copies, which has a score."""
    order = ranked(scores, most_is_best=most_is_best)
    count = min(max(1, int(len(order) * config.quantile)), len(order) // 2)
    best, worst = [trial for trial in order[:count] if scores[trial] is not None], order[len(order) - count :]
    if not best:
        return {}
    return {trial: best[int(stream(seed, "donor", milestone, trial).integers(len(best)))] for trial in sorted(worst)}


def explored(
    config: Pbt,
    seed: int,
    milestone: int,
    trial: int,
    values: Mapping[str, Any],
    domains: Mapping[str, Domain],
    accepts: Callable[[Mapping[str, Any]], bool] = lambda _: True,
) -> dict[str, Any]:
    """A donor's values, moved; where they do not go together, only those that do, in the keys' order.

    Args:
        config: How values are moved.
        seed: Of the sweep.
        milestone: Where it is done.
        trial: Who gets them.
        values: The donor's, which go together.
        domains: Of the keys.
        accepts: Whether values go together.
    """
    moved = {}
    for place, key in enumerate(sorted(domains)):
        random: np.random.Generator = stream(seed, "explore", milestone, trial, place)
        if random.random() < config.resample:
            moved[key] = domains[key].drawn(random)
        else:
            moved[key] = domains[key].neighbour(values[key], random, (config.factors[0], config.factors[1]))
    if accepts(moved):
        return moved
    kept = dict(values)
    for key, value in moved.items():
        if accepts({**kept, key: value}):
            kept[key] = value
    return kept
