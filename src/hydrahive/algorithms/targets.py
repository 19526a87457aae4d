"""V-trace's targets (Espeholt et al. 2018, IMPALA, section 4)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from hydrahive.algorithms.config import VTrace


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
    rhos = ratios.clamp(max=config.rho_clip)
    traces = config.trace_decay * ratios.clamp(max=config.c_clip)
    discounts = config.discount * (~terminated).float()
    deltas = rhos * (rewards + discounts * next_values - values)
    passing = discounts * traces * (~ended).float()
    # v_s - V(x_s) = delta_s V + gamma c_s (v_{s+1} - V(x_{s+1})), remark 1 of the paper.
    corrections = [torch.zeros_like(values[0])]
    for delta, share in zip(reversed(deltas.unbind()), reversed(passing.unbind()), strict=True):
        corrections.append(torch.addcmul(delta, share, corrections[-1]))
    targets = values + torch.stack(corrections[:0:-1])
    next_targets = next_values.clone()
    next_targets[:-1] = torch.where(ended[:-1], next_values[:-1], targets[1:])
    return Targets(targets, rewards + discounts * next_targets - values, rhos)


def standardised(values: Tensor, mask: Tensor) -> Tensor:
    """Values `[N]` less their mean, over their deviation; both of those that a mask of 0 and 1 counts."""
    exact, counted = values.double(), mask.double()  # so that equal values are not told apart by rounding
    count = counted.sum().clamp(min=1)
    apart = exact - (exact * counted).sum() / count
    return (apart / ((apart.square() * counted).sum() / count).sqrt().clamp(min=1e-6)).to(values.dtype)
