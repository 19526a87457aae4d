"""The distributions that actions are drawn from."""

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
from hydrahive.policies.categorical import chosen, entropy, gumbel_noise, kl_divergence

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
        choices: How many of them a mask of legal actions covers; 0 where none can be given.
        action_shape: Shape of one action as it is learned from.
        action_dtype: Likewise.
    """

    parameters: int
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

    def log_probs(self, normal: Tensor, actions: Tensor) -> Tensor:
        """Log-probability (or density) of each action, `[N]`, up to a term that the action alone decides."""
        raise NotImplementedError(f"{type(self).__name__} must define log_probs")

    def entropy(self, normal: Tensor) -> Tensor:
        """Entropy in nats, `[N]`."""
        raise NotImplementedError(f"{type(self).__name__} must define entropy")

    def kl_divergence(self, p: Tensor, q: Tensor) -> Tensor:
        """KL(p || q) in nats, `[N]`, of two in normal form."""
        raise NotImplementedError(f"{type(self).__name__} must define kl_divergence")


class Categorical(Distribution):
    """One of `n` actions, by unnormalised log-probabilities; drawn by Gumbel noise."""

    def __init__(self, n: int, start: int = 0) -> None:
        """Of `n` actions, which the environment counts from `start`."""
        self.parameters = self.choices = n
        self._start = start

    def noise(self, generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Gumbel noise, `[*shape, n]`."""
        return gumbel_noise(generator, (*shape, self.parameters))

    def drawn(self, parameters: Tensor, noise: Tensor) -> Tensor:
        """The noisily best."""
        return torch.argmax(parameters + noise, dim=-1)

    def mode(self, parameters: Tensor) -> Tensor:
        """The best."""
        return parameters.argmax(-1)

    def takes(self, actions: np.ndarray) -> bool:
        """Counted from 0."""
        return bool(actions.min(initial=0) >= 0 and actions.max(initial=0) < self.choices)

    def for_env(self, actions: np.ndarray) -> np.ndarray:
        """Counted as it counts."""
        return actions + self._start if self._start else actions

    def normal(self, parameters: Tensor) -> Tensor:
        """Log-probabilities."""
        return parameters.log_softmax(-1)

    def log_probs(self, normal: Tensor, actions: Tensor) -> Tensor:
        """Exact log-probabilities."""
        return chosen(normal, actions)

    def entropy(self, normal: Tensor) -> Tensor:
        """Exact."""
        return entropy(normal)

    def kl_divergence(self, p: Tensor, q: Tensor) -> Tensor:
        """Exact."""
        return kl_divergence(p, q)


class MultiCategorical(Distribution):
    """Several independent choices at once, the first of `sizes[0]` actions and so on; parameters lie side by side."""

    def __init__(self, space: spaces.MultiDiscrete) -> None:
        """For a MultiDiscrete space of one dimension.

        Raises:
            ConfigError: If it has more.
        """
        if space.nvec.ndim != 1:
            raise ConfigError("env", str(space), "an environment with MultiDiscrete actions of one dimension")
        self._sizes = [int(n) for n in space.nvec]
        self._start = space.start.astype(np.int64)
        self.parameters = self.choices = sum(self._sizes)
        self.action_shape = (len(self._sizes),)

    def noise(self, generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Gumbel noise, `[*shape, P]`."""
        return gumbel_noise(generator, (*shape, self.parameters))

    def drawn(self, parameters: Tensor, noise: Tensor) -> Tensor:
        """The noisily best of each choice, `[N, D]`."""
        return self.mode(parameters + noise)

    def mode(self, parameters: Tensor) -> Tensor:
        """The best of each choice."""
        return torch.stack([part.argmax(-1) for part in self._parts(parameters)], dim=-1)

    def takes(self, actions: np.ndarray) -> bool:
        """Counted from 0 in each choice."""
        return bool((actions >= 0).all() and (actions < np.array(self._sizes)).all())

    def for_env(self, actions: np.ndarray) -> np.ndarray:
        """Counted as it counts."""
        counted: np.ndarray = actions + self._start
        return counted

    def normal(self, parameters: Tensor) -> Tensor:
        """Log-probabilities within each choice."""
        return torch.cat([part.log_softmax(-1) for part in self._parts(parameters)], dim=-1)

    def masked(self, parameters: Tensor, legal: Tensor) -> Tensor:
        """Likewise; a choice of which nothing is legal is free, for something must be chosen."""
        free = [part | ~part.any(-1, keepdim=True) for part in self._parts(legal)]
        return super().masked(parameters, torch.cat(free, dim=-1))

    def log_probs(self, normal: Tensor, actions: Tensor) -> Tensor:
        """Exact: the sum over choices."""
        each = zip(self._parts(normal), actions.unbind(-1), strict=True)
        return torch.stack([chosen(part, action) for part, action in each]).sum(0)

    def entropy(self, normal: Tensor) -> Tensor:
        """Exact: choices are independent."""
        return entropy(normal)

    def kl_divergence(self, p: Tensor, q: Tensor) -> Tensor:
        """Exact, likewise."""
        return kl_divergence(p, q)

    def _parts(self, parameters: Tensor) -> tuple[Tensor, ...]:
        return torch.split(parameters, self._sizes, dim=-1)


class SquashedGaussian(Distribution):
    """Independent Gaussians u, squashed: the environment gets low + (high - low) (tanh(u) + 1) / 2.

    An action is learned from as u. Its density in the environment's terms is N(u) times |du/da|, which the action
    alone decides: it cancels in ratios and divergences, and has no gradient. (With a instead of u, tanh would have to
    be inverted, which near its ends float32 cannot.)
    """

    action_dtype: np.dtype[Any] = np.dtype(np.float32)

    def __init__(self, space: spaces.Box) -> None:
        """For a bounded Box of one dimension.

        Raises:
            ConfigError: If the space is another.
        """
        if len(space.shape) != 1 or not space.is_bounded() or np.dtype(space.dtype).kind != "f":
            accepted = "an environment with bounded Box actions of one dimension, of real numbers"
            raise ConfigError("env", str(space), accepted)
        self._space = space
        self._low, self._high = space.low.astype(np.float64), space.high.astype(np.float64)
        self.action_shape = space.shape
        self.parameters = 2 * space.shape[0]

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

    def takes(self, actions: np.ndarray) -> bool:
        """Any number, as it is before it is squashed."""
        return bool(np.isfinite(actions).all())

    def for_env(self, actions: np.ndarray) -> np.ndarray:
        """Squashed into the environment's bounds."""
        squashed = np.tanh(actions.astype(np.float64))
        scaled = self._low + (self._high - self._low) * (squashed + 1) / 2
        within: np.ndarray = scaled.astype(self._space.dtype).clip(self._space.low, self._space.high)
        return within

    def normal(self, parameters: Tensor) -> Tensor:
        """Means within `MEAN_LIMIT`, and log deviations within `LOG_STD_RANGE`."""
        mean, log_std = parameters.chunk(2, dim=-1)
        mean = MEAN_LIMIT * (mean / MEAN_LIMIT).tanh()
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
        return (log_std + 0.5 * math.log(2 * math.pi * math.e) + (slopes * shares).sum(-1)).sum(-1)

    def kl_divergence(self, p: Tensor, q: Tensor) -> Tensor:
        """Exact: squashing both changes nothing."""
        (mean_p, log_p), (mean_q, log_q) = p.chunk(2, dim=-1), q.chunk(2, dim=-1)
        # KL(p || q) = log(s_q / s_p) + (s_p^2 + (mu_p - mu_q)^2) / (2 s_q^2) - 1 / 2
        apart = (mean_p - mean_q).square() * (-2 * log_q).exp()
        return (log_q - log_p + 0.5 * ((2 * (log_p - log_q)).exp() + apart - 1)).sum(-1)


def distribution_of(space: spaces.Space[object]) -> Distribution:
    """The distribution for an action space.

    Raises:
        ConfigError: If there is none for it.
    """
    if isinstance(space, spaces.Discrete):
        return Categorical(int(space.n), int(space.start))
    if isinstance(space, spaces.MultiDiscrete):
        return MultiCategorical(space)
    if isinstance(space, spaces.Box):
        return SquashedGaussian(space)
    accepted = "an environment with Discrete, MultiDiscrete or bounded Box actions"
    raise ConfigError("env", str(space), accepted)
