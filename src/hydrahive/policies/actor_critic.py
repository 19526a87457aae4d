"""The agent's network: one encoder, a policy head and a value head."""

from __future__ import annotations

import torch
from gymnasium import spaces
from torch import Tensor, nn

from hydrahive.core.errors import ConfigError
from hydrahive.policies.config import PolicyConfig
from hydrahive.policies.encoders import orthogonal


class ActorCritic(nn.Module):
    """A categorical policy and a value function over shared features.

    The policy head starts at zero, so that the first policy is uniform, and the value head near zero.
    """

    def __init__(
        self,
        config: PolicyConfig,
        observation_space: spaces.Space[object],
        action_space: spaces.Space[object],
        generator: torch.Generator,
    ) -> None:
        """Build the network.

        Args:
            config: Which encoder.
            observation_space: Of one environment.
            action_space: Of one environment; Discrete.
            generator: Draws the initial weights.

        Raises:
            ConfigError: If the spaces do not fit.
        """
        super().__init__()
        if not isinstance(action_space, spaces.Discrete) or action_space.start != 0:
            raise ConfigError("env", str(action_space), "an environment with Discrete actions that start at 0")
        self.num_actions = int(action_space.n)
        self.encoder = config.encoder.build(observation_space, generator)
        features = self.encoder.out_features
        self.policy_head = orthogonal(nn.Linear(features, self.num_actions), 0.0, generator)
        self.value_head = orthogonal(nn.Linear(features, 1), 0.1, generator)

    def logits(self, observations: Tensor) -> Tensor:
        """Unnormalised log-probabilities of the actions: `[N, ...]` to `[N, A]`."""
        logits: Tensor = self.policy_head(self.encoder(observations))
        return logits

    def forward(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Logits `[N, A]` and values `[N]` of a batch of observations, float32 under autocast too."""
        features = self.encoder(observations)
        return self.policy_head(features).float(), self.value_head(features).squeeze(-1).float()

    def values(self, observations: Tensor) -> Tensor:
        """Values `[N]` of a batch of observations."""
        values: Tensor = self.value_head(self.encoder(observations)).squeeze(-1).float()
        return values
