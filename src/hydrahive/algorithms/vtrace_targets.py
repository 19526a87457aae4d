"""V-trace's targets (Espeholt et al. 2018, IMPALA, section 4)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from hydrahive.algorithms.config import VTrace
from hydrahive.policies.gaussian import Distribution


class Targets(NamedTuple):
    """What the update aims at, all `[T, B]`.

    Attributes:
        values: v_s, equation 1 of the paper.
        advantages: r_s + gamma v_{s+1} - V(x_s), of section 4.2.
        rhos: The clipped importance weights, which the section weighs them by.
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
    # rho_t = min(rho-bar, pi(a_t|x_t) / mu(a_t|x_t)) and c_i = lambda min(c-bar, pi / mu), below equation 1; remark 2.
    rhos = ratios.clamp(max=config.rho_clip)
    traces = config.trace_decay * ratios.clamp(max=config.c_clip)
    # gamma_t = 0 where an episode ended by itself; where it was cut off its last observation's value counts.
    discounts = config.discount * (~terminated).float()
    # delta_t V = rho_t (r_t + gamma_t V(x_{t+1}) - V(x_t)), equation 1.
    deltas = rhos * (rewards + discounts * next_values - values)
    passing = discounts * traces * (~ended).float()
    # v_s = V(x_s) + sum_{t >= s} gamma^{t-s} (c_s ... c_{t-1}) delta_t V, equation 1; by remark 1 backwards in time:
    # v_s - V(x_s) = delta_s V + gamma_s c_s (v_{s+1} - V(x_{s+1})).
    corrections = [torch.zeros_like(values[0])]
    for delta, share in zip(reversed(deltas.unbind()), reversed(passing.unbind()), strict=True):
        corrections.append(torch.addcmul(delta, share, corrections[-1]))
    targets = values + torch.stack(corrections[:0:-1])
    # The policy's advantage: r_s + gamma_s v_{s+1} - V(x_s), section 4.2; v at an episode's end is V there.
    next_targets = next_values.clone()
    next_targets[:-1] = torch.where(ended[:-1], next_values[:-1], targets[1:])
    return Targets(targets, rewards + discounts * next_targets - values, rhos)


def deciding(distribution: Distribution, behaviour: Tensor, valid: Tensor) -> tuple[Tensor, float]:
    """Rows in which something was to be chosen, and by how much fewer they are than all that are valid.

    Whoever waits for a turn chooses nothing: such rows have values, and weigh nothing in what is learned about acting.

    Args:
        distribution: Of actions.
        behaviour: Its parameters as they were drawn from, `[..., P]`.
        valid: Which rows somebody played, bool `[...]`.

    Returns:
        Bool `[...]`, and a mean over valid rows times this is one over those.
    """
    chose = distribution.decides(behaviour)
    if chose is None:
        return valid, 1.0
    chose = chose & valid
    return chose, float(valid.sum()) / max(float(chose.sum()), 1.0)


def standardised(values: Tensor, mask: Tensor) -> Tensor:
    """Values `[N]` less their mean, over their deviation; both of those that a mask of 0 and 1 counts."""
    exact, counted = values.double(), mask.double()  # so that equal values are not told apart by rounding
    count = counted.sum().clamp(min=1)
    apart = exact - (exact * counted).sum() / count
    return (apart / ((apart.square() * counted).sum() / count).sqrt().clamp(min=1e-6)).to(values.dtype)
