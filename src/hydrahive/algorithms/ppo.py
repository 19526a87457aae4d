"""Proximal policy optimisation (Schulman et al. 2017) with generalised advantages (Schulman et al. 2016)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import torch
from torch import Tensor

from hydrahive.algorithms.base.batch import Batch, edges, of_columns, stack
from hydrahive.algorithms.base.learning import Algorithm
from hydrahive.algorithms.base.optimizer import OptimizerSettings
from hydrahive.algorithms.base.rule import Round
from hydrahive.algorithms.base.steps import Loss, Step, Story, Taken, means, summed
from hydrahive.algorithms.base.unroll import unrolled
from hydrahive.algorithms.config import PPO
from hydrahive.algorithms.vtrace_targets import deciding, standardised
from hydrahive.core.schedules import value_at
from hydrahive.core.streams import stream
from hydrahive.policies.actor_critic import ActorCritic
from hydrahive.policies.central_critic import CentralActorCritic

SUMS = ("policy_loss", "value_loss", "entropy", "clipped_share", "behaviour_kl")
"""What is summed over rows: losses, entropy, how many ratios exceed the clip, KL of behaviour and policy."""

TOO_FAR = 1.5
"""Times `target_kl` that end an update's epochs."""


@dataclass(frozen=True)
class Rows:
    """What a gradient step learns from, rows in any order or whole columns; all but the batch `[N]`, flattened.

    Attributes:
        batch: Whole columns, where a memory has to be unrolled; of shuffled rows `T` is 1.
        advantages: A_t, normalised where that is wanted.
        returns: What the value aims at, A_t + V(s_t).
        values: V(s_t) before the update.
        joint: `[N, ...]`, what a central critic sees; None without one.
    """

    batch: Batch
    advantages: Tensor
    returns: Tensor
    values: Tensor
    joint: Tensor | None = None

    def columns(self, numbers: Tensor) -> Rows:
        """Some of the batch's columns, whole."""
        shape = self.batch.rewards.shape
        judged = (self.advantages, self.returns, self.values)
        picked = [part.view(shape)[:, numbers].flatten() for part in judged]
        joint = None if self.joint is None else self.joint.view(*shape, -1)[:, numbers].flatten(0, 1)
        return Rows(of_columns(self.batch, numbers), picked[0], picked[1], picked[2], joint)


def generalised_advantages(
    rewards: Tensor, values: Tensor, next_values: Tensor, terminated: Tensor, ended: Tensor, config: PPO
) -> Tensor:
    """Advantages `[T, B]` (Schulman et al. 2016, equations 11 and 16).

    Args:
        rewards: `[T, B]`.
        values: `[T, B]`, V(s_t).
        next_values: `[T, B]`, V of where the step led to; where an episode was truncated, of its last observation.
        terminated: `[T, B]` bool; the next value counts nothing here.
        ended: `[T, B]` bool, terminated or truncated; no sum passes here.
        config: Discount and lambda.
    """
    # delta_t = r_t + gamma V(s_{t+1}) - V(s_t)
    deltas = rewards + config.discount * (~terminated).float() * next_values - values
    passing = config.discount * config.trace_decay * (~ended).float()
    # A_t = delta_t + gamma lambda A_{t+1}, backwards in time
    advantages = [torch.zeros_like(values[0])]
    for delta, share in zip(reversed(deltas.unbind()), reversed(passing.unbind()), strict=True):
        advantages.append(torch.addcmul(delta, share, advantages[-1]))
    return torch.stack(advantages[:0:-1])


class PPOUpdate(Algorithm):
    """Several epochs of gradient steps on a round whose advantages are fixed before the first."""

    config: PPO

    def optimizer(self) -> OptimizerSettings:
        """Adam."""
        return OptimizerSettings("adam", self.config.optimizer_epsilon, self.config.gradient_norm)

    def returns_discount(self) -> float | None:
        """The algorithm's own."""
        return self.config.discount if self.config.normalize_rewards else None

    def update(self, round_: Round) -> Story:
        """Gradient steps on minibatches, epoch by epoch, until the policy has gone too far."""
        config, env_steps = self.config, round_.env_steps
        rate, entropy_cost = value_at(config.learning_rate, env_steps), value_at(config.entropy_cost, env_steps)
        clip = value_at(config.policy_clip, env_steps)
        (whole,) = stack(round_.fragments, 1, self.on.computing.device)
        joint = self._joint(whole.observations[:-1])
        values, advantages = self._judged(whole, joint)
        returns, taken, rows = advantages + values, list[Taken](), list[int]()
        _, share = deciding(self.network.distribution, whole.behaviour, whole.valid)
        for minibatch in self._minibatches(Rows(whole, advantages, returns, values, joint)):
            count = int(minibatch.batch.valid.sum())
            if not count:
                continue
            loss = partial(self.loss, clip=clip, entropy_cost=entropy_cost, share=share)
            step = yield Step(self._slices(minibatch), loss, count, rate)
            taken, rows = [*taken, step], [*rows, count]
            divergence = float(step.sums[:, SUMS.index("behaviour_kl")].sum()) / count
            if config.target_kl is not None and divergence > TOO_FAR * config.target_kl:
                break
        used = {"learning_rate": rate, "entropy_cost": entropy_cost, "discount": config.discount}
        if not taken:
            return used
        figures = means(SUMS, taken, rows)
        figures["loss"] = figures["policy_loss"] + config.value_cost * figures["value_loss"]
        figures["loss"] -= entropy_cost * figures["entropy"]
        apart, aims = (returns - values)[whole.valid], returns[whole.valid]
        # 1 - Var[R - V] / Var[R]: 1 where the values foresee the returns
        figures["explained_variance"] = 1 - float(apart.var(correction=0) / aims.var(correction=0).clamp(min=1e-12))
        norms = [one.norm for one in taken]
        return {**figures, "policy_clip": clip, "gradient_norm": sum(norms) / len(norms), **used}

    def loss(self, rows: Rows, clip: float, entropy_cost: float, share: float = 1.0) -> Loss:
        """PPO's loss on some rows; `SUMS`.

        Args:
            rows: Of a minibatch.
            clip: In force.
            entropy_cost: In force.
            share: By how much rows in which something was to be chosen are fewer than all (`deciding`).
        """
        network, config, batch = cast(ActorCritic, self.network), self.config, rows.batch
        flat = unrolled(network, batch).rows.flatten(0, 1) if network.core else network.encode(batch.observations[0])
        actions, behaviour = batch.actions.flatten(0, 1), batch.behaviour.flatten(0, 1)
        distribution, values = network.distribution, self._values(flat, rows.joint)
        policy = distribution.normal(distribution.masked_like(network.scores(flat), behaviour))
        with torch.no_grad():
            behaviour = distribution.normal(behaviour)
            before = distribution.log_probs(behaviour, actions)
        valid = batch.valid.flatten()
        mask = valid.float()
        chose, _ = deciding(distribution, batch.behaviour.flatten(0, 1), valid)
        acted = mask if chose is valid else chose.float() * share
        # r_t = pi(a_t|s_t) / pi_old(a_t|s_t)
        ratios = (distribution.log_probs(policy, actions) - before).exp()
        # L^CLIP = E[min(r_t A_t, clip(r_t, 1 - eps, 1 + eps) A_t)] (Schulman et al. 2017, equation 7)
        gains = torch.minimum(ratios * rows.advantages, ratios.clamp(1 - clip, 1 + clip) * rows.advantages)
        policy_loss = -(gains * acted).sum()
        # L^VF = (V(s_t) - R_t)^2; with a clip, V goes no further from what it was (as OpenAI's baselines have it)
        errors = (values - rows.returns).square()
        if config.value_clip is not None:
            near = rows.values + (values - rows.values).clamp(-config.value_clip, config.value_clip)
            errors = torch.maximum(errors, (near - rows.returns).square())
        value_loss = (errors * mask).sum()
        bonus = (distribution.entropy(policy) * acted).sum()
        # L = L^CLIP - c_1 L^VF + c_2 S (equation 9), with its sign turned
        loss = policy_loss + config.value_cost * value_loss - entropy_cost * bonus
        with torch.no_grad():
            beyond = (((ratios - 1).abs() > clip) * acted).sum()
            divergence = (distribution.kl_divergence(behaviour, policy) * acted).sum()
        return Loss(loss, summed([policy_loss, value_loss, bonus, beyond, divergence]))

    @torch.no_grad()
    def _judged(self, whole: Batch, joint: Tensor | None) -> tuple[Tensor, Tensor]:
        """Values and advantages `[T, B]` of a round, by the version before the update; slices of columns in turn."""
        network, values, following = cast(ActorCritic, self.network), list[Tensor](), list[Tensor]()
        led_to = None if joint is None else self._joint(_led_to(whole))
        with self.on.computing.precision():
            for low, high in edges(whole.rewards.shape[1], self.on.computing.slices):
                if joint is not None and led_to is not None:
                    central = cast(CentralActorCritic, network)
                    values.append(central.central_values(joint[:, low:high]))
                    following.append(central.central_values(led_to[:, low:high]))
                    continue
                part = of_columns(whole, torch.arange(low, high, device=whole.rewards.device))
                features = unrolled(network, part)
                of_rows, of_last, of_cuts = map(network.values, (features.rows, features.last, features.cuts))
                values.append(of_rows)
                following.append(features.following(of_rows, of_last, of_cuts, part.cut_rows))
        judged, rewards = torch.cat(values, 1), self.on.rewards(whole.rewards, self.config.reward_clip)
        advantages = generalised_advantages(
            rewards, judged, torch.cat(following, 1), whole.terminated, whole.ended, self.config
        )
        return judged, advantages

    def _joint(self, observations: Tensor) -> Tensor | None:
        """What a central critic sees for each of observations `[T, B, ...]`; None without one."""
        network = self.network
        return network.joint(observations) if isinstance(network, CentralActorCritic) else None

    def _values(self, features: Tensor, joint: Tensor | None) -> Tensor:
        """Values `[...]`, by features `[..., F]` or by what a central critic sees, `[..., J]`."""
        if joint is None:
            return cast(ActorCritic, self.network).values(features)
        return cast(CentralActorCritic, self.network).central_values(joint)

    def _minibatches(self, round_: Rows) -> Iterator[Rows]:
        """Minibatches epoch by epoch: shuffled rows, or whole shuffled columns where there is a memory to unroll."""
        steps, columns = round_.advantages.shape
        units = columns if self.network.core else steps * columns
        for epoch in range(self.config.epochs):
            generator = stream(self.on.seed, "minibatches", self.gradient_steps, epoch)
            drawn = torch.from_numpy(generator.permutation(units)).to(round_.advantages.device)
            for low, high in edges(units, min(self.config.minibatches, units)):
                part = self._picked(round_, drawn[low:high])
                if self.config.normalize_advantages:
                    batch = part.batch
                    chose, _ = deciding(self.network.distribution, batch.behaviour, batch.valid)
                    normal = standardised(part.advantages, chose.flatten().float())
                    part = replace(part, advantages=normal)
                yield part

    def _slices(self, rows: Rows) -> Iterator[Rows]:
        """The slices that a minibatch's gradient is summed from."""
        columns = rows.batch.rewards.shape[1]
        for low, high in edges(columns, min(self.on.computing.slices, columns)):
            if (low, high) == (0, columns):
                yield rows
                return
            yield rows.columns(torch.arange(low, high, device=rows.returns.device))

    def _picked(self, round_: Rows, units: Tensor) -> Rows:
        """Some columns of a round, or some of its rows as columns of one step."""
        if self.network.core:
            return round_.columns(units)
        batch = round_.batch
        flat = {
            name: getattr(batch, name).flatten(0, 1)[units].unsqueeze(0)
            for name in ("actions", "behaviour", "rewards", "terminated", "truncated", "valid")
        }
        seen = batch.observations[:-1].flatten(0, 1)[units].unsqueeze(0)
        # Where a row led to stands in its advantage; there is no memory.
        memory = batch.memory.new_zeros((len(units), 0))
        nowhere = {"cut_rows": batch.cut_rows[:0], "cut_observations": batch.cut_observations[:0], "memory": memory}
        picked = Batch(seen, **flat, **nowhere)
        judged = [part.flatten()[units] for part in (round_.advantages, round_.returns, round_.values)]
        joint = None if round_.joint is None else round_.joint.flatten(0, 1)[units]
        return Rows(picked, judged[0], judged[1], judged[2], joint)


def _led_to(batch: Batch) -> Tensor:
    """Where each row led to, `[T, B, ...]`; of a truncated episode its last observation."""
    led_to = batch.observations[1:].clone()
    led_to[batch.cut_rows[:, 0], batch.cut_rows[:, 1]] = batch.cut_observations
    return led_to
