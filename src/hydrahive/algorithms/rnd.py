"""Curiosity by random network distillation (Burda et al. 2019), added to the rewards that any algorithm learns from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from hydrahive.algorithms.base.batch import edges
from hydrahive.algorithms.base.normalisers import Returns, Statistics
from hydrahive.algorithms.base.optimizer import FlatOptimizer, OptimizerSettings
from hydrahive.algorithms.base.rule import Computing, Round
from hydrahive.algorithms.config import Rnd
from hydrahive.core.config import EncoderConfig
from hydrahive.core.errors import ConfigError
from hydrahive.core.fragment import Fragment
from hydrahive.core.replayed import Sequences, Transitions
from hydrahive.core.state import State, nested, under
from hydrahive.core.streams import stream
from hydrahive.policies.config import PerGroup
from hydrahive.policies.encoders import RELU_GAIN, orthogonal
from hydrahive.policies.flat_weights import FlatWeights

CLAMP = 5.0
"""Deviations beyond which a normalised observation says no more (section 2.4)."""

AT_ONCE = 4_096
"""Rows that are looked at together."""


class Foretelling(nn.Module):
    """An encoder, and a layer of what it says."""

    def __init__(
        self, encoder: EncoderConfig, space: spaces.Space[object], features: int, generator: torch.Generator
    ) -> None:
        """Lay out the layers."""
        super().__init__()
        self.encoder = encoder.build(space, generator)
        self.head = orthogonal(nn.Linear(self.encoder.out_features, features), RELU_GAIN, generator)

    def forward(self, observations: Tensor) -> Tensor:
        """`[N, ...]` to `[N, features]` float32."""
        said: Tensor = self.head(self.encoder(observations)).float()
        return said


class Curiosity:
    """Says how new it is where steps led, and adds that to a round's rewards, and to those of replayed steps.

    Where an episode terminated nothing is said to be new. Of replayed steps that reach further than one only the last
    reward has a bonus.
    """

    def __init__(
        self, config: Rnd, encoder: EncoderConfig, space: spaces.Space[Any], computing: Computing, seed: int
    ) -> None:
        """Draw both networks.

        Args:
            config: How it learns.
            encoder: What both look through; weights of their own.
            space: Of observations.
            computing: Where and how.
            seed: The run's.

        Raises:
            ConfigError: If observations are no Box.
        """
        if not isinstance(space, spaces.Box):
            raise ConfigError("curiosity", "Rnd", f"null, for observations {space}")
        self.config, self._computing, self._seed = config, computing, seed
        seen = spaces.Box(-CLAMP, CLAMP, space.shape, np.float32)
        encoder = encoder.encoder if isinstance(encoder, PerGroup) else encoder
        generator = torch.Generator().manual_seed(int(stream(seed, "curiosity").integers(2**63)))
        self.target = Foretelling(encoder, seen, config.features, generator).to(computing.device).requires_grad_(False)
        self.predictor = Foretelling(encoder, seen, config.features, generator).to(computing.device)
        self.weights = FlatWeights(self.predictor, with_gradients=True)
        self._target_weights = FlatWeights(self.target)
        self._optimizer = FlatOptimizer(self.weights, OptimizerSettings("adam", 1e-8, 10.0))
        self._statistics, self._returns = Statistics(space.shape), Returns(config.discount)

    def added(self, round_: Round) -> tuple[Round, dict[str, float]]:
        """The round with its rewards, and figures; the one that learns has learned from it."""
        led_to = [_led_to(fragment) for fragment in round_.fragments]
        for fragment, observations in zip(round_.fragments, led_to, strict=True):
            self._statistics.merge(observations[fragment.valid])
        new = [
            np.where(fragment.valid & ~fragment.terminated, self.novelty(observations), 0)
            for fragment, observations in zip(round_.fragments, led_to, strict=True)
        ]
        pairs = list(zip(round_.fragments, new, strict=True))
        self._returns.merge([_endless(fragment, bonus) for fragment, bonus in pairs])
        fragments = [replace(one, rewards=one.rewards + self._scaled(bonus)) for one, bonus in pairs]
        if (sample := round_.sample) is not None:
            sequences = tuple(self._of_sequences(one) for one in sample.batches)
            transitions = tuple(self._of_transitions(one) for one in sample.transitions)
            sample = replace(sample, batches=sequences, transitions=transitions)
        rows = np.concatenate([observations[f.valid] for f, observations in zip(round_.fragments, led_to, strict=True)])
        figures = {"novelty": float(np.mean([bonus.mean() for bonus in new]))}
        if len(rows):
            figures["curiosity_loss"] = self._learn(rows)
        return Round(fragments, sample, round_.env_steps), figures

    @torch.no_grad()
    def novelty(self, observations: np.ndarray) -> np.ndarray:
        """How far what is foretold of observations `[T, B, ...]` is off, `[T, B]` float32."""
        flat = observations.reshape(-1, *observations.shape[2:])
        parts = [self._errors(flat[low : low + AT_ONCE]).cpu().numpy() for low in range(0, len(flat), AT_ONCE)]
        return np.concatenate([np.zeros(0, np.float32), *parts]).reshape(observations.shape[:2])

    def state(self) -> State:
        """Both networks, the optimizer's moments, and the statistics."""
        return {
            **nested("predictor", self.weights.named(self.weights.vector)),
            **nested("target", self._target_weights.named(self._target_weights.vector)),
            **self._optimizer.state(),
            **nested("seen", self._statistics.state()),
            **nested("returns", self._returns.state()),
            "gradient_steps": np.array([self._optimizer.steps], np.int64),
        }

    def restore(self, state: State) -> None:
        """Continue from `state`."""
        self.weights.load_named(self.weights.vector, under("predictor", state))
        self._target_weights.load_named(self._target_weights.vector, under("target", state))
        self._optimizer.restore(state, int(state["gradient_steps"][0]))
        self._statistics.restore(under("seen", state))
        self._returns.restore(under("returns", state))

    def _errors(self, observations: np.ndarray) -> Tensor:
        """`[N]`, of observations `[N, ...]`."""
        scaled = (observations - self._statistics.mean) / self._statistics.deviation()
        seen = torch.tensor(scaled.astype(np.float32)).clamp(-CLAMP, CLAMP).to(self._computing.device)
        with self._computing.precision():
            # |f^(x; theta) - f(x)|^2 (equation 1)
            apart = self.predictor(seen) - self.target(seen)
        errors: Tensor = apart.square().mean(1)
        return errors

    def _scaled(self, new: np.ndarray) -> np.ndarray:
        """The reward of what is new: over the deviation of its returns (section 2.4)."""
        scaled: np.ndarray = new * np.float32(self.config.bonus / self._returns.statistics.deviation()[0])
        return scaled

    def _learn(self, rows: np.ndarray) -> float:
        """Learn to foretell rows `[N, ...]`; the mean error before."""
        drawn = stream(self._seed, "curiosity", self._optimizer.steps).permutation(len(rows))
        errors = 0.0
        for first, end in edges(len(drawn), min(len(drawn), self.config.gradient_steps)):
            own = drawn[first:end]
            for low, high in edges(len(own), min(len(own), self._computing.slices)):
                error = self._errors(rows[own[low:high]]).sum()
                torch.autograd.backward(error / len(own))
                errors += float(error.detach())
            self._optimizer.step(self.config.learning_rate)
        return errors / len(rows)

    def _of_sequences(self, drawn: Sequences) -> Sequences:
        behind = drawn.observations[len(drawn.observations) - len(drawn.actions) :]
        new = np.where(drawn.valid & ~drawn.terminated, self.novelty(behind), 0)
        return replace(drawn, rewards=drawn.rewards + self._scaled(new))

    def _of_transitions(self, drawn: Transitions) -> Transitions:
        new = np.where(drawn.terminated, 0, self.novelty(drawn.following[None])[0])
        rewards = drawn.rewards.copy()
        rewards[drawn.steps - 1, np.arange(len(new))] += self._scaled(new)
        return replace(drawn, rewards=rewards)


def _led_to(fragment: Fragment) -> np.ndarray:
    """Where each row led to, `[T, B, ...]`; where an episode terminated, something else."""
    led_to = fragment.whole_observations()[1:].copy()
    led_to[fragment.cut_rows[:, 0], fragment.cut_rows[:, 1]] = fragment.cut_observations
    return led_to


def _endless(fragment: Fragment, rewards: np.ndarray) -> Fragment:
    """A fragment of other rewards, in which nothing ends."""
    never = np.zeros_like(fragment.terminated)
    return replace(fragment, rewards=rewards, terminated=never, truncated=never)
