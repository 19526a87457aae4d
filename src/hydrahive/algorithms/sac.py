"""Soft actor-critic with automatic temperature (Haarnoja et al. 2018, arXiv 1812.05905)."""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from hydrahive.algorithms.base.optimizer import OptimizerSettings
from hydrahive.algorithms.base.rule import Round
from hydrahive.algorithms.base.steps import Loss, Step, Story, Taken, means, summed
from hydrahive.algorithms.control_config import SAC
from hydrahive.algorithms.off_policy import CRITIC_SUMS, Judging, Rows, without_illegal
from hydrahive.core.schedules import value_at

ACTOR_SUMS = ("actor_loss", "entropy")
"""What is summed over rows of the actor's steps."""


class Temperature(nn.Module):
    """The entropy's weight alpha, by its logarithm."""

    def __init__(self, first: float) -> None:
        """Begin with this weight."""
        super().__init__()
        self.log = nn.Parameter(torch.tensor([math.log(first)]))


class Drawn(NamedTuple):
    """Actions of the policy as it is, `[S, ...]`, and the logarithms of their densities between -1 and 1, `[S]`."""

    actions: Tensor
    log_probs: Tensor


class SACUpdate(Judging):
    """For each batch of replayed rows a gradient step of the critics, of the actor and of the temperature."""

    config: SAC

    def others(self, network: nn.Module) -> dict[str, nn.Module]:
        """Also the temperature."""
        return {**super().others(network), "temperature": Temperature(self.config.temperature)}

    def optimizers(self) -> dict[str, OptimizerSettings]:
        """Also the temperature's."""
        return {**super().optimizers(), "temperature": self.optimizer()}

    @property
    def temperature(self) -> Tensor:
        """The entropy's weight, `[1]`, without gradient."""
        return cast(Temperature, self.on.others["temperature"]).log.detach().exp()

    @property
    def target_entropy(self) -> float:
        """What the temperature keeps the entropy at, in nats."""
        if self.config.target_entropy is not None:
            return self.config.target_entropy
        if self.actor.is_discrete:
            return self.config.discrete_entropy * math.log(self.actor.distribution.parameters)
        return -float(self.actor.action_width)

    def update(self, round_: Round) -> Story:
        """The update's gradient steps."""
        config, on = self.config, self.on
        rate, critics_rate = self.rates(round_)
        beta = value_at(config.importance, round_.env_steps)
        warmth = value_at(config.temperature_learning_rate, round_.env_steps)
        judged: list[Taken] = []
        acted: list[Taken] = []
        counts: list[int] = []
        for drawn in round_.sample.transitions if round_.sample else ():
            slices, count = self.slices(drawn, beta, on.gradient_steps), drawn.frames
            actors = Step(slices, self.actor_loss, count, rate)
            step = yield Step(slices, self.critics_loss, count, critics_rate, of="critics", beside=actors)
            on.judge(drawn.keys, step)
            judged.append(step)
            assert step.beside is not None, "the actor's"
            acted.append(step.beside)
            counts.append(count)
            if warmth:
                entropy = step.beside.sums.sum(0)[1:] / count
                yield Step([entropy.float()], self.temperature_loss, 1, warmth, of="temperature")
            on.follow("targets", config.target_update, of="critics")
        figures = {**means(CRITIC_SUMS, judged, counts), **means(ACTOR_SUMS, acted, counts)}
        if acted:
            figures["gradient_norm"] = float(np.mean([step.norm for step in judged]))
        used = {"learning_rate": rate, "discount": config.discount, "temperature": float(self.temperature)}
        return {**figures, **used, "batches": len(acted)}

    def aims(self, rows: Rows) -> Tensor:
        """Aims `[S]`: y = r + gamma (min_i Q_i(s', a') - alpha log pi(a' | s')), a' ~ pi (equations 2 and 3)."""
        scores = self.actor.scores(self.actor.encoded(rows.following))
        if self.actor.is_discrete:
            said = self.targets(rows.following, None, self._kept(self.targets, rows, 1)).amin(0)
            values = self._expected(without_illegal(scores, rows.illegal), said)
        else:
            drawn = self.drawn(scores, rows, 0)
            said = self.judged(self.targets, rows.following, rows, drawn.actions, 1).squeeze(-1)
            values = said.amin(0) - self.temperature * drawn.log_probs
        return rows.returns + rows.discounts * values

    def _expected(self, scores: Tensor, said: Tensor) -> Tensor:
        """sum_a pi(a | s) (Q(s, a) - alpha log pi(a | s)) (Christodoulou 2019, equation 10)."""
        log_probs = scores.log_softmax(-1)
        return (log_probs.exp() * (said - self.temperature * log_probs)).sum(-1)

    def actor_loss(self, rows: Rows) -> Loss:
        """J_pi = alpha log pi(a | s) - min_i Q_i(s, a), a ~ pi (equation 9); and the entropy."""
        scores = self.actor.scores(self.actor.encoded(rows.seen))
        if self.actor.is_discrete:
            with torch.no_grad():
                said = self.critics(rows.seen, None, self._kept(self.critics, rows, 2)).amin(0)
            each = -self._expected(scores, said)
            normal = scores.detach().log_softmax(-1)
            entropies = -(normal.exp() * normal).sum(-1)
        else:
            drawn = self.drawn(scores, rows, 1)
            said = self.judged(self.critics, rows.seen, rows, drawn.actions, 2).squeeze(-1)
            each = self.temperature * drawn.log_probs - said.amin(0)
            entropies = -drawn.log_probs.detach()
        loss = each.sum()
        return Loss(loss, summed([loss, entropies.sum()]))

    def temperature_loss(self, entropy: Tensor) -> Loss:
        """J(alpha) = log alpha (H - H_target), whose gradient has equation 18's sign."""
        log = cast(Temperature, self.on.others["temperature"]).log
        loss = (log * (entropy - self.target_entropy)).sum()
        return Loss(loss, summed([loss]))

    def drawn(self, scores: Tensor, rows: Rows, which: int) -> Drawn:
        """Actions by reparametrisation, with gradients of the policy."""
        mean, log_std = self.actor.distribution.normal(scores).chunk(2, dim=-1)
        noise = self.drawn_noise(rows, which)
        u = mean + log_std.exp() * noise
        # log pi(a) = log N(u) - sum log(1 - tanh(u)^2) (appendix C, equation 26), with
        # log N(u) = -e^2 / 2 - log sigma - log(2 pi) / 2 and log(1 - tanh(u)^2) = 2 (log 2 - u - log(1 + e^(-2 u)))
        constant = 0.5 * math.log(2 * math.pi) + 2 * math.log(2)
        each = 2 * (u + softplus(-2 * u)) - log_std - 0.5 * noise.square()
        return Drawn(u, each.sum(-1) - constant * mean.shape[-1])
