"""The distributions that actions are drawn from."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from hydrahive.core.errors import ConfigError
from hydrahive.core.fragment import MASKED
from hydrahive.policies.gaussian import Distribution, Gaussian


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

    def tensors_for_env(self, actions: Tensor) -> Tensor:
        """Likewise."""
        return actions + self._start

    def normal(self, parameters: Tensor) -> Tensor:
        """Log-probabilities."""
        return parameters.log_softmax(-1)

    def decides(self, parameters: Tensor) -> Tensor | None:
        """Where more than one action is legal."""
        return (parameters > MASKED).sum(-1) > 1

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

    def tensors_for_env(self, actions: Tensor) -> Tensor:
        """Likewise."""
        return actions + torch.from_numpy(self._start)

    def normal(self, parameters: Tensor) -> Tensor:
        """Log-probabilities within each choice."""
        return torch.cat([part.log_softmax(-1) for part in self._parts(parameters)], dim=-1)

    def masked(self, parameters: Tensor, legal: Tensor) -> Tensor:
        """Likewise; a choice of which nothing is legal is free, for something must be chosen."""
        free = [part | ~part.any(-1, keepdim=True) for part in self._parts(legal)]
        return super().masked(parameters, torch.cat(free, dim=-1))

    def decides(self, parameters: Tensor) -> Tensor | None:
        """Where more than one is legal in any choice."""
        return torch.stack([(part > MASKED).sum(-1) > 1 for part in self._parts(parameters)]).any(0)

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


class Product(Distribution):
    """Counted choices and real numbers at once, independent of each other: their parameters, and actions, side by side.

    Both stand in one float32 row, the counted ones first.
    """

    action_dtype: np.dtype[Any] = np.dtype(np.float32)

    def __init__(self, counted: MultiCategorical, real: Gaussian) -> None:
        """Of both."""
        self._counted, self._real = counted, real
        self._sizes = [counted.parameters, real.parameters]
        self._columns = [counted.action_shape[0], real.action_shape[0]]
        self.parameters, self.choices = sum(self._sizes), counted.choices
        self.deviations = real.deviations
        self.action_shape = (sum(self._columns),)

    def noise(self, generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """That of both, `[*shape, ...]`."""
        return np.concatenate([part.noise(generator, shape) for part in (self._counted, self._real)], axis=-1)

    def drawn(self, parameters: Tensor, noise: Tensor) -> Tensor:
        """Both drawn."""
        counted, real = self._parts(parameters)
        choices, numbers = torch.split(noise, [self._counted.parameters, self._columns[1]], dim=-1)
        return self._together(self._counted.drawn(counted, choices), self._real.drawn(real, numbers))

    def mode(self, parameters: Tensor) -> Tensor:
        """The best choices and the means."""
        counted, real = self._parts(parameters)
        return self._together(self._counted.mode(counted), self._real.mode(real))

    def random(self, noise: np.ndarray, legal: np.ndarray | None) -> np.ndarray:
        """Both uniform."""
        choices, numbers = np.split(noise, [self._counted.parameters], axis=-1)
        both = [self._counted.random(choices, legal).astype(np.float32), self._real.random(numbers, None)]
        return np.concatenate(both, axis=-1)

    def takes(self, actions: np.ndarray) -> bool:
        """What both take, the choices whole."""
        counted, real = np.split(actions, [self._columns[0]], axis=-1)
        return bool((counted == np.floor(counted)).all()) and self._counted.takes(counted) and self._real.takes(real)

    def for_env(self, actions: np.ndarray) -> np.ndarray:
        """Both as the environment takes them, side by side, float64."""
        counted, real = np.split(actions, [self._columns[0]], axis=-1)
        both = [self._counted.for_env(counted.astype(np.int64)), self._real.for_env(real)]
        return np.concatenate([part.astype(np.float64) for part in both], axis=-1)

    def tensors_for_env(self, actions: Tensor) -> Tensor:
        """Likewise, float32."""
        choices, numbers = torch.split(actions, self._columns, dim=-1)
        counted = self._counted.tensors_for_env(choices.long())
        return torch.cat([counted.float(), self._real.tensors_for_env(numbers)], dim=-1)

    def normal(self, parameters: Tensor) -> Tensor:
        """Both in their normal form."""
        counted, real = self._parts(parameters)
        return torch.cat([self._counted.normal(counted), self._real.normal(real)], dim=-1)

    def masked(self, parameters: Tensor, legal: Tensor) -> Tensor:
        """The choices masked."""
        counted, real = self._parts(parameters)
        return torch.cat([self._counted.masked(counted, legal), real], dim=-1)

    def masked_like(self, parameters: Tensor, others: Tensor) -> Tensor:
        """Likewise."""
        (counted, real), (masked, _) = self._parts(parameters), self._parts(others)
        return torch.cat([self._counted.masked_like(counted, masked), real], dim=-1)

    def log_probs(self, normal: Tensor, actions: Tensor) -> Tensor:
        """The sum of both: they are independent."""
        (counted, real), (choices, numbers) = self._parts(normal), torch.split(actions, self._columns, dim=-1)
        return self._counted.log_probs(counted, choices.long()) + self._real.log_probs(real, numbers)

    def entropy(self, normal: Tensor) -> Tensor:
        """The sum of both."""
        counted, real = self._parts(normal)
        return self._counted.entropy(counted) + self._real.entropy(real)

    def kl_divergence(self, p: Tensor, q: Tensor) -> Tensor:
        """The sum of both."""
        each = zip((self._counted, self._real), self._parts(p), self._parts(q), strict=True)
        divergences = [part.kl_divergence(mine, theirs) for part, mine, theirs in each]
        return divergences[0] + divergences[1]

    def _parts(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        counted, real = torch.split(parameters, self._sizes, dim=-1)
        return counted, real

    @staticmethod
    def _together(choices: Tensor, numbers: Tensor) -> Tensor:
        return torch.cat([choices.to(numbers.dtype), numbers], dim=-1)


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
        return Gaussian(space)
    if isinstance(space, spaces.Tuple) and [type(part) for part in space] == [spaces.MultiDiscrete, spaces.Box]:
        return Product(MultiCategorical(space[0]), Gaussian(space[1]))  # type: ignore[arg-type]
    accepted = "an environment with Discrete, MultiDiscrete or Box actions, or both of the latter"
    raise ConfigError("env", str(space), accepted)
