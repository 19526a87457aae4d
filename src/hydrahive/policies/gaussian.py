"""What a distribution of actions is, and the Gaussian ones."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor
from torch.nn.functional import softplus

from hydrahive.core.errors import ConfigError
from hydrahive.core.fragment import MASKED

LOG_STD_RANGE = (-5.0, 1.0)
"""Bounds of a Gaussian's log standard deviation, before it is squashed."""

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(8)
QUADRATURE = (_NODES.tolist(), (_WEIGHTS / _WEIGHTS.sum()).tolist())
"""Gauss and Hermite's nodes and weights for means over a standard normal."""

MEAN_LIMIT = 3.0
"""Bound of a Gaussian's mean, before it is squashed: 0.25% of the action's range from its end. A mean without bounds
may drift ever further out where that changes no action but every ratio of probabilities."""


class _Within(torch.autograd.Function):
    """Clamps; where a value lies beyond a bound, only the gradient that draws it back comes through.

    With an ordinary clamp a parameter that has once left its range has no gradient any more, and never returns.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(values)
        ctx.bounds = low, high
        return values.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (values,), (gradient,), (low, high) = ctx.saved_tensors, gradients, ctx.bounds
        # A step goes against the gradient: downwards where it is positive.
        outwards = ((values > high) & (gradient < 0)) | ((values < low) & (gradient > 0))
        return gradient.masked_fill(outwards, 0.0), None, None


def within(values: Tensor, low: float, high: float) -> Tensor:
    """Values clamped to a range, into which gradients lead back."""
    clamped: Tensor = _Within.apply(values, low, high)  # type: ignore[no-untyped-call]
    return clamped


class Distribution:
    """Actions as `[..., P]` parameters describe them.

    Attributes:
        parameters: How many numbers describe it.
        deviations: How many of them, the last, are log standard deviations.
        choices: How many of them a mask of legal actions covers; 0 where none can be given.
        action_shape: Shape of one action as it is learned from.
        action_dtype: Likewise.
    """

    parameters: int
    deviations: int = 0
    choices: int = 0
    action_shape: tuple[int, ...] = ()
    action_dtype: np.dtype[Any] = np.dtype(np.int64)

    def noise(self, generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """What `drawn` needs for so many actions, float32 `[*shape, ...]`."""
        raise NotImplementedError(f"{type(self).__name__} must define noise")

    def drawn(self, parameters: Tensor, noise: Tensor) -> Tensor:
        """Actions."""
        raise NotImplementedError(f"{type(self).__name__} must define drawn")

    def mode(self, parameters: Tensor) -> Tensor:
        """The greedy actions."""
        raise NotImplementedError(f"{type(self).__name__} must define mode")

    def random(self, noise: np.ndarray, legal: np.ndarray | None) -> np.ndarray:
        """Actions of a policy that knows nothing, for so much noise, of those that are `legal` (None: all are)."""
        parameters = torch.zeros((len(noise), self.parameters))
        if legal is not None:
            parameters = self.masked(parameters, torch.from_numpy(legal))
        return self.drawn(parameters, torch.from_numpy(noise)).numpy()

    def takes(self, actions: np.ndarray) -> bool:
        """Whether all actions `[..., *action_shape]`, as they are learned from, are some of these."""
        raise NotImplementedError(f"{type(self).__name__} must define takes")

    def for_env(self, actions: np.ndarray) -> np.ndarray:
        """Actions as the environment takes them."""
        raise NotImplementedError(f"{type(self).__name__} must define for_env")

    def tensors_for_env(self, actions: Tensor) -> Tensor:
        """As `for_env`, for policies that leave Python; up to rounding."""
        raise NotImplementedError(f"{type(self).__name__} must define tensors_for_env")

    def normal(self, parameters: Tensor) -> Tensor:
        """The parameters in the form, `[N, P]`, that the three below take."""
        raise NotImplementedError(f"{type(self).__name__} must define normal")

    def masked(self, parameters: Tensor, legal: Tensor) -> Tensor:
        """The parameters `[N, P]` with only the actions left that are `legal`, bool `[N, choices]`."""
        return torch.where(legal, parameters, MASKED)

    def masked_like(self, parameters: Tensor, others: Tensor) -> Tensor:
        """The parameters with the mask that stands in others, `[N, P]` each."""
        illegal = others <= MASKED
        # A GPU is not asked, which would wait for all that it has still to do.
        is_masked = self.choices and (illegal.is_cuda or illegal.any())
        return parameters.masked_fill(illegal, MASKED) if is_masked else parameters

    def decides(self, parameters: Tensor) -> Tensor | None:
        """Where masks left something to choose, bool `[...]` of `[..., P]`; None where they always do."""
        return None

    def log_probs(self, normal: Tensor, actions: Tensor) -> Tensor:
        """Log-probability (or density) of each action, `[N]`, up to a term that the action alone decides."""
        raise NotImplementedError(f"{type(self).__name__} must define log_probs")

    def entropy(self, normal: Tensor) -> Tensor:
        """Entropy in nats, `[N]`."""
        raise NotImplementedError(f"{type(self).__name__} must define entropy")

    def kl_divergence(self, p: Tensor, q: Tensor) -> Tensor:
        """KL(p || q) in nats, `[N]`, of two in normal form."""
        raise NotImplementedError(f"{type(self).__name__} must define kl_divergence")


class Gaussian(Distribution):
    """Independent Gaussians u, squashed within bounds: the environment gets low + (high - low) (tanh(u) + 1) / 2.

    An action is learned from as u. Its density in the environment's terms is N(u) times |du/da|, which the action
    alone decides: it cancels in ratios and divergences, and has no gradient. (With a instead of u, tanh would have to
    be inverted, which near its ends float32 cannot.)

    Where a number has no bound, or only one, the environment gets u itself, clipped at that one.
    """

    action_dtype: np.dtype[Any] = np.dtype(np.float32)

    def __init__(self, space: spaces.Box) -> None:
        """For a Box of one dimension, of real numbers.

        Raises:
            ConfigError: If the space is another.
        """
        if len(space.shape) != 1 or np.dtype(space.dtype).kind != "f":
            raise ConfigError("env", str(space), "an environment with Box actions of one dimension, of real numbers")
        self._space = space
        self._low, self._high = space.low.astype(np.float64), space.high.astype(np.float64)
        self._bounded = np.isfinite(self._low) & np.isfinite(self._high)
        self._free = None if self._bounded.all() else torch.from_numpy(~self._bounded)
        """Which numbers are not squashed; None where all are."""
        self.action_shape = space.shape
        self.deviations = space.shape[0]
        self.parameters = 2 * self.deviations

    def noise(self, generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Standard normal, `[*shape, D]`."""
        noise: np.ndarray = generator.standard_normal((*shape, *self.action_shape), np.float32)
        return noise

    def drawn(self, parameters: Tensor, noise: Tensor) -> Tensor:
        """Mean plus noise."""
        mean, log_std = self.normal(parameters).chunk(2, dim=-1)
        return mean + log_std.exp() * noise

    def mode(self, parameters: Tensor) -> Tensor:
        """The means."""
        return self.normal(parameters).chunk(2, dim=-1)[0]

    def random(self, noise: np.ndarray, legal: np.ndarray | None) -> np.ndarray:
        """Uniform within bounds: u = atanh(2 Phi(n) - 1) of standard normal noise n; elsewhere the noise."""
        even = torch.erf(torch.from_numpy(noise).double() / math.sqrt(2)).clamp(-1 + 1e-12, 1 - 1e-12)
        u = torch.atanh(even).numpy().astype(np.float32)
        return u if self._free is None else np.where(self._bounded, u, noise)

    def takes(self, actions: np.ndarray) -> bool:
        """Any number, as it is before it is squashed."""
        return bool(np.isfinite(actions).all())

    def for_env(self, actions: np.ndarray) -> np.ndarray:
        """Squashed into the environment's bounds."""
        squashed = np.tanh(actions.astype(np.float64))
        if self._free is None:
            scaled = self._low + (self._high - self._low) * (squashed + 1) / 2
        else:
            low, high = np.where(self._bounded, self._low, 0.0), np.where(self._bounded, self._high, 0.0)
            scaled = np.where(self._bounded, low + (high - low) * (squashed + 1) / 2, actions)
        within: np.ndarray = scaled.astype(self._space.dtype).clip(self._space.low, self._space.high)
        return within

    def tensors_for_env(self, actions: Tensor) -> Tensor:
        """Likewise."""
        low, high = (torch.from_numpy(np.where(self._bounded, end, 0.0)).float() for end in (self._low, self._high))
        scaled = low + (high - low) * (actions.tanh() + 1) / 2
        if self._free is not None:
            scaled = torch.where(self._free, actions, scaled)
        ends = (torch.from_numpy(np.array(end, np.float32)) for end in (self._space.low, self._space.high))
        return torch.clamp(scaled, *ends)

    def normal(self, parameters: Tensor) -> Tensor:
        """Means, within `MEAN_LIMIT` where they are squashed, and log deviations within `LOG_STD_RANGE`."""
        mean, log_std = parameters.chunk(2, dim=-1)
        limited = MEAN_LIMIT * (mean / MEAN_LIMIT).tanh()
        mean = limited if self._free is None else torch.where(self._free.to(mean.device), mean, limited)
        return torch.cat([mean, within(log_std, *LOG_STD_RANGE)], dim=-1)

    def log_probs(self, normal: Tensor, actions: Tensor) -> Tensor:
        """Log-densities of u; see the class."""
        mean, log_std = normal.chunk(2, dim=-1)
        # log N(u; mu, sigma) = -((u - mu) / sigma)^2 / 2 - log sigma - log(2 pi) / 2, summed over dimensions
        standard = (actions - mean) * (-log_std).exp()
        return (-0.5 * standard.square() - log_std - 0.5 * math.log(2 * math.pi)).sum(-1)

    def entropy(self, normal: Tensor) -> Tensor:
        """Of tanh(u), by quadrature: u's own would pay for actions at the ends of their range, where all are alike."""
        mean, log_std = normal.chunk(2, dim=-1)
        nodes, shares = (torch.tensor(part, dtype=mean.dtype, device=mean.device) for part in QUADRATURE)
        u = mean.unsqueeze(-1) + log_std.exp().unsqueeze(-1) * nodes
        # log(1 - tanh(u)^2) = 2 (log 2 - u - log(1 + e^(-2 u)))
        slopes = 2 * (math.log(2) - u - softplus(-2 * u))
        # H(tanh u) = H(u) + E[log |d tanh(u) / du|], H(u) = log sigma + log(2 pi e) / 2
        squeezed = (slopes * shares).sum(-1)
        if self._free is not None:
            squeezed = squeezed.masked_fill(self._free.to(mean.device), 0.0)
        return (log_std + 0.5 * math.log(2 * math.pi * math.e) + squeezed).sum(-1)

    def kl_divergence(self, p: Tensor, q: Tensor) -> Tensor:
        """Exact: squashing both changes nothing."""
        (mean_p, log_p), (mean_q, log_q) = p.chunk(2, dim=-1), q.chunk(2, dim=-1)
        # KL(p || q) = log(s_q / s_p) + (s_p^2 + (mu_p - mu_q)^2) / (2 s_q^2) - 1 / 2
        apart = (mean_p - mean_q).square() * (-2 * log_q).exp()
        return (log_q - log_p + 0.5 * ((2 * (log_p - log_q)).exp() + apart - 1)).sum(-1)
