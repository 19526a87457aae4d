"""Twin delayed deep deterministic policy gradients (Fujimoto et al. 2018), and DDPG (Lillicrap et al. 2016)."""

from __future__ import annotations

import copy
from typing import cast

import numpy as np
from torch import Tensor, nn

from hydrahive.algorithms.base.rule import Round
from hydrahive.algorithms.base.steps import Loss, Step, Story, Taken, means, summed
from hydrahive.algorithms.control_config import TD3
from hydrahive.algorithms.off_policy import CRITIC_SUMS, Judging, Rows
from hydrahive.core.schedules import value_at
from hydrahive.policies.control.actors import EDGE, DeterministicActor

ACTOR_SUMS = ("actor_loss",)
"""What is summed over rows of the actor's steps."""


class TD3Update(Judging):
    """For each batch of replayed rows a gradient step of the critics; for some of them one of the actor."""

    config: TD3

    def others(self, network: nn.Module) -> dict[str, nn.Module]:
        """Also the actor that aims are made with."""
        return {**super().others(network), "target actor": copy.deepcopy(network)}

    def update(self, round_: Round) -> Story:
        """The update's gradient steps."""
        config, on = self.config, self.on
        rate, critics_rate = self.rates(round_)
        beta = value_at(config.importance, round_.env_steps)
        judged: list[Taken] = []
        acted: list[Taken] = []
        counts: list[int] = []
        for drawn in round_.sample.transitions if round_.sample else ():
            slices = self.slices(drawn, beta, on.gradient_steps)
            is_due = (on.gradient_steps + 1) % config.policy_delay == 0
            actors = Step(slices, self.actor_loss, drawn.frames, rate) if is_due else None
            step = yield Step(slices, self.critics_loss, drawn.frames, critics_rate, of="critics", beside=actors)
            on.judge(drawn.keys, step)
            judged.append(step)
            counts.append(drawn.frames)
            if step.beside is not None:
                acted.append(step.beside)
                on.follow("targets", config.target_update, of="critics")
                on.follow("target actor", config.target_update)
        figures = {**means(CRITIC_SUMS, judged, counts), **means(ACTOR_SUMS, acted, counts[: len(acted)])}
        if judged:
            figures["gradient_norm"] = float(np.mean([step.norm for step in judged]))
        used = {"learning_rate": rate, "discount": config.discount, "batches": len(judged)}
        return {**figures, **used}

    def aims(self, rows: Rows) -> Tensor:
        """Aims `[S]`: y = r + gamma min_i Q_i(s', clip(mu(s') + clip(e, -c, c), -1, 1)) (algorithm 1)."""
        config, actor = self.config, cast(DeterministicActor, self.on.others["target actor"])
        action = actor.distribution.mode(actor.scores(actor.encoded(rows.following))).tanh()
        if config.target_noise:
            noise = (config.target_noise * self.drawn_noise(rows, 0)).clamp(
                -config.target_noise_clip, config.target_noise_clip
            )
            action = (action + noise).clamp(-EDGE, EDGE)
        said = self.judged(self.targets, rows.following, rows, action.clamp(-EDGE, EDGE).atanh(), 1).squeeze(-1)
        return rows.returns + rows.discounts * said.amin(0)

    def actor_loss(self, rows: Rows) -> Loss:
        """-Q_1(s, mu(s)): the deterministic policy gradient (Silver et al. 2014, equation 9)."""
        u = self.actor.distribution.mode(self.actor.scores(self.actor.encoded(rows.seen)))
        said = self.judged(self.critics, rows.seen, rows, u, 2).squeeze(-1)
        loss = -said[0].sum()
        return Loss(loss, summed([loss]))
