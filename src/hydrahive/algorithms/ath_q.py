"""Double Q-learning on sequences (van Hasselt et al. 2016; Hausknecht and Stone 2015): ai-hydra's agent."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import huber_loss

from hydrahive.algorithms.base.batch import Batch, edges, stack
from hydrahive.algorithms.base.exploring import Exploring, finished
from hydrahive.algorithms.base.learning import Algorithm
from hydrahive.algorithms.base.optimizer import OptimizerSettings
from hydrahive.algorithms.base.rule import Round
from hydrahive.algorithms.base.steps import Loss, Step, Story, Taken, means, summed
from hydrahive.algorithms.base.unroll import Features, unrolled
from hydrahive.algorithms.q_config import AthQ
from hydrahive.core.replayed import Sequences
from hydrahive.core.schedules import value_at
from hydrahive.core.state import State
from hydrahive.core.streams import derived_seed
from hydrahive.policies.agent import Agent
from hydrahive.policies.distributions import chosen
from hydrahive.policies.q_network import QNetwork

SUMS = ("loss", "q_mean", "td_error")
"""What is summed over rows: loss, value of the action taken, absolute error."""


@dataclass(frozen=True)
class Slice:
    """A slice of a gradient step.

    Attributes:
        place: Which of its slices.
        batch: Its rows.
        target_memory: That which the target network would have before them, `[B, M]`.
    """

    place: int
    batch: Batch
    target_memory: Tensor


class AthQUpdate(Algorithm):
    """One gradient step for each batch of replayed sequences; without a replay, on the round.

    A second network, the target, evaluates the action that the first one would choose, and follows it slowly.
    """

    config: AthQ

    def others(self, network: Agent) -> dict[str, nn.Module]:
        """The target begins as a copy."""
        return {"target": copy.deepcopy(network)}

    def optimizer(self) -> OptimizerSettings:
        """Adam."""
        return OptimizerSettings("adam", self.config.optimizer_epsilon, self.config.gradient_norm)

    def begin(self) -> None:
        """No episode has finished."""
        self._exploring = Exploring(self.config.exploration, cast(QNetwork, self.network))

    @property
    def target_network(self) -> QNetwork:
        """Evaluates; its weights follow."""
        return cast(QNetwork, self.on.others["target"])

    def update(self, round_: Round) -> Story:
        """The update's gradient steps; how its version explores."""
        rate = value_at(self.config.learning_rate or 0.0, round_.env_steps)
        steps: list[Taken] = []
        rows: list[int] = []
        for slices in self._sources(round_):
            rows.append(max(1, sum(int(one.batch.valid.sum()) for one in slices)))
            steps.append((yield Step(slices, self.loss, rows[-1], rate)))
            self.on.follow("target", self.config.target_update)
        epsilon = self._exploring.after(round_)
        figures = means(SUMS, steps, rows)
        if steps:
            figures["gradient_norm"] = float(np.mean([step.norm for step in steps]))
            figures["replayed_frames"] = float(np.mean(rows))
            figures["discount"] = cast(float, self.config.discount)
        return {**figures, "learning_rate": rate, "epsilon": epsilon, "batches": len(steps)}

    def loss(self, slice_: Slice) -> Loss:
        """Double Q-learning's loss of a slice."""
        network, target, config = cast(QNetwork, self.network), self.target_network, self.config
        batch, place, target_memory = slice_.batch, slice_.place, slice_.target_memory
        features = unrolled(network, batch)
        # Q(s_t, a_t; theta)
        taken = chosen(network.scores(self._dropped(features.rows, place)), batch.actions)
        with torch.no_grad():
            # y_t = r_t + gamma_t Q(s_{t+1}, argmax_a Q(s_{t+1}, a; theta); theta^-): the one network chooses, the
            # other judges (van Hasselt et al. 2016, the Double DQN target); gamma_t = 0 where an episode ended.
            best = _following(network, features, batch).argmax(-1)
            judged = _following(target, unrolled(target, batch, target_memory), batch)
            assert config.discount is not None, "the policy's defaults were filled in"
            continuing = config.discount * (~batch.terminated).float()
            aims = self.on.rewards(batch.rewards, config.reward_clip) + continuing * chosen(judged, best)
        mask = batch.valid.float()
        # d^2 / 2 for |d| <= delta, delta (|d| - delta / 2) beyond, of d = y_t - Q(s_t, a_t) (Huber 1964)
        loss = (huber_loss(taken, aims, reduction="none", delta=config.huber_delta) * mask).sum()
        distance = ((aims - taken).abs() * mask).sum()
        return Loss(loss, summed([loss, (taken * mask).sum(), distance]))

    def own_state(self) -> State:
        """What exploration follows."""
        return self._exploring.state()

    def restore_own(self, state: State) -> None:
        """Continue."""
        self._exploring.restore(state)

    def _sources(self, round_: Round) -> Iterator[list[Slice]]:
        """What each gradient step learns from: replayed sequences, or where there is no replay the round itself."""
        on = self.on
        if round_.sample is None:
            batches = stack(round_.fragments, on.computing.slices, on.computing.device)
            slices = [Slice(place, batch, batch.memory) for place, batch in enumerate(batches)]
            yield from [slices] * self.config.batches(finished(round_))
            return
        for sequences in round_.sample.batches:
            count = len(sequences.burn_in)
            parts = [sequences.between(*span) for span in edges(count, min(on.computing.slices, count))]
            yield [self._slice(place, part) for place, part in enumerate(parts)]

    def _slice(self, place: int, sequences: Sequences) -> Slice:
        batch = self.on.replayed(sequences)
        recurrent = self.network.core is not None
        return Slice(
            place, batch, self.on.replayed(sequences, self.target_network).memory if recurrent else batch.memory
        )

    def _dropped(self, features: Tensor, place: int) -> Tensor:
        """Features for learning, a share of them dropped; others in each slice."""
        kept = 1 - self.config.dropout
        if kept == 1:
            return features
        generator = torch.Generator(features.device)
        generator.manual_seed(derived_seed(self.on.seed, "dropout", self.gradient_steps, place))
        # h m / (1 - p), m ~ Bernoulli(1 - p): the mean stays (Srivastava et al. 2014, section 4)
        return features * torch.empty_like(features).bernoulli_(kept, generator=generator) / kept


def _following(network: QNetwork, features: Features, batch: Batch) -> Tensor:
    """The action values `[T, B, A]` of what each row led to."""
    of_rows, of_last, of_cuts = (network.scores(part) for part in (features.rows, features.last, features.cuts))
    return features.following(of_rows, of_last, of_cuts, batch.cut_rows)
