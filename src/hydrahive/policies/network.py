"""What all networks that act share: an encoder, and a memory between steps."""

from __future__ import annotations

import torch
from gymnasium import spaces
from torch import Tensor, nn

from hydrahive.core.config import CoreConfig
from hydrahive.core.errors import ConfigError
from hydrahive.policies.config import PolicyConfig
from hydrahive.policies.cores import RecurrentCore


class Network(nn.Module):
    """Features of observations and of what was seen before them; heads over them come with the kind of network.

    Attributes:
        num_actions: Actions to choose from.
        memory_size: Numbers of memory for each environment; 0 without a core.
    """

    def __init__(
        self,
        config: PolicyConfig,
        observation_space: spaces.Space[object],
        action_space: spaces.Space[object],
        generator: torch.Generator,
    ) -> None:
        """Build encoder and core.

        Args:
            config: Which encoder and core.
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
        self.core: RecurrentCore | None = None
        self.out_features: int = self.encoder.out_features
        if isinstance(config.core, CoreConfig):
            core: RecurrentCore = config.core.build(self.out_features, generator)
            self.core, self.out_features = core, core.out_features
        self.memory_size = self.core.memory_size if self.core else 0

    def scores(self, features: Tensor) -> Tensor:
        """What each action is worth taking, `[N, F]` to `[N, A]`: the greedy action has the highest score."""
        raise NotImplementedError

    def behaviour(self, scores: Tensor, rank: float) -> Tensor:
        """Unnormalised log-probabilities `[N, A]` of the distribution that actions are drawn from.

        Args:
            scores: As `scores` gives them.
            rank: 0 for the first shard to 1 for the last, where shards explore differently.
        """
        return scores

    def step(self, observations: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """One step of acting: scores `[N, A]` and the memory `[N, M]` after it."""
        features = self.encoder(observations)
        if self.core is not None:
            outputs, memory = self.core(features.unsqueeze(0), memory)
            features = outputs[0]
        return self.scores(features), memory
