"""Deep Q-learning (Mnih et al. 2015) and the improvements that make it Rainbow (Hessel et al. 2018)."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from hydrahive.algorithms.base.batch import edges
from hydrahive.algorithms.base.exploring import Exploring
from hydrahive.algorithms.base.learning import Algorithm
from hydrahive.algorithms.base.optimizer import OptimizerSettings
from hydrahive.algorithms.base.rule import Round
from hydrahive.algorithms.base.steps import Loss, Step, Story, Taken, means, summed
from hydrahive.algorithms.q_config import DQN
from hydrahive.algorithms.returns import cross_entropy, discounted, distance, projected, quantile_huber
from hydrahive.core.fragment import MASKED
from hydrahive.core.replayed import Transitions
from hydrahive.core.schedules import value_at
from hydrahive.core.state import State
from hydrahive.core.streams import stream
from hydrahive.policies.deep_q_network import DeepQNetwork

SUMS = ("loss", "q_mean", "td_error")
"""What is summed over rows: loss, expected return of the action taken, how far off it was."""


@dataclass(frozen=True)
class Rows:
    """A slice of a gradient step, all `[S, ...]`.

    Attributes:
        place: Which of the step's slices it is.
        observations: Before the steps.
        actions: Taken there.
        returns: Of the `n` steps, discounted.
        discounts: Of what `following` is worth: gamma^n, or 0 where the episode terminated before.
        following: Where the steps led to.
        illegal: Which actions are not legal there; `[S, 0]` if all always are.
        weights: Of the rows in the loss.
    """

    place: int
    observations: Tensor
    actions: Tensor
    returns: Tensor
    discounts: Tensor
    following: Tensor
    illegal: Tensor
    weights: Tensor


class DQNUpdate(Algorithm):
    """One gradient step for each batch of replayed rows; nothing is learned from the round itself."""

    config: DQN

    def others(self, network: nn.Module) -> dict[str, nn.Module]:
        """The target begins as a copy, and follows."""
        return {"target": copy.deepcopy(network)}

    def optimizer(self) -> OptimizerSettings:
        """Adam."""
        return OptimizerSettings("adam", self.config.optimizer_epsilon, self.config.gradient_norm)

    def begin(self) -> None:
        """Nothing is known: explore."""
        self._exploring = Exploring(self.config.exploration, cast(DeepQNetwork, self.network))

    def update(self, round_: Round) -> Story:
        """The update's gradient steps; how its version explores."""
        config, on = self.config, self.on
        rate, beta = (value_at(value, round_.env_steps) for value in (config.learning_rate, config.importance))
        taken: list[Taken] = []
        rows: list[int] = []
        for drawn in round_.sample.transitions if round_.sample else ():
            step = yield Step(self._slices(drawn, beta), self.loss, drawn.frames, rate, alone=config.noisy)
            on.judge(drawn.keys, step)
            if on.gradient_steps % config.target_every == 0:
                on.follow("target", config.target_update)
            taken.append(step)
            rows.append(drawn.frames)
        figures = means(SUMS, taken, rows)
        if taken:
            figures["gradient_norm"] = float(np.mean([step.norm for step in taken]))
        used = {"learning_rate": rate, "discount": config.discount, "batches": len(taken)}
        return {**figures, **used, "epsilon": self._exploring.after(round_)}

    def loss(self, rows: Rows) -> Loss:
        """The loss of some rows, and how far off each was."""
        network, config = cast(DeepQNetwork, self.network), self.config
        with self._noisy(network, rows, 0):
            said = network.outputs(network.encode(rows.observations))
        picked = rows.actions.view(-1, 1, 1).expand(-1, 1, network.atoms)
        taken = said.gather(1, picked).squeeze(1)  # [S, atoms]
        aims = self._aims(rows)
        if config.distribution == "categorical":
            each = cross_entropy(taken, aims)
            errors = each.detach()  # the KL divergence but for the aims' own entropy (Hessel et al. 2018, section 4)
        elif config.distribution == "quantiles":
            assert config.huber_delta is not None, "quantiles have one"
            each = quantile_huber(taken, aims, config.huber_delta)
            errors = (aims.mean(-1) - taken.detach().mean(-1)).abs()
        else:
            apart = (aims - taken).squeeze(-1)
            each, errors = distance(apart, config.huber_delta), apart.detach().abs()
        loss = (each * rows.weights).sum()
        expected = network.means(taken.detach().unsqueeze(1))
        return Loss(loss, summed([loss, expected.sum(), errors.sum()]), errors)

    @torch.no_grad()
    def _aims(self, rows: Rows) -> Tensor:
        """What is aimed at, `[S, atoms]`: returns, or probabilities of the support's."""
        network, target = cast(DeepQNetwork, self.network), cast(DeepQNetwork, self.on.others["target"])
        with self._noisy(target, rows, 1):
            judged = target.outputs(target.encode(rows.following))
        chooses = target.means(judged)
        if self.config.double:
            # argmax_a Q(s', a; theta), judged by theta^- (van Hasselt et al. 2016, equation 4)
            with self._noisy(network, rows, 2):
                chooses = network.scores(network.encode(rows.following))
        if rows.illegal.shape[1]:
            chooses = chooses.masked_fill(rows.illegal, MASKED)
        best = chooses.argmax(-1).view(-1, 1, 1).expand(-1, 1, target.atoms)
        following = judged.gather(1, best).squeeze(1)
        returns, discounts = rows.returns.unsqueeze(-1), rows.discounts.unsqueeze(-1)
        if target.support is None:
            # y = sum_{k<n} gamma^k r_k + gamma^n Q(s_n, a*; theta^-)
            return returns + discounts * following
        support = target.support.to(following.device)
        return projected(returns + discounts * support, following.softmax(-1), support)

    def own_state(self) -> State:
        """What exploration follows."""
        return self._exploring.state()

    def restore_own(self, state: State) -> None:
        """Continue."""
        self._exploring.restore(state)

    def _noisy(self, network: DeepQNetwork, rows: Rows, which: int) -> AbstractContextManager[None]:
        """A context in which a noisy network has noise: of its own in each gradient step, slice and pass."""
        indices = (self.gradient_steps, rows.place, which)
        return network.stirred(lambda: stream(self.on.seed, "learning noise", *indices), len(rows.actions))

    def _slices(self, drawn: Transitions, beta: float) -> Iterator[Rows]:
        """A batch's slices on the device, rewards as they are learned from."""
        device, discount = self.on.computing.device, self.config.discount
        # w_i = (N P(i))^-beta / max_j w_j (Schaul et al. 2016, section 3.4)
        weights = (drawn.rows * drawn.probabilities) ** -beta
        weights = (weights / weights.max()).astype(np.float32)
        rewards = self.on.rewards(torch.tensor(drawn.rewards), self.config.reward_clip)
        returns = discounted(rewards, discount).numpy()
        discounts = np.where(drawn.terminated, 0, discount**drawn.steps).astype(np.float32)
        columns = [drawn.observations, drawn.actions, returns, discounts, drawn.following, ~drawn.legal, weights]
        for place, (low, high) in enumerate(edges(drawn.frames, min(self.on.computing.slices, drawn.frames))):
            yield Rows(place, *(torch.tensor(column[low:high]).to(device) for column in columns))
