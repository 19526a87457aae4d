"""A policy for what each agent sees, and a value function of what all agents of its world see."""

from __future__ import annotations

import math

import torch
from gymnasium import spaces
from torch import Tensor, nn

from hydrahive.core.errors import ConfigError
from hydrahive.policies.actor_critic import ActorCritic
from hydrahive.policies.config import PerGroup, PolicyConfig
from hydrahive.policies.encoders import orthogonal


class CentralActorCritic(ActorCritic):
    """An actor-critic whose critic has an encoder of its own, of all agents' observations (Yu et al. 2022, MAPPO).

    Besides, it is told by a one-hot row whose value is asked. It acts like any other: the critic is for learning only.
    """

    def __init__(
        self,
        config: PolicyConfig,
        observation_space: spaces.Space[object],
        action_space: spaces.Space[object],
        generator: torch.Generator,
        group: int,
    ) -> None:
        """Build the network.

        Args:
            config: As `ActorCritic`.
            observation_space: As `ActorCritic`; of one agent.
            action_space: As `ActorCritic`.
            generator: As `ActorCritic`.
            group: Agents of a world.

        Raises:
            ConfigError: If there is one only, or agents do not see numbers in a row.
        """
        super().__init__(config, observation_space, action_space, generator)
        if group < 2:
            raise ConfigError("algorithm.central_critic", True, "false, where a world has one agent")
        if not isinstance(observation_space, spaces.Box) or len(observation_space.shape) != 1:
            raise ConfigError("algorithm.central_critic", True, f"false, for observations {observation_space}")
        self.group = group
        encoder = config.encoder.encoder if isinstance(config.encoder, PerGroup) else config.encoder
        width = group * observation_space.shape[0] + group
        self.critic = encoder.build(spaces.Box(-math.inf, math.inf, (width,)), generator)
        self.central_head = orthogonal(nn.Linear(self.critic.out_features, 1), 0.1, generator)

    def joint(self, observations: Tensor) -> Tensor:
        """What the critic sees for each of observations `[..., B, F]`: `[..., B, group * F + group]`."""
        *outer, columns, width = observations.shape
        worlds = self.normalised(observations).reshape(*outer, columns // self.group, self.group * width)
        mine = torch.eye(self.group, device=observations.device).repeat(columns // self.group, 1)
        seen = worlds.repeat_interleave(self.group, dim=-2)
        return torch.cat([seen, mine.expand(*outer, columns, self.group)], dim=-1)

    def central_values(self, joint: Tensor) -> Tensor:
        """Values `[...]` of what the critic sees, `[..., J]`; float32 under autocast too."""
        values: Tensor = self.central_head(self.critic(joint.reshape(-1, joint.shape[-1]))).squeeze(-1).float()
        return values.view(joint.shape[:-1])
