"""A policy and a value function over shared features."""

from __future__ import annotations

import torch
from gymnasium import spaces
from torch import Tensor, nn

from hydrahive.policies.config import PolicyConfig
from hydrahive.policies.encoders import orthogonal
from hydrahive.policies.network import Network


class ActorCritic(Network):
    """A categorical policy and a value function.

    The policy head starts at zero, so that the first policy is uniform, and the value head near zero.
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
        self.policy_head = orthogonal(nn.Linear(self.out_features, self.num_actions), 0.0, generator)
        self.value_head = orthogonal(nn.Linear(self.out_features, 1), 0.1, generator)

    def scores(self, features: Tensor) -> Tensor:
        """Unnormalised log-probabilities of the actions, float32 under autocast too."""
        logits: Tensor = self.policy_head(features).float()
        return logits

    def values(self, features: Tensor) -> Tensor:
        """Values `[...]` of features `[..., F]`, float32 under autocast too."""
        values: Tensor = self.value_head(features).squeeze(-1).float()
        return values
