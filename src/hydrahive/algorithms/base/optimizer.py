"""The optimizer over a network's flat weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch.optim.adam import adam
from torch.optim.rmsprop import rmsprop

from hydrahive.core.errors import DivergedError
from hydrahive.core.state import State, nested, under
from hydrahive.policies.flat_weights import FlatWeights

BETA1, BETA2 = 0.9, 0.999
"""Adam's decay rates, as in the paper."""


@dataclass(frozen=True)
class OptimizerSettings:
    """Which optimizer, and its values.

    Attributes:
        kind: `adam` (Kingma and Ba 2015) or `rmsprop` (Hinton 2012).
        epsilon: Added to the denominator.
        gradient_norm: Longer gradients are scaled down to this Euclidean length.
        rmsprop_decay: Memory of rmsprop's squared gradients, per step.
    """

    kind: Literal["adam", "rmsprop"]
    epsilon: float
    gradient_norm: float
    rmsprop_decay: float = 0.99


class FlatOptimizer:
    """Clips the gradient of all weights together and takes a step of Adam or RMSprop.

    It calls torch's functional form: the first use of an `Optimizer` object imports torch's compiler, which takes
    more than a second and is not used.
    """

    def __init__(self, weights: FlatWeights, settings: OptimizerSettings) -> None:
        """Begin with moments of zero; the weights have gradients."""
        self._weights = weights
        self.set(settings)
        names = ("exp_avg", "exp_avg_sq") if settings.kind == "adam" else ("square_avg",)
        self._moments = {name: torch.zeros_like(weights.vector) for name in names}
        self.steps = 0
        """Gradient steps taken; torch counts them in float32, which ends at 2^24."""
        self._step = torch.tensor(0.0)
        # One pass over the weights instead of eight; a GPU would want the count of steps in its own memory for it.
        self._fused = weights.vector.device.type == "cpu"

    def set(self, settings: OptimizerSettings) -> None:
        """Take the next steps with these values; the kind and the moments stay."""
        self._settings = settings

    @torch.no_grad()
    def step(self, learning_rate: float) -> float:
        """Take one step along the accumulated gradient, empty it, and give its norm before it was clipped.

        Raises:
            DivergedError: If the gradient is not finite; the weights are left as they were.
        """
        gradient = self._weights.gradient
        norm = float(torch.linalg.vector_norm(gradient))
        if not norm < float("inf"):
            raise DivergedError(f"the gradient's norm is {norm} at gradient step {self.steps}")
        # g <- g min(1, c / |g|) (Pascanu et al. 2013, algorithm 1)
        limit = self._settings.gradient_norm
        if norm > limit:
            gradient.mul_(limit / norm)
        if self._settings.kind == "adam":
            self._adam(learning_rate)
        else:
            self._rmsprop(learning_rate)
        gradient.zero_()
        self.steps += 1
        return norm

    def state(self) -> State:
        """The moments as named arrays; the count of steps is kept by who counts gradient steps."""
        state: State = {}
        for name, moment in self._moments.items():
            state |= nested(f"optimizer/{name}", self._weights.named(moment))
        return state

    def restore(self, state: State, steps: int) -> None:
        """Continue from `state` after so many steps."""
        for name, moment in self._moments.items():
            self._weights.load_named(moment, under(f"optimizer/{name}", state))
        self.steps, self._step = steps, torch.tensor(float(steps))

    def _adam(self, learning_rate: float) -> None:
        # m <- b1 m + (1 - b1) g; v <- b2 v + (1 - b2) g^2; theta <- theta - a m^ / (sqrt(v^) + eps), with
        # m^ = m / (1 - b1^t) and v^ = v / (1 - b2^t) (Kingma and Ba 2015, algorithm 1)
        adam(
            [self._weights.vector],
            [self._weights.gradient],
            [self._moments["exp_avg"]],
            [self._moments["exp_avg_sq"]],
            [],
            [self._step],
            foreach=False,
            fused=self._fused,
            amsgrad=False,
            beta1=BETA1,
            beta2=BETA2,
            lr=learning_rate,
            weight_decay=0.0,
            eps=self._settings.epsilon,
            maximize=False,
        )

    def _rmsprop(self, learning_rate: float) -> None:
        # v <- d v + (1 - d) g^2; theta <- theta - a g / (sqrt(v) + eps) (Hinton 2012, lecture 6e)
        rmsprop(
            [self._weights.vector],
            [self._weights.gradient],
            [self._moments["square_avg"]],
            [],
            [],
            [self._step],
            foreach=False,
            lr=learning_rate,
            alpha=self._settings.rmsprop_decay,
            eps=self._settings.epsilon,
            weight_decay=0.0,
            momentum=0.0,
            centered=False,
        )
