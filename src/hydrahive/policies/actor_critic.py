"""A policy and a value function over shared features."""

from __future__ import annotations

import torch
from gymnasium import spaces
from torch import Tensor, nn

from hydrahive.policies.config import PolicyConfig
from hydrahive.policies.distributions import SquashedGaussian
from hydrahive.policies.encoders import orthogonal
from hydrahive.policies.network import Network

INITIAL_LOG_STD = -0.5
"""Before it is squashed; a wider Gaussian drives at full command most of the time."""


class ActorCritic(Network):
    """A policy, categorical or a squashed Gaussian, and a value function.

    The policy head starts at zero, so that the first policy is uniform (a Gaussian's: centred, with `INITIAL_LOG_STD`),
    and the value head near zero. A Gaussian's deviations are parameters of their own, the same in every state.
    """

    def __init__(
        self,
        config: PolicyConfig,
        observation_space: spaces.Space[object],
        action_space: spaces.Space[object],
        generator: torch.Generator,
    ) -> None:
        """Build the network; arguments and errors as `Network`."""
        super().__init__(config, observation_space, action_space, generator)
        size = self.distribution.parameters
        self.log_std: nn.Parameter | None = None
        if isinstance(self.distribution, SquashedGaussian):
            size //= 2
            self.log_std = nn.Parameter(torch.full((size,), INITIAL_LOG_STD))
        self.policy_head = orthogonal(nn.Linear(self.out_features, size), 0.0, generator)
        self.value_head = orthogonal(nn.Linear(self.out_features, 1), 0.1, generator)

    def scores(self, features: Tensor) -> Tensor:
        """Parameters of the policy: unnormalised log-probabilities, or means and log deviations; always float32."""
        said: Tensor = self.policy_head(features).float()
        if self.log_std is None:
            return said
        return torch.cat([said, self.log_std.expand_as(said)], dim=-1)

    def values(self, features: Tensor) -> Tensor:
        """Values `[...]` of features `[..., F]`, float32 under autocast too."""
        values: Tensor = self.value_head(features).squeeze(-1).float()
        return values
