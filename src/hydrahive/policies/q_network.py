"""Action values, and the way they explore."""

from __future__ import annotations

import torch
from gymnasium import spaces
from torch import Tensor, nn

from hydrahive.core.errors import ConfigError
from hydrahive.core.fragment import MASKED
from hydrahive.policies.config import PolicyConfig
from hydrahive.policies.distributions import Categorical
from hydrahive.policies.encoders import orthogonal
from hydrahive.policies.network import Network


class QNetwork(Network):
    """One value for each action.

    What exploration depends on besides the weights travels with them, in `exploration`: epsilon, and 1 where acting
    should make careful detours.
    """

    def __init__(
        self,
        config: PolicyConfig,
        observation_space: spaces.Space[object],
        action_space: spaces.Space[object],
        generator: torch.Generator,
        ladder: float,
    ) -> None:
        """Build the network.

        Args:
            config: As `Network`.
            observation_space: As `Network`.
            action_space: As `Network`.
            generator: As `Network`.
            ladder: How much less the last shard explores than the first: epsilon to the power of 1 + ladder.
        """
        super().__init__(config, observation_space, action_space, generator)
        if not isinstance(self.distribution, Categorical):
            raise ConfigError("env", str(action_space), "an environment with Discrete actions, which have values each")
        self.head: nn.Module = orthogonal(nn.Linear(self.out_features, self.distribution.parameters), 0.1, generator)
        self.exploration: Tensor
        self.register_buffer("exploration", torch.zeros(2))
        self._ladder = ladder

    def scores(self, features: Tensor) -> Tensor:
        """Action values, float32 under autocast too."""
        values: Tensor = self.head(features).float()
        return values

    def behaviour(self, scores: Tensor, rank: float) -> Tensor:
        """Log-probabilities of epsilon-greedy actions; the epsilons of the shards are those of Horgan et al. 2018."""
        epsilon = float(self.exploration[0]) ** (1 + self._ladder * rank)
        illegal = scores <= MASKED
        choices = (~illegal).sum(-1, keepdim=True) if illegal.any() else scores.shape[-1]
        probabilities = torch.full_like(scores, epsilon) / choices
        greedy = scores.argmax(-1, keepdim=True)
        probabilities.scatter_add_(-1, greedy, torch.full_like(scores[:, :1], 1 - epsilon))
        return probabilities.log_().masked_fill_(illegal, MASKED)

    @property
    def is_careful(self) -> bool:
        """Whether careful detours are to be made now."""
        return bool(self.exploration[1])
