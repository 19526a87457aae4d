"""V-trace (Espeholt et al. 2018, IMPALA): losses and the update."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from hydrahive.algorithms.batch import Batch, clipped, replayed
from hydrahive.algorithms.config import VTrace
from hydrahive.algorithms.minibatches import Minibatch, cut
from hydrahive.algorithms.normalisers import Returns, Statistics
from hydrahive.algorithms.optimizer import FlatOptimizer
from hydrahive.algorithms.rule import Computing, Round
from hydrahive.algorithms.unroll import unrolled
from hydrahive.algorithms.vtrace_targets import Targets, standardised, vtrace_targets
from hydrahive.core.config import AlgorithmConfig
from hydrahive.core.schedules import value_at
from hydrahive.core.state import State, nested, under
from hydrahive.core.streams import stream
from hydrahive.policies.actor_critic import ActorCritic
from hydrahive.policies.flat_weights import FlatWeights
from hydrahive.policies.network import CLAMP

SUMS = ("policy_loss", "value_loss", "entropy", "rho", "clipped", "divergence", "aim", "aim_squared")
"""What `accumulate` sums over rows: losses, entropy, importance weights, how many exceed their clip, the divergence of
behaviour and policy, and the value targets."""


class VTraceUpdate:
    """The learner's rule: gradient steps on a round, and on replayed sequences beside it."""

    def __init__(self, config: VTrace, network: ActorCritic, computing: Computing, seed: int) -> None:
        """Lay the network's weights flat and give them an optimizer; `seed` is the run's."""
        self.config, self.network, self.computing, self._seed = config, network, computing, seed
        self.weights = FlatWeights(network, with_gradients=True)
        self._optimizer = FlatOptimizer(
            self.weights, config.optimizer, config.optimizer_epsilon, config.gradient_norm, config.rmsprop_decay
        )
        shape = tuple(network.observation_mean.shape) if network.normalizes else ()
        self._observations = Statistics(shape) if network.normalizes else None
        self._returns = Returns(config.discount) if config.normalize_rewards else None
        self._used: dict[str, float] = {}

    def change(self, config: AlgorithmConfig) -> None:
        """Learn with other values from the next update on."""
        assert isinstance(config, VTrace)
        self.config = config
        self._optimizer.set(config.optimizer_epsilon, config.gradient_norm, config.rmsprop_decay)
        if self._returns is not None:
            self._returns.discount = config.discount

    @property
    def gradient_steps(self) -> int:
        """Taken so far."""
        return self._optimizer.steps

    def learn(self, round_: Round) -> dict[str, float]:
        """Take a gradient step on each minibatch in each epoch; every row of one, fresh or replayed, weighs the same.

        Raises:
            DivergedError: If a gradient is not finite; the weights are left as the step before made them.
        """
        self._normalise(round_)
        config, env_steps = self.config, round_.env_steps
        rate, entropy_cost = value_at(config.learning_rate, env_steps), value_at(config.entropy_cost, env_steps)
        self._used = {"learning_rate": rate, "entropy_cost": entropy_cost, "discount": config.discount}
        sums = torch.zeros((2, len(SUMS)), dtype=torch.float64, device=self.computing.device)
        norms = []
        for minibatch in self._minibatches(round_):
            sums += self._summed(minibatch)
            norms.append(self._optimizer.step(rate))
        if not norms:
            return dict(self._used)
        fresh, old = sums / config.epochs
        metrics = self.metrics(fresh, max(round_.valid_rows, 1), sum(norms) / len(norms))
        replayed_rows = sum(sequences.frames for sequences in round_.sample.batches) if round_.sample else 0
        if replayed_rows:
            named = dict(zip(SUMS, (old / replayed_rows).tolist(), strict=True))
            metrics |= {f"replayed_{name}": named[name] for name in ("value_loss", "rho", "clipped", "divergence")}
        return metrics | ({"replayed_frames": replayed_rows} if round_.sample else {})

    def _minibatches(self, round_: Round) -> Iterator[Minibatch]:
        """What each gradient step is taken on, in order."""
        slices, device = self.computing.slices, self.computing.device
        count = self.config.minibatches_of(round_.columns, slices)
        order = self._order(count)
        if self.config.epochs == 1 or slices > 1 or device.type != "cpu":
            yield from cut(round_, count, order, slices, device, order[0])
            return
        # Laying pictures out takes a CPU a tenth of the time that it learns from them: once is enough, where slices
        # are not to save memory.
        parts = {
            part.index: self._prepared(part) for part in cut(round_, count, range(count), slices, device, order[0])
        }
        yield from (parts[i] for i in order if i in parts)

    def _order(self, count: int) -> list[int]:
        """So many minibatches in all epochs; each epoch goes through all of them in an order of its own."""
        orders = (
            stream(self._seed, "minibatches", self.gradient_steps, epoch).permutation(count)
            for epoch in range(self.config.epochs)
        )
        return [int(i) for order in orders for i in order]

    def _prepared(self, minibatch: Minibatch) -> Minibatch:
        """With observations as the network computes on them, to be gone through more than once."""
        with self.computing.precision():
            slices = [
                replace(batch, observations=self.network.prepared(batch.observations)) for batch in minibatch.slices
            ]
        return replace(minibatch, slices=slices)

    def _summed(self, minibatch: Minibatch) -> Tensor:
        """Add up a minibatch's gradient; what `accumulate` gives for fresh and for replayed rows, `[2, len(SUMS)]`."""
        total = minibatch.fresh_rows + minibatch.replayed_rows
        sums = torch.zeros((2, len(SUMS)), dtype=torch.float64, device=self.computing.device)
        for batch in minibatch.slices:
            sums[0] += self.accumulate(batch, total)
        for sequences in minibatch.replayed:
            with self.computing.precision():
                batch = replayed(sequences, self.network, self.computing.device)
            sums[1] += self.accumulate(batch, total)
        return sums

    def accumulate(self, batch: Batch, total: int) -> Tensor:
        """Add a batch's share of the update's gradient.

        Args:
            batch: A slice of a minibatch, or replayed sequences.
            total: Rows that the gradient step learns from; losses are means over them.

        Returns:
            Sums over the batch, float64 `[len(SUMS)]`, for `metrics`.
        """
        with self.computing.precision():
            return self._accumulate(batch, total)

    def _accumulate(self, batch: Batch, total: int) -> Tensor:
        steps, columns = batch.rewards.shape
        features = unrolled(self.network, batch)
        flat = features.rows.flatten(0, 1)
        policy, values = self.network.scores(flat), self.network.values(flat)
        actions, behaviour = batch.actions.flatten(0, 1), batch.behaviour.flatten(0, 1)
        distribution = self.network.distribution
        policy = distribution.normal(distribution.masked_like(policy, behaviour))
        log_probs = distribution.log_probs(policy, actions)
        with torch.no_grad():
            behaviour = distribution.normal(behaviour)
            log_ratios = (log_probs - distribution.log_probs(behaviour, actions)).view(steps, columns)
            ratios = log_ratios.flatten().exp()
            current = values.view(steps, columns)
            last, cuts = self.network.values(features.last), self.network.values(features.cuts)
            next_values = features.following(current, last, cuts, batch.cut_rows)
            targets = vtrace_targets(
                log_ratios,
                self._scaled(batch.rewards),
                current,
                next_values,
                batch.terminated,
                batch.ended,
                self.config,
            )
        valid = batch.valid.flatten()
        mask = valid.float()
        errors = targets.values.flatten() - values
        # The three gradients of Espeholt et al. 2018, section 4.2, as losses over the rows that somebody played:
        # rho_s grad log pi(a_s|x_s) (r_s + gamma v_{s+1} - V(x_s)), upwards;
        policy_loss = -(self._gains(targets, log_probs, ratios, mask) * mask).sum()
        # (v_s - V(x_s)) grad V(x_s), half of the gradient of the squared error, downwards;
        value_loss = (errors.square() * mask).sum()
        # - grad sum_a pi(a|x_s) log pi(a|x_s), upwards.
        bonus = (distribution.entropy(policy) * mask).sum()
        entropy_cost = self._used["entropy_cost"]
        # L = L_policy + c_value L_value - c_entropy H, a mean over all rows of the gradient step.
        loss = policy_loss + self.config.value_cost * value_loss - entropy_cost * bonus
        torch.autograd.backward(loss / total)
        with torch.no_grad():
            # Without picking rows: a GPU would have to say how many there are before the next slice is begun.
            aims = torch.where(valid, targets.values.flatten().double(), 0.0)
            beyond = (valid & (ratios > self.config.rho_clip)).sum()
            divergence = (distribution.kl_divergence(behaviour, policy) * mask).sum()
            rhos = (targets.rhos.flatten() * mask).sum()
            sums = [policy_loss, value_loss, bonus, rhos, beyond, divergence, aims.sum(), aims.square().sum()]
            return torch.stack([value.double() for value in sums])

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

    def metrics(self, sums: Tensor, total: int, norm: float) -> dict[str, float]:
        """The update's figures on fresh rows, from the slices' summed `accumulate` results."""
        policy_loss, value_loss, entropy, rho, beyond, divergence, aim, aim_squared = (sums / total).tolist()
        entropy_cost = self._used["entropy_cost"]
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
            "gradient_norm": norm,
            **self._used,
        }

    def _normalise(self, round_: Round) -> None:
        """Take a round into the statistics; from here on the network sees with them."""
        if self._returns is not None:
            self._returns.merge(round_.fragments)
        if self._observations is None:
            return
        for fragment in round_.fragments:
            self._observations.merge(fragment.observations[:-1][fragment.valid])
        self.network.observation_mean.copy_(torch.from_numpy(self._observations.mean))
        self.network.observation_scale.copy_(torch.from_numpy(1 / self._observations.deviation()))

    def _scaled(self, rewards: Tensor) -> Tensor:
        if self._returns is None:
            return clipped(rewards, self.config.reward_clip)
        # r / std(R), R_t = gamma R_{t-1} + r_t (Engstrom et al. 2020, section 3)
        return (rewards / float(self._returns.statistics.deviation()[0])).clamp(-CLAMP, CLAMP)

    def state(self) -> State:
        """Weights, the optimizer's moments, and the normalisers' statistics, as named arrays."""
        state = {**nested("weights", self.weights.named(self.weights.vector)), **self._optimizer.state()}
        if self._observations is not None:
            state |= nested("observations", self._observations.state())
        if self._returns is not None:
            state |= nested("returns", self._returns.state())
        return state

    def restore(self, state: State, gradient_steps: int) -> None:
        """Continue from `state` after so many gradient steps."""
        self.load_weights(state)
        self._optimizer.restore(state, gradient_steps)
        if self._observations is not None:
            self._observations.restore(under("observations", state))
        if self._returns is not None:
            self._returns.restore(under("returns", state))

    def load_weights(self, state: State) -> None:
        """Take over the weights of `state` and leave the optimizer as it is."""
        self.weights.load_named(self.weights.vector, under("weights", state))
