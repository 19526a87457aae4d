"""The learning rules' settings; torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from hydrahive.core.config import AlgorithmConfig, require_number
from hydrahive.core.schedules import Linear, bounds


@dataclass(frozen=True)
class VTrace(AlgorithmConfig):
    """V-trace actor-critic (Espeholt et al. 2018, IMPALA).

    Attributes:
        learning_rate: Step size of the optimizer; a number or a line over env steps.
        discount: Weight of a reward one step later, 0 to 1.
        rho_clip: Largest importance weight in the temporal differences and the policy gradient (rho-bar).
        c_clip: Largest importance weight in the traces (c-bar); at most `rho_clip`.
        trace_decay: Multiplies the traces (lambda), 0 to 1; below 1 it trades variance for bias.
        entropy_cost: Weight of the entropy bonus, per nat; a number or a line over env steps.
        value_cost: Weight of the squared value error.
        gradient_norm: Longer gradients are scaled down to this Euclidean length.
        optimizer: `adam` (Kingma and Ba 2015) or `rmsprop` (Hinton 2012).
        optimizer_epsilon: Added to the optimizer's denominator.
        rmsprop_decay: Memory of rmsprop's squared gradients, per gradient step.
    """

    learning_rate: float | Linear = 1e-3
    discount: float = 0.99
    rho_clip: float = 1.0
    c_clip: float = 1.0
    trace_decay: float = 0.95
    entropy_cost: float | Linear = 0.01
    value_cost: float = 0.5
    gradient_norm: float = 0.5
    optimizer: Literal["adam", "rmsprop"] = "adam"
    optimizer_epsilon: float = 1e-5
    rmsprop_decay: float = 0.99

    def __post_init__(self) -> None:
        """Refuse values outside their mathematical range."""
        for key in ("learning_rate", "entropy_cost"):
            for value in bounds(getattr(self, key)):
                require_number(key, value, 0)
        require_number("discount", self.discount, 0, 1)
        require_number("rho_clip", self.rho_clip, 0, above=True)
        require_number("c_clip", self.c_clip, 0, self.rho_clip)
        require_number("trace_decay", self.trace_decay, 0, 1)
        require_number("value_cost", self.value_cost, 0)
        require_number("gradient_norm", self.gradient_norm, 0, above=True)
        require_number("optimizer_epsilon", self.optimizer_epsilon, 0, above=True)
        require_number("rmsprop_decay", self.rmsprop_decay, 0, 1)

    def build(self, policy: Any) -> Any:
        """A `hydrahive.algorithms.vtrace.VTraceUpdate` over `policy`."""
        from hydrahive.algorithms.vtrace import VTraceUpdate

        return VTraceUpdate(self, policy)
