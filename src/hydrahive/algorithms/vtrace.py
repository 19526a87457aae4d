"""V-trace (Espeholt et al. 2018, IMPALA): targets, losses and the update."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from hydrahive.algorithms.batch import Batch
from hydrahive.algorithms.config import VTrace
from hydrahive.core.errors import DivergedError
from hydrahive.core.schedules import value_at
from hydrahive.core.state import State, nested, under
from hydrahive.policies.actor_critic import ActorCritic
from hydrahive.policies.categorical import chosen, entropy, kl_divergence
from hydrahive.policies.flat_weights import FlatWeights


class Targets(NamedTuple):
    """What the update aims at, all `[T, B]`.

    Attributes:
        values: v_s, equation 1 of the paper.
        advantages: rho_s (r_s + gamma v_{s+1} - V(x_s)), section 4.2.
        rhos: The clipped importance weights.
    """

    values: Tensor
    advantages: Tensor
    rhos: Tensor


def vtrace_targets(
    log_ratios: Tensor,
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    ended: Tensor,
    config: VTrace,
) -> Targets:
    """V-trace targets of `T` steps of `B` environments.

    Args:
        log_ratios: `[T, B]`, log pi(a|x) - log mu(a|x) of target and behaviour policy.
        rewards: `[T, B]`.
        values: `[T, B]`, V(x_t).
        next_values: `[T, B]`, V of the observation that the step led to; where an episode was truncated,
            of its last observation.
        terminated: `[T, B]` bool; the next value counts nothing here.
        ended: `[T, B]` bool, terminated or truncated; no trace passes here.
        config: Clips, discount and trace decay.
    """
    ratios = log_ratios.exp()
    rhos = ratios.clamp(max=config.rho_clip)
    traces = config.trace_decay * ratios.clamp(max=config.c_clip)
    discounts = config.discount * (~terminated).float()
    deltas = rhos * (rewards + discounts * next_values - values)
    passing = discounts * traces * (~ended).float()
    # v_s - V(x_s) = delta_s V + gamma c_s (v_{s+1} - V(x_{s+1})), remark 1 of the paper.
    corrections = torch.empty_like(values)
    later = torch.zeros_like(values[0])
    for t in reversed(range(len(values))):
        later = torch.addcmul(deltas[t], passing[t], later)
        corrections[t] = later
    targets = values + corrections
    next_targets = next_values.clone()
    next_targets[:-1] = torch.where(ended[:-1], next_values[:-1], targets[1:])
    return Targets(targets, rhos * (rewards + discounts * next_targets - values), rhos)


class VTraceUpdate:
    """The learner's rule: `accumulate` the gradient of each slice of a round, then `apply` it once."""

    def __init__(self, config: VTrace, policy: ActorCritic) -> None:
        """Lay the policy's weights flat and give them an optimizer."""
        self.config = config
        self.policy = policy
        self.weights = FlatWeights(policy, with_gradients=True)
        self._parameter = torch.nn.Parameter(self.weights.vector)
        self._parameter.grad = self.weights.gradient
        if config.optimizer == "adam":
            self._moments: tuple[str, ...] = ("exp_avg", "exp_avg_sq")
            self._optimizer: torch.optim.Optimizer = torch.optim.Adam(
                [self._parameter], eps=config.optimizer_epsilon, foreach=False
            )
        else:
            self._moments = ("square_avg",)
            self._optimizer = torch.optim.RMSprop(
                [self._parameter], alpha=config.rmsprop_decay, eps=config.optimizer_epsilon, foreach=False
            )
        self.gradient_steps = 0
        self._reset_moments()

    def accumulate(self, batch: Batch, total: int, env_steps: int) -> Tensor:
        """Add one slice's share of the round's gradient.

        Args:
            batch: The slice.
            total: Valid rows of the whole round; losses are means over them.
            env_steps: Of the run, before this round; schedules read it.

        Returns:
            Sums over the slice, float64 `[len(SUMS)]`, for `metrics`.
        """
        steps, columns = batch.actions.shape
        logits, values = self.policy(batch.observations[:-1].flatten(0, 1))
        actions = batch.actions.flatten()
        log_policy = logits.log_softmax(-1)
        log_probs = chosen(log_policy, actions)
        with torch.no_grad():
            log_behaviour = batch.behaviour.flatten(0, 1).log_softmax(-1)
            log_ratios = (log_probs - chosen(log_behaviour, actions)).view(steps, columns)
            current = values.view(steps, columns)
            targets = vtrace_targets(
                log_ratios,
                batch.rewards,
                current,
                self._next_values(batch, current),
                batch.terminated,
                batch.terminated | batch.truncated,
                self.config,
            )
        valid = batch.valid.flatten()
        mask = valid.float()
        errors = targets.values.flatten() - values
        policy_loss = -(targets.advantages.flatten() * log_probs * mask).sum()
        value_loss = (errors.square() * mask).sum()
        bonus = (entropy(log_policy) * mask).sum()
        entropy_cost = value_at(self.config.entropy_cost, env_steps)
        loss = policy_loss + self.config.value_cost * value_loss - entropy_cost * bonus
        (loss / total).backward()
        with torch.no_grad():
            aims = targets.values.flatten()[valid].double()
            clipped = (log_ratios.flatten()[valid].exp() > self.config.rho_clip).sum()
            divergence = (kl_divergence(log_behaviour, log_policy) * mask).sum()
            rhos = (targets.rhos.flatten() * mask).sum()
            sums = [policy_loss, value_loss, bonus, rhos, clipped, divergence, aims.sum(), aims.square().sum()]
            return torch.stack([value.double() for value in sums])

    def apply(self, env_steps: int) -> float:
        """Clip the accumulated gradient, take one optimizer step, and return the gradient's norm.

        Raises:
            DivergedError: If the gradient is not finite; the weights are left as they were.
        """
        gradient = self.weights.gradient
        norm = float(torch.linalg.vector_norm(gradient))
        if not norm < float("inf"):
            raise DivergedError(f"the gradient's norm is {norm} at gradient step {self.gradient_steps}")
        if norm > self.config.gradient_norm:
            gradient.mul_(self.config.gradient_norm / norm)
        self._optimizer.param_groups[0]["lr"] = value_at(self.config.learning_rate, env_steps)
        self._optimizer.step()
        gradient.zero_()
        self.gradient_steps += 1
        return norm

    def metrics(self, sums: Tensor, total: int, norm: float, env_steps: int) -> dict[str, float]:
        """The update's figures, from the slices' summed `accumulate` results."""
        policy_loss, value_loss, entropy, rho, clipped, divergence, aim, aim_squared = (sums / total).tolist()
        entropy_cost = value_at(self.config.entropy_cost, env_steps)
        variance = max(aim_squared - aim * aim, 1e-12)
        return {
            "loss": policy_loss + self.config.value_cost * value_loss - entropy_cost * entropy,
            "policy_loss": policy_loss,
            "value_loss": value_loss,
            "entropy": entropy,
            "rho_mean": rho,
            "rho_clipped_share": clipped,
            "behaviour_kl": divergence,
            "explained_variance": 1 - value_loss / variance,
            "gradient_norm": norm,
            "learning_rate": value_at(self.config.learning_rate, env_steps),
            "entropy_cost": entropy_cost,
        }

    def state(self) -> State:
        """Weights, and the optimizer's moments, as named arrays."""
        state = nested("weights", self.weights.named(self.weights.vector))
        for moment in self._moments:
            named = self.weights.named(self._optimizer.state[self._parameter][moment])
            state |= nested(f"optimizer/{moment}", named)
        return state

    def restore(self, state: State, gradient_steps: int) -> None:
        """Continue from `state` after so many gradient steps."""
        self.load_weights(state)
        for moment in self._moments:
            vector = self._optimizer.state[self._parameter][moment]
            self.weights.load_named(vector, under(f"optimizer/{moment}", state))
        self.gradient_steps = gradient_steps
        self._optimizer.state[self._parameter]["step"] = torch.tensor(float(gradient_steps))

    def load_weights(self, state: State) -> None:
        """Take over the weights of `state` and leave the optimizer as it is."""
        self.weights.load_named(self.weights.vector, under("weights", state))

    def _reset_moments(self) -> None:
        zeros = {moment: torch.zeros_like(self.weights.vector) for moment in self._moments}
        self._optimizer.state[self._parameter] = {"step": torch.tensor(0.0), **zeros}

    @torch.no_grad()
    def _next_values(self, batch: Batch, values: Tensor) -> Tensor:
        """V of what each step led to, `[T, B]`; of an episode's last observation where it was truncated."""
        last = self.policy.values(batch.observations[-1])
        next_values = torch.cat([values[1:], last.unsqueeze(0)])
        if len(batch.cut_rows):
            next_values[batch.cut_rows[:, 0], batch.cut_rows[:, 1]] = self.policy.values(batch.cut_observations)
        return next_values
