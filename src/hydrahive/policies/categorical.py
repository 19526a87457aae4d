"""The categorical distribution over discrete actions."""

from __future__ import annotations

import numpy as np
from torch import Tensor


def gumbel_noise(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Gumbel(0, 1) noise, float32: `argmax(logits + noise)` draws from the distribution (Gumbel 1954)."""
    tiny = np.finfo(np.float32).tiny
    uniform = np.maximum(generator.random(shape, np.float32), tiny)
    return -np.log(-np.log(uniform))


def chosen(log_probs: Tensor, actions: Tensor) -> Tensor:
    """Log-probability `[N]` of each action `[N]` under normalised `log_probs` `[N, A]`."""
    return log_probs.gather(-1, actions.unsqueeze(-1)).squeeze(-1)


def entropy(log_probs: Tensor) -> Tensor:
    """Entropy in nats, `[N]`, of normalised `log_probs` `[N, A]`."""
    return -(log_probs.exp() * log_probs).sum(-1)


def kl_divergence(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q) in nats, `[N]`, of normalised log-probabilities `[N, A]`."""
    return (p.exp() * (p - q)).sum(-1)
