"""The categorical distribution over discrete actions."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def gumbel_noise(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Gumbel(0, 1) noise, float32: `argmax(logits + noise)` draws from the distribution (Gumbel 1954)."""
    tiny = np.finfo(np.float32).tiny
    uniform = np.maximum(generator.random(shape, np.float32), tiny)
    return -np.log(-np.log(uniform))


def log_prob_and_entropy(logits: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probability of `actions` `[N]` and entropy in nats, both `[N]`, under `logits` `[N, A]`."""
    log_probs = logits.log_softmax(-1)
    chosen = log_probs.gather(-1, actions.unsqueeze(-1)).squeeze(-1)
    return chosen, -(log_probs.exp() * log_probs).sum(-1)


def kl_divergence(p_logits: Tensor, q_logits: Tensor) -> Tensor:
    """KL(p || q) in nats, `[N]`."""
    p, q = p_logits.log_softmax(-1), q_logits.log_softmax(-1)
    return torch.sum(p.exp() * (p - q), -1)
