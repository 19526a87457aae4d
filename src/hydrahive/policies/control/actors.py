"""Actors of continuous control: with deviations of their own in every state, or with none."""

from __future__ import annotations

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from hydrahive.core.errors import ConfigError
from hydrahive.core.laid_out import normalised_space, seen_of
from hydrahive.policies.agent import Acted, Agent, Carry, Noise, Seen
from hydrahive.policies.config import PolicyConfig
from hydrahive.policies.control.critics import Critics
from hydrahive.policies.distributions import Categorical
from hydrahive.policies.encoders import orthogonal
from hydrahive.policies.gaussian import Gaussian

FIRST_GAIN = 0.01
"""Of the head's initial weights: the first actions lie around the middle of their range."""

EDGE = 1 - 1e-6
"""Actions are kept this far within -1 and 1, where their inverse still is a number."""


class Judged(Agent):
    """An actor whose actions critics judge, which only the learner has.

    Attributes:
        is_discrete: Whether it chooses one of several actions.
        action_width: Numbers of an action that critics read; 0 where they say a value for each.
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
        self.is_discrete = isinstance(self.distribution, Categorical)
        if not (self.is_discrete or isinstance(self.distribution, Gaussian)):
            raise ConfigError("env", str(action_space), "an environment with Box or Discrete actions")
        if isinstance(action_space, spaces.Box) and not action_space.is_bounded():
            accepted = "an environment whose Box actions are bounded: critics judge actions between -1 and 1"
            raise ConfigError("env", str(action_space), accepted)
        self.action_width = 0 if self.is_discrete else self.distribution.action_shape[0]
        self._encoder_config = config.encoder
        self._seen_space = observation_space
        if config.normalize and isinstance(observation_space, spaces.Box):
            self._seen_space = normalised_space(observation_space)
        self._critics_seed = int(torch.randint(2**62, (1,), generator=generator))

    def critics(self, n: int, atoms: int = 1, *, layer_norm: bool = False, dropout: float = 0.0) -> Critics:
        """Critics of what it sees and does, `atoms` numbers of each action; always the same initial weights."""
        outputs = atoms * (self.distribution.parameters if self.is_discrete else 1)
        generator = torch.Generator().manual_seed(self._critics_seed)
        return Critics(
            self._encoder_config, seen_of(self._seen_space), self.action_width, outputs, n, generator,
            layer_norm=layer_norm, dropout=dropout,
        )  # fmt: skip


class SoftActor(Judged):
    """A squashed Gaussian whose means and deviations are functions of what is seen, or a choice among actions."""

    def __init__(
        self,
        config: PolicyConfig,
        observation_space: spaces.Space[object],
        action_space: spaces.Space[object],
        generator: torch.Generator,
    ) -> None:
        """Build the network; arguments and errors as `Agent`."""
        super().__init__(config, observation_space, action_space, generator)
        self.head = orthogonal(nn.Linear(self.out_features, self.distribution.parameters), FIRST_GAIN, generator)

    def scores(self, features: Tensor) -> Tensor:
        """Parameters of the distribution, float32."""
        said: Tensor = self.head(features).float()
        return said


class DeterministicActor(Judged):
    """One action in every state, and Gaussian noise around it in training: a = clip(mu(s) + sigma e)."""

    def __init__(
        self,
        config: PolicyConfig,
        observation_space: spaces.Space[object],
        action_space: spaces.Space[object],
        generator: torch.Generator,
        sigma: float,
        correlation: float,
    ) -> None:
        """Build the network.

        Args:
            config: As `Agent`.
            observation_space: As `Agent`.
            action_space: As `Agent`.
            generator: As `Agent`.
            sigma: Deviation of the noise, of actions between -1 and 1.
            correlation: How much of a step's noise is left in the next (Ornstein and Uhlenbeck); 0 for none.

        Raises:
            ConfigError: As `Agent`, and if actions are not real numbers.
        """
        super().__init__(config, observation_space, action_space, generator)
        if self.is_discrete:
            raise ConfigError(
                "env", str(action_space), "an environment with Box actions (SAC takes Discrete ones, too)"
            )
        self.head = orthogonal(nn.Linear(self.out_features, self.action_width), FIRST_GAIN, generator)
        self._sigma, self._correlation = sigma, correlation

    def scores(self, features: Tensor) -> Tensor:
        """Means, and the noise's deviation where the action is in the middle of its range; float32."""
        mean: Tensor = self.head(features).float()
        return torch.cat([mean, torch.full_like(mean, float(np.log(max(self._sigma, 1e-8))))], dim=-1)

    def act(self, seen: Seen, carry: Carry, noise: Noise, rank: float) -> Acted:
        """Take a step in training, with noise around the action."""
        acted = super().act(seen, carry, noise, rank)
        before = carry.get("noise")
        drawn = noise["act"]
        # x' = c x + sqrt(1 - c^2) e has the deviation of e, however long it wanders
        wander = drawn if before is None else self._correlation * before + (1 - self._correlation**2) ** 0.5 * drawn
        action = self.distribution.mode(acted.behaviour).tanh() + self._sigma * wander
        u = torch.atanh(action.clamp(-EDGE, EDGE))
        kept = {} if before is None else {"noise": wander}
        return Acted(u, acted.behaviour, {**acted.carry, **kept}, acted.counts)
