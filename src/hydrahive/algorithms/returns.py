"""What deep Q-learning makes of returns: their mean, a distribution over fixed values, or quantiles."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import huber_loss


def discounted(rewards: Tensor, discount: float) -> Tensor:
    """sum_k gamma^k r_k over the first dimension of rewards `[n, S]` (Sutton and Barto 2018, equation 7.1)."""
    powers = discount ** torch.arange(len(rewards), dtype=rewards.dtype, device=rewards.device)
    return powers @ rewards


def distance(errors: Tensor, delta: float | None) -> Tensor:
    """d^2 / 2 for |d| <= delta, delta (|d| - delta / 2) beyond (Huber 1964); d^2 / 2 everywhere without a delta."""
    if delta is None:
        return errors.square() / 2
    return huber_loss(errors, torch.zeros_like(errors), reduction="none", delta=delta)


def projected(returns: Tensor, probabilities: Tensor, support: Tensor) -> Tensor:
    """A distribution over any returns as one over the support's (Bellemare et al. 2017, algorithm 1).

    Args:
        returns: `[S, Z]`, r + gamma z_j for each of the support's values.
        probabilities: `[S, Z]`, of each.
        support: `[Z]`, equally far apart.
    """
    lowest, highest, atoms = support[0], support[-1], len(support)
    # b_j = (clip(T z_j) - v_min) / dz; its share goes to the two values beside it, the nearer one getting more
    places = (returns.clamp(lowest, highest) - lowest) / (highest - lowest) * (atoms - 1)
    below = places.floor().clamp(max=atoms - 2)
    above_share = places - below
    onto = torch.zeros_like(probabilities)
    onto.scatter_add_(-1, below.long(), probabilities * (1 - above_share))
    onto.scatter_add_(-1, below.long() + 1, probabilities * above_share)
    return onto


def cross_entropy(logits: Tensor, aims: Tensor) -> Tensor:
    """-sum_i m_i log p_i `[S]`, the loss of Bellemare et al. 2017, algorithm 1; `[S, Z]` each."""
    return -(aims * logits.log_softmax(-1)).sum(-1)


def quantile_huber(quantiles: Tensor, aims: Tensor, delta: float) -> Tensor:
    """The quantile Huber loss `[S]` (Dabney et al. 2018, equations 9 and 10, algorithm 1); `[S, Z]` each."""
    # u_ij = T theta_j - theta_i
    apart = aims.unsqueeze(1) - quantiles.unsqueeze(2)
    count = quantiles.shape[-1]
    # tau^_i = (2 i - 1) / (2 N), lemma 2
    middles = (torch.arange(count, device=quantiles.device, dtype=quantiles.dtype) + 0.5) / count
    # rho_tau(u) = |tau - 1{u < 0}| L_delta(u) / delta, a mean over j, a sum over i
    weights = (middles.view(1, -1, 1) - (apart.detach() < 0).to(apart.dtype)).abs()
    return (weights * distance(apart, delta) / delta).mean(2).sum(1)
