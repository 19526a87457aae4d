"""Double Q-learning on sequences (van Hasselt et al. 2016; Hausknecht and Stone 2015): ai-hydra's agent."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import huber_loss

from hydrahive.algorithms.batch import Batch, clipped, replayed, stack
from hydrahive.algorithms.config import AthQ
from hydrahive.algorithms.optimizer import FlatOptimizer
from hydrahive.algorithms.rule import Computing, Round
from hydrahive.algorithms.unroll import Features, unrolled
from hydrahive.core.config import AlgorithmConfig
from hydrahive.core.schedules import value_at
from hydrahive.core.state import State, nested, under
from hydrahive.core.streams import derived_seed
from hydrahive.policies.categorical import chosen
from hydrahive.policies.flat_weights import FlatWeights
from hydrahive.policies.q_network import QNetwork

FIGURES = ("loss", "q_mean", "td_error", "gradient_norm", "replayed_frames")
"""Means over an update's gradient steps; the frames are those of one step."""

CAREFUL_BELOW = 1e-4
"""Epsilon from which on detours may be made."""


class AthQUpdate:
    """The learner's rule: one gradient step for each batch of replayed sequences; without a replay, on the round.

    A second network, the target, evaluates the action that the first one would choose, and follows it slowly.
    """

    def __init__(self, config: AthQ, network: QNetwork, computing: Computing, seed: int) -> None:
        """Lay the weights flat; the target begins as a copy of them."""
        self.config, self.network, self.computing, self._seed = config, network, computing, seed
        self.target_network = copy.deepcopy(network)
        self.weights = FlatWeights(network, with_gradients=True)
        self.target = FlatWeights(self.target_network)
        self._optimizer = FlatOptimizer(self.weights, "adam", config.optimizer_epsilon, config.gradient_norm)
        self._episodes = 0
        self._used: dict[str, float] = {}
        self._explore(0, stagnant=False)

    def change(self, config: AlgorithmConfig) -> None:
        """Learn with other values from the next update on."""
        assert isinstance(config, AthQ)
        self.config = config
        self._optimizer.set(config.optimizer_epsilon, config.gradient_norm)

    @property
    def gradient_steps(self) -> int:
        """Taken so far."""
        return self._optimizer.steps

    def learn(self, round_: Round) -> dict[str, float]:
        """Take the update's gradient steps, and say how its version explores.

        Raises:
            DivergedError: If a gradient is not finite; the weights are left as the step before made them.
        """
        rate, self._used = value_at(self.config.learning_rate or 0.0, round_.env_steps), {}
        figures = [self._step(batches, rate) for batches in self._sources(round_)]
        self._episodes += _finished(round_)
        stagnant = round_.sample is not None and round_.sample.stagnant
        epsilon = self._explore(round_.env_steps + round_.valid_rows, stagnant=stagnant)
        means = dict(zip(FIGURES, np.mean(figures, axis=0).tolist(), strict=True)) if figures else {}
        return {
            **means,
            **self._used,
            "learning_rate": rate,
            "epsilon": epsilon,
            "batches": len(figures),
        }

    def _step(self, batches: Sequence[tuple[Batch, Batch]], rate: float) -> list[float]:
        """Take one gradient step; its `FIGURES`."""
        total = max(1, sum(int(batch.valid.sum()) for batch, _ in batches))
        sums = torch.stack([self.accumulate(batch, for_target, total) for batch, for_target in batches]).sum(0)
        norm = self._optimizer.step(rate)
        with torch.no_grad():
            # theta^- <- theta^- + tau (theta - theta^-) (Lillicrap et al. 2016, algorithm 1)
            self.target.vector.lerp_(self.weights.vector, self.config.target_update)
        return [*(sums / total).tolist(), norm, float(total)]

    def accumulate(self, batch: Batch, for_target: Batch, total: int) -> Tensor:
        """Add a batch's share of a gradient step.

        Args:
            batch: Rows to learn from.
            for_target: The same with the memory that the target network would have.
            total: Valid rows of the gradient step; the loss is their mean.

        Returns:
            Sums over the batch's rows, float64 `[3]`: loss, value of the action taken, absolute error.
        """
        with self.computing.precision():
            features = unrolled(self.network, batch)
            # Q(s_t, a_t; theta)
            taken = chosen(self.network.scores(self._dropped(features.rows)), batch.actions)
            with torch.no_grad():
                # y_t = r_t + gamma_t Q(s_{t+1}, argmax_a Q(s_{t+1}, a; theta); theta^-): the one network chooses, the
                # other judges (van Hasselt et al. 2016, the Double DQN target); gamma_t = 0 where an episode ended.
                best = _following(self.network, features, batch).argmax(-1)
                judged = _following(self.target_network, unrolled(self.target_network, for_target), batch)
                discount = self.config.discount
                assert discount is not None, "the policy's defaults were filled in"
                self._used = {"discount": discount}
                continuing = discount * (~batch.terminated).float()
                aims = clipped(batch.rewards, self.config.reward_clip) + continuing * chosen(judged, best)
            mask = batch.valid.float()
            # d^2 / 2 for |d| <= delta, delta (|d| - delta / 2) beyond, of d = y_t - Q(s_t, a_t) (Huber 1964)
            loss = (huber_loss(taken, aims, reduction="none", delta=self.config.huber_delta) * mask).sum()
            torch.autograd.backward(loss / total)
        with torch.no_grad():
            distance = ((aims - taken).abs() * mask).sum()
            return torch.stack([loss.double(), (taken * mask).sum().double(), distance.double()])

    def state(self) -> State:
        """Weights, target, the optimizer's moments and the counted episodes, as named arrays."""
        return {
            **nested("weights", self.weights.named(self.weights.vector)),
            **nested("target", self.target.named(self.target.vector)),
            **self._optimizer.state(),
            "episodes": np.array([self._episodes], np.int64),
        }

    def restore(self, state: State, gradient_steps: int) -> None:
        """Continue from `state` after so many gradient steps."""
        self.weights.load_named(self.weights.vector, under("weights", state))
        self.target.load_named(self.target.vector, under("target", state))
        self._optimizer.restore(state, gradient_steps)
        self._episodes = int(state["episodes"][0])

    def load_weights(self, state: State) -> None:
        """Begin with the weights of `state`, the target too; exploration begins anew."""
        self.weights.load_named(self.weights.vector, under("weights", state))
        self.target.vector.copy_(self.weights.vector)
        self._explore(0, stagnant=False)

    def _sources(self, round_: Round) -> Iterator[list[tuple[Batch, Batch]]]:
        """What each gradient step learns from: replayed sequences, or where there is no replay the round itself."""
        device = self.computing.device
        if round_.sample is None:
            slices = [(batch, batch) for batch in stack(round_.fragments, self.computing.slices, device)]
            yield from [slices] * self.config.batches(_finished(round_))
            return
        for sequences in round_.sample.batches:
            with self.computing.precision():
                batch = replayed(sequences, self.network, device)
                for_target = replayed(sequences, self.target_network, device) if self.network.core else batch
            yield [(batch, for_target)]

    def _dropped(self, features: Tensor) -> Tensor:
        """Features for learning, a share of them dropped."""
        kept = 1 - self.config.dropout
        if kept == 1:
            return features
        generator = torch.Generator(features.device)
        generator.manual_seed(derived_seed(self._seed, "dropout", self.gradient_steps))
        # h m / (1 - p), m ~ Bernoulli(1 - p): the mean stays (Srivastava et al. 2014, section 4)
        return features * torch.empty_like(features).bernoulli_(kept, generator=generator) / kept

    def _explore(self, env_steps: int, *, stagnant: bool) -> float:
        """Write down how the version explores; its epsilon."""
        exploration = self.config.exploration
        epsilon = exploration.epsilon(env_steps, self._episodes)
        careful = exploration.careful and stagnant and epsilon < CAREFUL_BELOW
        self.network.exploration.copy_(torch.tensor([epsilon, float(careful)]))
        return epsilon


def _following(network: QNetwork, features: Features, batch: Batch) -> Tensor:
    """The action values `[T, B, A]` of what each row led to."""
    of_rows, of_last, of_cuts = (network.scores(part) for part in (features.rows, features.last, features.cuts))
    return features.following(of_rows, of_last, of_cuts, batch.cut_rows)


def _finished(round_: Round) -> int:
    """Episodes that ended in the round."""
    return sum(int((fragment.terminated | fragment.truncated).sum()) for fragment in round_.fragments)
