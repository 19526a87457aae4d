"""RLlib's results under our names."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

OURS: dict[str, str] = {
    "total_loss": "loss",
    "policy_loss": "policy_loss",
    "vf_loss": "value_loss",
    "qf_loss": "q_loss",
    "qf_mean": "q_mean",
    "critic_loss": "q_loss",
    "entropy": "entropy",
    "mean_kl_loss": "kl",
    "alpha_value": "alpha",
    "default_optimizer_learning_rate": "learning_rate",
    "gradients_default_optimizer_global_norm": "gradient_norm",
    "weights_seq_no": "gradient_steps",
}
"""What RLlib calls figures of a module that our rows have, too."""

PREFIX = "rllib"
"""Before RLlib's own names."""

NOT_TOLD = ("config", "timers", "perf", "hydrahive")
"""Parts of its results that rows leave out."""


def figures_of(results: Mapping[str, Any], module: str) -> dict[str, float]:
    """All numbers of an iteration's results: under our names where there are any, and under RLlib's."""
    own = dict(_flat({name: part for name, part in results.items() if name not in NOT_TOLD}, PREFIX))
    learned = results.get("learners", {}).get(module, {})
    figures = {ours: float(learned[name]) for name, ours in OURS.items() if _is_number(learned.get(name))}
    figures.setdefault("gradient_steps", 0.0)
    return {**figures, **own}


def _flat(part: Any, place: str) -> Iterator[tuple[str, float]]:
    if isinstance(part, Mapping):
        for name, below in part.items():
            if not str(name).startswith("connector_pipeline_timer") and name not in NOT_TOLD:
                yield from _flat(below, f"{place}/{name}")
    elif _is_number(part):
        yield place, float(part)


def _is_number(value: Any) -> bool:
    try:
        return not isinstance(value, bool | str) and math.isfinite(float(value))
    except (TypeError, ValueError):
        return False
