"""A policy and a value function over shared features."""

from __future__ import annotations

import torch
from gymnasium import spaces
from torch import Tensor, nn

from hydrahive.policies.agent import Agent
from hydrahive.policies.config import PolicyConfig
from hydrahive.policies.encoders import orthogonal

INITIAL_LOG_STD = -0.5
"""Before it is squashed; a wider Gaussian drives at full command most of the time."""


class ActorCritic(Agent):
    """A policy, categorical, Gaussian or both, and a value function.

    The policy head starts at zero, so that the first policy is uniform (a Gaussian's: centred, with `INITIAL_LOG_STD`),
    and the value head near zero. A Gaussian's deviations are parameters of their own, the same in every state. Groups
    of agents that have an encoder each share nothing.
    """

    def __init__(
        self,
        config: PolicyConfig,
        observation_space: spaces.Space[object],
        action_space: spaces.Space[object],
        generator: torch.Generator,
    ) -> None:
        """Build the network; arguments and errors as `Agent`."""
        super().__init__(config, observation_space, action_space, generator)
        size = self.distribution.parameters
        self._groups: int = getattr(self.encoder, "groups", 0)
        self.log_std: nn.Parameter | None = None
        if deviations := self.distribution.deviations:
            size -= deviations
            shape = (self._groups, deviations) if self._groups else (deviations,)
            self.log_std = nn.Parameter(torch.full(shape, INITIAL_LOG_STD))
        shared = not self._groups  # a bias, which groups have among their features
        self.policy_head = orthogonal(nn.Linear(self.out_features, size, bias=shared), 0.0, generator)
        self.value_head = orthogonal(nn.Linear(self.out_features, 1, bias=shared), 0.1, generator)

    def scores(self, features: Tensor) -> Tensor:
        """Parameters of the policy: unnormalised log-probabilities, or means and log deviations; always float32."""
        said: Tensor = self.policy_head(features).float()
        if self.log_std is None:
            return said
        if self._groups:
            return torch.cat([said, features[..., -self._groups :].float() @ self.log_std], dim=-1)
        return torch.cat([said, self.log_std.expand(*said.shape[:-1], -1)], dim=-1)

    def values(self, features: Tensor) -> Tensor:
        """Values `[...]` of features `[..., F]`, float32 under autocast too."""
        values: Tensor = self.value_head(features).squeeze(-1).float()
        return values
