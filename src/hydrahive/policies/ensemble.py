"""Several policies of one environment as one: what they would do is averaged, each by its weight."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hydrahive.core.errors import UsageError
from hydrahive.policies.agent import Agent
from hydrahive.policies.distributions import Categorical, MultiCategorical
from hydrahive.policies.gaussian import Distribution, Gaussian


class Mixture(Distribution):
    """The mean of several policies' distributions, whose parameters stand side by side, `[N, M P]`.

    Of choices, probabilities are averaged; of numbers, means, and what is drawn with the same noise.
    """

    def __init__(self, members: Sequence[Agent], weights: Sequence[float]) -> None:
        """Of policies that act in one space.

        Raises:
            UsageError: If their actions are neither choices nor numbers alone, or not alike.
        """
        self._members, self._one = members, members[0].distribution
        self._weights = [weight / sum(weights) for weight in weights]
        kinds = {(type(one.distribution), one.distribution.parameters) for one in members}
        if len(kinds) > 1 or not isinstance(self._one, Categorical | MultiCategorical | Gaussian):
            raise UsageError("--ensemble: the runs' actions cannot be averaged; expected one space of all of them")
        self.parameters = len(members) * self._one.parameters
        self.choices, self.deviations = self._one.choices, self._one.deviations
        self.action_shape, self.action_dtype = self._one.action_shape, self._one.action_dtype

    def _parts(self, parameters: Tensor) -> list[Tensor]:
        return list(parameters.chunk(len(self._members), dim=-1))

    def _mixed(self, parameters: Tensor) -> Tensor:
        """Log-probabilities of choices: log sum_i w_i p_i."""
        drawn_from = zip(self._members, self._parts(parameters), strict=True)
        normal = [self._one.normal(member.behaviour(part, 1.0)) for member, part in drawn_from]
        probabilities = [weight * one.exp() for weight, one in zip(self._weights, normal, strict=True)]
        return torch.stack(probabilities).sum(0).log()

    def _mean(self, actions: list[Tensor]) -> Tensor:
        return torch.stack([weight * one for weight, one in zip(self._weights, actions, strict=True)]).sum(0)

    def noise(self, generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """As one of them."""
        return self._one.noise(generator, shape)

    def drawn(self, parameters: Tensor, noise: Tensor) -> Tensor:
        """Actions."""
        if isinstance(self._one, Gaussian):
            return self._mean([self._one.drawn(part, noise) for part in self._parts(parameters)])
        return self._one.drawn(self._mixed(parameters), noise)

    def mode(self, parameters: Tensor) -> Tensor:
        """The likeliest choices, or the mean of the means."""
        if isinstance(self._one, Gaussian):
            return self._mean([self._one.mode(part) for part in self._parts(parameters)])
        return self._one.mode(self._mixed(parameters))

    def masked(self, parameters: Tensor, legal: Tensor) -> Tensor:
        """Each one's parameters with only the legal actions left."""
        return torch.cat([self._one.masked(part, legal) for part in self._parts(parameters)], dim=-1)

    def takes(self, actions: np.ndarray) -> bool:
        """As one of them."""
        return self._one.takes(actions)

    def for_env(self, actions: np.ndarray) -> np.ndarray:
        """As one of them."""
        return self._one.for_env(actions)


class Ensemble(nn.Module):
    """Acts as several agents' mean does; has an agent's face as far as whoever plays needs it."""

    def __init__(self, members: Sequence[Agent], weights: Sequence[float]) -> None:
        """Of agents that see and do the same; errors as `Mixture`."""
        super().__init__()
        self.members = nn.ModuleList(members)
        self._of = members
        self.distribution = Mixture(members, weights)
        self._sizes = [one.memory_size for one in members]
        self.memory_size = sum(self._sizes)

    def behaviour(self, scores: Tensor, rank: float) -> Tensor:
        """Each one's is its own, and taken where they are mixed."""
        return scores

    def step(self, observations: Any, memory: Tensor) -> tuple[Tensor, Tensor]:
        """One step of all of them: their scores and memories side by side."""
        kept = torch.split(memory, self._sizes, dim=-1)
        done = [one.step(observations, part) for one, part in zip(self._of, kept, strict=True)]
        return torch.cat([scores for scores, _ in done], dim=-1), torch.cat([after for _, after in done], dim=-1)


Playing = Agent | Ensemble
"""Whoever plays: one policy, or several as one."""
