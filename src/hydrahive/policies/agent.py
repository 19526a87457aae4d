"""What acts: an encoder, a memory between steps, and how actions are drawn; heads come with the kind of agent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from hydrahive.core.config import CoreConfig
from hydrahive.core.errors import ConfigError
from hydrahive.core.laid_out import StatedBox, names_among, normalised_space, seen_of
from hydrahive.core.machine import gains_by_bfloat16
from hydrahive.policies.config import PolicyConfig
from hydrahive.policies.cores import RecurrentCore
from hydrahive.policies.distributions import distribution_of

CLAMP = 10.0
"""Standard deviations beyond which a normalised observation says no more."""


class Seen(NamedTuple):
    """What an agent acts on, of `N` environments.

    Attributes:
        observations: `[N, ...]`, raw, in memory of torch's own.
        legal: `[N, choices]` bool, which actions are legal; None where all always are.
        fatal: Tells which actions would end the episode badly, `[N, A]` bool; None where nobody does.
    """

    observations: Tensor
    legal: np.ndarray | None = None
    fatal: Callable[[], np.ndarray] | None = None


Carry = dict[str, Tensor]
"""What an agent keeps for each environment from step to step, `[N, ...]` each; zero at an episode's first step."""

Noise = dict[str, Tensor]
"""What actions are drawn with, `[N, ...]` each: of one step, or `[T, N, ...]` of a fragment's."""


class Acted(NamedTuple):
    """What an agent did in `N` environments.

    Attributes:
        actions: `[N, ...]`, as they are learned from.
        behaviour: `[N, P]` float32, parameters of the distribution that they were drawn from.
        carry: For the next step.
        counts: What is to be told of it, int64; empty where nothing is.
    """

    actions: Tensor
    behaviour: Tensor
    carry: Carry
    counts: np.ndarray


NOTHING = np.zeros(0, np.int64)
"""Told of acting, as a rule."""


class Agent(nn.Module):
    """All that a worker holds of a policy; its flat weights are the version.

    It makes features of observations and of what was seen before them; heads over them come with the kind of agent.

    Attributes:
        distribution: Of actions.
        memory_size: Numbers of memory for each environment; 0 without a core.
        acts_in_bfloat16: Whether `step` runs the core, and an encoder that declares `acts_in_bfloat16`, in bfloat16
            where that is faster, as whoever builds it decides.
    """

    judges_states = False
    """Whether it has a use for what worlds say of themselves."""

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
            action_space: Of one environment.
            generator: Draws the initial weights.

        Raises:
            ConfigError: If the spaces do not fit.
        """
        super().__init__()
        if isinstance(observation_space, StatedBox) and not self.judges_states:
            raise ConfigError("env.init_args.central_state", True, "false, without `algorithm.central_critic: true`")
        self._acts_on = observation_space.seen.shape[0] if isinstance(observation_space, StatedBox) else None
        self.distribution = distribution_of(action_space)
        self.normalizes = config.normalize
        self.acts_in_bfloat16 = False
        self.observation_mean: Tensor
        self.observation_scale: Tensor
        if config.normalize:
            if not isinstance(observation_space, spaces.Box) or np.dtype(observation_space.dtype).kind != "f":
                raise ConfigError("policy.normalize", True, f"false for observations {observation_space}")
            self.register_buffer("observation_mean", torch.zeros(observation_space.shape))
            self.register_buffer("observation_scale", torch.ones(observation_space.shape))
            self._named = names_among(observation_space)
            observation_space = normalised_space(observation_space)
        self.encoder = config.encoder.build(seen_of(observation_space), generator)
        self.core: RecurrentCore | None = None
        self.out_features: int = self.encoder.out_features
        if isinstance(config.core, CoreConfig):
            core: RecurrentCore = config.core.build(self.out_features, generator)
            self.core, self.out_features = core, core.out_features
        self.memory_size = self.core.memory_size if self.core else 0

    def noise(self, generator: Callable[[str], np.random.Generator], steps: int, rows: int) -> Noise:
        """What a fragment's actions are drawn with, `[steps, rows, ...]` each.

        Args:
            generator: Gives the one for a purpose.
            steps: Of the fragment.
            rows: Environments.
        """
        return {"act": torch.from_numpy(self.distribution.noise(generator("act"), (steps, rows)))}

    def act(self, seen: Seen, carry: Carry, noise: Noise, rank: float) -> Acted:
        """Take a step in training.

        Args:
            seen: What is acted on.
            carry: Since the step before.
            noise: Of this step.
            rank: 0 for the first shard to 1 for the last, where shards explore differently.
        """
        scores, memory = self.step(seen.observations, carry["memory"])
        behaviour = self.behaviour(self.allowed(scores, seen.legal), rank)
        own, counts = self.altered(behaviour, scores, seen, carry, noise)
        return Acted(self.distribution.drawn(behaviour, noise["act"]), behaviour, {"memory": memory, **own}, counts)

    def altered(
        self, behaviour: Tensor, scores: Tensor, seen: Seen, carry: Carry, noise: Noise
    ) -> tuple[Carry, np.ndarray]:
        """Alter in place how a step's actions are drawn; what is carried besides the memory, and what is to be told."""
        return {}, NOTHING

    def allowed(self, scores: Tensor, legal: np.ndarray | None) -> Tensor:
        """Scores `[N, P]` with only the actions left that are legal."""
        return scores if legal is None else self.distribution.masked(scores, torch.from_numpy(legal))

    def scores(self, features: Tensor) -> Tensor:
        """What is said of actions, `[N, F]` to `[N, P]`: parameters of the distribution, or values of discrete ones."""
        raise NotImplementedError

    def behaviour(self, scores: Tensor, rank: float) -> Tensor:
        """Parameters `[N, P]` of the distribution that actions are drawn from.

        Args:
            scores: As `scores` gives them.
            rank: 0 for the first shard to 1 for the last, where shards explore differently.
        """
        return scores

    def encode(self, observations: Tensor) -> Tensor:
        """The encoder's features `[N, F]` of raw observations `[N, ...]`."""
        return self.encoded(self.normalised(observations))

    def encoded(self, shown: Tensor) -> Tensor:
        """Likewise of `normalised` observations."""
        features: Tensor = self.encoder(shown if self._acts_on is None else shown[:, : self._acts_on])
        return features

    def normalised(self, observations: Tensor) -> Tensor:
        """Observations `[N, ...]` as encoders see them."""
        if not self.normalizes:
            return observations
        scaled = (observations - self.observation_mean) * self.observation_scale
        scaled = scaled.clamp(-CLAMP, CLAMP).float()
        for column in self._named:  # one of many things has no mean
            scaled[:, column] = observations[:, column]
        return scaled

    def prepared(self, observations: Tensor) -> Tensor:
        """Raw observations `[T, B, ...]` as the encoder computes on them, for whoever encodes them more than once."""
        prepare = getattr(self.encoder, "prepared", None)
        if prepare is None or self.normalizes:
            return observations
        rows: Tensor = prepare(observations.flatten(0, 1))
        return rows.view(*observations.shape[:2], *rows.shape[1:])

    def stirred(self, generator: Callable[[], np.random.Generator], rows: int) -> AbstractContextManager[None]:
        """A context in which weights that are noisy have noise, another for each of so many rows; here none are.

        Args:
            generator: Gives what draws the noise, if there is any.
            rows: Observations in each batch.
        """
        return nullcontext()

    @contextmanager
    def acting(self) -> Iterator[None]:
        """A context for many calls of `step` with the same weights; casts to bfloat16 are made once for all of them."""
        if not self.acts_in_bfloat16:
            with torch.inference_mode():
                yield
            return
        # Autocast keeps its casts until the outermost context is left, outside inference mode, and of weights that
        # require gradients.
        required = [(weight, weight.requires_grad) for weight in self.parameters()]
        self.requires_grad_()
        try:
            with torch.no_grad(), torch.autocast(required[0][0].device.type, enabled=False):
                yield
        finally:
            for weight, before in required:
                weight.requires_grad_(before)

    def step(self, observations: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """One step of acting: scores `[N, P]` and the memory `[N, M]` after it."""
        kind = observations.device.type
        casts = self.acts_in_bfloat16 and getattr(self.encoder, "acts_in_bfloat16", False) and gains_by_bfloat16(kind)
        with torch.autocast(kind, torch.bfloat16, enabled=casts):
            features = self.encode(observations)
        if self.core is not None:
            with torch.autocast(features.device.type, torch.bfloat16, enabled=self.acts_in_bfloat16):
                outputs, memory = self.core(features.unsqueeze(0), memory)
            features = outputs[0]
        return self.scores(features.float()), memory
