"""A policy for what each agent sees, and a value function of what all agents of its world see."""

from __future__ import annotations

import math
from typing import cast

import torch
from gymnasium import spaces
from torch import Tensor, nn

from hydrahive.core.errors import ConfigError
from hydrahive.core.laid_out import StatedBox, normalised_space
from hydrahive.policies.actor_critic import ActorCritic
from hydrahive.policies.config import PerGroup, PolicyConfig
from hydrahive.policies.encoders import orthogonal


class CentralActorCritic(ActorCritic):
    """An actor-critic whose critic has an encoder of its own, of all agents' observations (Yu et al. 2022, MAPPO).

    Where worlds say of themselves how they stand, it reads that beside the observation of the agent whose value is
    asked (their "agent-specific global state"). Either way it is told by a one-hot row which agent that is. It acts
    like any other: the critic is for learning only.
    """

    judges_states = True

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
        self.reads_state = isinstance(observation_space, StatedBox)
        judged = spaces.Box(-math.inf, math.inf, (group * observation_space.shape[0] + group,))
        if isinstance(observation_space, StatedBox):
            shown = normalised_space(observation_space) if config.normalize else observation_space
            judged = cast(StatedBox, shown).judged(group)
        self.critic = encoder.build(judged, generator)
        self.central_head = orthogonal(nn.Linear(self.critic.out_features, 1), 0.1, generator)

    def joint(self, observations: Tensor) -> Tensor:
        """What the critic sees for each of observations `[..., B, F]`: `[..., B, group * F + group]`.

        Of a world's own state, which is part of each observation, `[..., B, F + group]`.
        """
        *outer, columns, width = observations.shape
        seen = self.normalised(observations)
        mine = torch.eye(self.group, device=observations.device).repeat(columns // self.group, 1)
        if not self.reads_state:
            worlds = seen.reshape(*outer, columns // self.group, self.group * width)
            seen = worlds.repeat_interleave(self.group, dim=-2)
        return torch.cat([seen, mine.expand(*outer, columns, self.group)], dim=-1)

    def central_values(self, joint: Tensor) -> Tensor:
        """Values `[...]` of what the critic sees, `[..., J]`; float32 under autocast too."""
        values: Tensor = self.central_head(self.critic(joint.reshape(-1, joint.shape[-1]))).squeeze(-1).float()
        return values.view(joint.shape[:-1])
