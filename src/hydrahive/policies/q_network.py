"""Action values, and the way they explore."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from hydrahive.core.errors import ConfigError
from hydrahive.core.fragment import MASKED
from hydrahive.policies.agent import Agent, Carry, Noise, Seen
from hydrahive.policies.config import PolicyConfig
from hydrahive.policies.distributions import Categorical
from hydrahive.policies.encoders import orthogonal
from hydrahive.policies.exploration import DETOUR_COUNTS, Detours


class QNetwork(Agent):
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
        detours: Detours | None = None,
    ) -> None:
        """Build the network.

        Args:
            config: As `Agent`.
            observation_space: As `Agent`.
            action_space: As `Agent`.
            generator: As `Agent`.
            ladder: How much less the last shard explores than the first: epsilon to the power of 1 + ladder.
            detours: How careful ones are made; None for never.
        """
        super().__init__(config, observation_space, action_space, generator)
        if not isinstance(self.distribution, Categorical):
            raise ConfigError("env", str(action_space), "an environment with Discrete actions, which have values each")
        self.head: nn.Module = orthogonal(nn.Linear(self.out_features, self.distribution.parameters), 0.1, generator)
        self.exploration: Tensor
        self.register_buffer("exploration", torch.zeros(2))
        self._ladder, self._detours = ladder, detours

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

    def noise(self, generator: Callable[[str], np.random.Generator], steps: int, rows: int) -> Noise:
        """With what detours begin by."""
        noise = super().noise(generator, steps, rows)
        if self._detours is not None and self.is_careful:
            noise["detour"] = torch.from_numpy(generator("detour").random((steps, rows)))
        return noise

    def altered(
        self, behaviour: Tensor, scores: Tensor, seen: Seen, carry: Carry, noise: Noise
    ) -> tuple[Carry, np.ndarray]:
        """Make detours now and then; the steps that are left of them are carried."""
        if self._detours is None:
            return super().altered(behaviour, scores, seen, carry, noise)
        if "detour" not in noise:
            return {"detours": torch.zeros_like(carry["detours"])}, np.zeros(len(DETOUR_COUNTS), np.int64)
        assert seen.fatal is not None, "a config is refused whose environment does not tell"
        left, greedy = carry["detours"].clone(), scores.argmax(-1).numpy()
        draws = noise["detour"].numpy()
        counts = self._detours.apply(behaviour.numpy(), greedy, seen.fatal(), left.numpy(), draws)
        return {"detours": left}, counts

    @property
    def is_careful(self) -> bool:
        """Whether careful detours are to be made now."""
        return bool(self.exploration[1])
