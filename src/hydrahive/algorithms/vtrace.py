"""V-trace actor-critic (Espeholt et al. 2018, IMPALA): off-policy by a lag, corrected by importance weights."""

from __future__ import annotations

from functools import partial
from itertools import chain

import torch
from torch import Tensor

from hydrahive.algorithms.base.batch import Batch
from hydrahive.algorithms.base.learning import Algorithm
from hydrahive.algorithms.base.optimizer import OptimizerSettings
from hydrahive.algorithms.base.rule import Round
from hydrahive.algorithms.base.steps import Loss, Step, Story, summed
from hydrahive.algorithms.base.unroll import unrolled
from hydrahive.algorithms.config import VTrace
from hydrahive.algorithms.vtrace_targets import Targets, deciding, standardised, vtrace_targets
from hydrahive.core.schedules import value_at
from hydrahive.policies.actor_critic import ActorCritic

SUMS = ("policy_loss", "value_loss", "entropy", "rho", "clipped", "divergence", "aim", "aim_squared")
"""What is summed over rows: losses, entropy, importance weights, how many exceed their clip, the divergence of
behaviour and policy, and the value targets."""


class VTraceUpdate(Algorithm):
    """Gradient steps on a round, and on replayed sequences beside it."""

    config: VTrace

    def optimizer(self) -> OptimizerSettings:
        """Adam or RMSprop."""
        config = self.config
        return OptimizerSettings(config.optimizer, config.optimizer_epsilon, config.gradient_norm, config.rmsprop_decay)

    def returns_discount(self) -> float | None:
        """The algorithm's own."""
        return self.config.discount if self.config.normalize_rewards else None

    def update(self, round_: Round) -> Story:
        """A gradient step on each minibatch in each epoch; every row of one, fresh or replayed, weighs the same."""
        config, env_steps, on = self.config, round_.env_steps, self.on
        rate, entropy_cost = value_at(config.learning_rate, env_steps), value_at(config.entropy_cost, env_steps)
        used = {"learning_rate": rate, "entropy_cost": entropy_cost, "discount": config.discount}
        # Two sums in the order of the slices: of fresh rows, and of replayed ones.
        fresh, old = (torch.zeros(len(SUMS), dtype=torch.float64, device=on.computing.device) for _ in range(2))
        norms = []
        count = config.minibatches_of(round_.columns, on.computing.slices)
        share = self._share(round_)
        for minibatch in on.minibatches(round_, config.epochs, count):
            slices = chain(minibatch.slices, map(on.replayed, minibatch.replayed))
            total = minibatch.fresh_rows + minibatch.replayed_rows
            taken = yield Step(slices, partial(self.loss, entropy_cost=entropy_cost, share=share), total, rate)
            norms.append(taken.norm)
            replayed_slices = len(minibatch.replayed)
            fresh += taken.sums[: len(taken.sums) - replayed_slices].sum(0)
            old += taken.sums[len(taken.sums) - replayed_slices :].sum(0)
        if not norms:
            return used
        figures = self.told(fresh / config.epochs, max(round_.valid_rows, 1), entropy_cost)
        replayed_rows = sum(sequences.frames for sequences in round_.sample.batches) if round_.sample else 0
        if replayed_rows:
            named = dict(zip(SUMS, (old / config.epochs / replayed_rows).tolist(), strict=True))
            figures |= {f"replayed_{name}": named[name] for name in ("value_loss", "rho", "clipped", "divergence")}
        figures |= {"replayed_frames": replayed_rows} if round_.sample else {}
        return {**figures, "gradient_norm": sum(norms) / len(norms), **used}

    def _share(self, round_: Round) -> float:
        """By how much rows of a round in which something was to be chosen are fewer than all."""
        distribution = self.network.distribution
        if not distribution.choices:
            return 1.0
        parts = [(torch.from_numpy(f.behaviour), torch.from_numpy(f.valid)) for f in round_.fragments]
        chose = sum(int(deciding(distribution, behaviour, valid)[0].sum()) for behaviour, valid in parts)
        return round_.valid_rows / max(chose, 1)

    def loss(self, batch: Batch, entropy_cost: float, share: float = 1.0) -> Loss:
        """V-trace's loss on some columns of a round, or on replayed sequences; `SUMS`.

        Args:
            batch: The rows.
            entropy_cost: In force.
            share: By how much rows in which something was to be chosen are fewer than all (`deciding`).
        """
        network, config = self.network, self.config
        assert isinstance(network, ActorCritic)
        steps, columns = batch.rewards.shape
        features = unrolled(network, batch)
        flat = features.rows.flatten(0, 1)
        policy, values = network.scores(flat), network.values(flat)
        actions, behaviour = batch.actions.flatten(0, 1), batch.behaviour.flatten(0, 1)
        distribution = network.distribution
        policy = distribution.normal(distribution.masked_like(policy, behaviour))
        log_probs = distribution.log_probs(policy, actions)
        with torch.no_grad():
            behaviour = distribution.normal(behaviour)
            # log pi(a_t|x_t) - log mu(a_t|x_t)
            log_ratios = (log_probs - distribution.log_probs(behaviour, actions)).view(steps, columns)
            ratios = log_ratios.flatten().exp()
            current = values.view(steps, columns)
            last, cuts = network.values(features.last), network.values(features.cuts)
            next_values = features.following(current, last, cuts, batch.cut_rows)
            rewards = self.on.rewards(batch.rewards, config.reward_clip)
            targets = vtrace_targets(log_ratios, rewards, current, next_values, batch.terminated, batch.ended, config)
        valid = batch.valid.flatten()
        mask = valid.float()
        chose, _ = deciding(distribution, batch.behaviour.flatten(0, 1), valid)
        acted = mask if chose is valid else chose.float() * share
        errors = targets.values.flatten() - values
        # The three gradients of Espeholt et al. 2018, section 4.2, as losses over the rows that somebody played:
        # rho_s grad log pi(a_s|x_s) (r_s + gamma v_{s+1} - V(x_s)), upwards;
        policy_loss = -(self._gains(targets, log_probs, ratios, chose.float()) * acted).sum()
        # (v_s - V(x_s)) grad V(x_s), half of the gradient of the squared error, downwards;
        value_loss = (errors.square() * mask).sum()
        # - grad sum_a pi(a|x_s) log pi(a|x_s), upwards.
        bonus = (distribution.entropy(policy) * acted).sum()
        # L = L_policy + c_value L_value - c_entropy H, a mean over all rows of the gradient step.
        loss = policy_loss + config.value_cost * value_loss - entropy_cost * bonus
        with torch.no_grad():
            # Without picking rows: a GPU would have to say how many there are before the next slice is begun.
            aims = torch.where(valid, targets.values.flatten().double(), 0.0)
            beyond = (valid & (ratios > config.rho_clip)).sum()
            divergence = (distribution.kl_divergence(behaviour, policy) * mask).sum()
            rhos = (targets.rhos.flatten() * mask).sum()
        sums = [policy_loss, value_loss, bonus, rhos, beyond, divergence, aims.sum(), aims.square().sum()]
        return Loss(loss, summed(sums))

    def _gains(self, targets: Targets, log_probs: Tensor, ratios: Tensor, mask: Tensor) -> Tensor:
        """What the policy's gradient is of, to be raised; all but `targets` are `[T * B]`, `ratios` of pi and mu."""
        advantages, clip = targets.advantages.flatten(), self.config.policy_clip
        if self.config.normalize_advantages:
            advantages = standardised(advantages, mask)
        # rho_s A_s log pi(a_s|x_s), whose gradient is section 4.2's.
        gains = targets.rhos.flatten() * advantages * log_probs
        if clip is None:
            return gains
        # min(r A, clip(r, 1 - eps, 1 + eps) A) has no gradient in r where A draws r = pi / mu further beyond the clip
        # (Schulman et al. 2017, equation 7).
        beyond = torch.where(advantages > 0, ratios > 1 + clip, ratios < 1 - clip)
        return torch.where(beyond, 0.0, gains)

    def told(self, sums: Tensor, total: int, entropy_cost: float) -> dict[str, float]:
        """An update's figures, from its `SUMS` over `total` fresh rows."""
        policy_loss, value_loss, entropy, rho, beyond, divergence, aim, aim_squared = (sums / total).tolist()
        # 1 - E[(v - V)^2] / Var[v]: 1 where the values foresee the targets, 0 where their mean does as well.
        variance = max(aim_squared - aim * aim, 1e-12)
        return {
            "loss": policy_loss + self.config.value_cost * value_loss - entropy_cost * entropy,
            "policy_loss": policy_loss,
            "value_loss": value_loss,
            "entropy": entropy,
            "rho_mean": rho,
            "rho_clipped_share": beyond,
            "behaviour_kl": divergence,
            "explained_variance": 1 - value_loss / variance,
        }
