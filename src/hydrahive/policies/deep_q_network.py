"""Action values with what Rainbow adds to them: duelling streams, noisy weights, distributions of returns."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn.functional import linear

from hydrahive.policies.config import PolicyConfig
from hydrahive.policies.encoders import orthogonal
from hydrahive.policies.q_network import QNetwork

INITIAL_NOISE = 0.5
"""sigma_0 of Fortunato et al. 2018, section 3.2."""

HEAD_GAIN = 0.1
"""Of the heads' initial weights: the first values are near zero."""


class NoisyLinear(nn.Module):
    """A layer whose weights have factorised Gaussian noise (Fortunato et al. 2018, equations 9 to 11).

    Every row of a batch has noise of its own, which costs one product more: y = (mu + sigma * f(e_out) f(e_in)^T) x
    = mu x + f(e_out) * (sigma (f(e_in) * x)). Without noise it is an ordinary layer of the means.
    """

    def __init__(self, inside: int, outside: int, generator: torch.Generator) -> None:
        """Lay out means, and deviations of `INITIAL_NOISE / sqrt(inside)`."""
        super().__init__()
        self.mean = orthogonal(nn.Linear(inside, outside), HEAD_GAIN, generator)
        deviation = INITIAL_NOISE / math.sqrt(inside)
        self.weight_deviation = nn.Parameter(torch.full((outside, inside), deviation))
        self.bias_deviation = nn.Parameter(torch.full((outside,), deviation))
        self._noise: tuple[Tensor, Tensor] | None = None

    def stir(self, generator: np.random.Generator | None, rows: int) -> None:
        """Have noise for so many rows; without a generator none."""
        if generator is None:
            self._noise = None
            return
        outside, inside = self.weight_deviation.shape
        drawn = torch.from_numpy(generator.standard_normal((rows, inside + outside), np.float32))
        # f(x) = sgn(x) sqrt(|x|)
        shaped = (drawn.sign() * drawn.abs().sqrt()).to(self.bias_deviation.device)
        self._noise = shaped[:, :inside].contiguous(), shaped[:, inside:].contiguous()

    def forward(self, features: Tensor) -> Tensor:
        """`[N, inside]` to `[N, outside]`."""
        known: Tensor = self.mean(features)
        if self._noise is None:
            return known
        inside, outside = self._noise
        return known + outside * linear(features * inside, self.weight_deviation) + outside * self.bias_deviation


class DeepQNetwork(QNetwork):
    """Values of actions, each one number, or a distribution of returns in so many atoms.

    Attributes:
        atoms: Numbers for each action; 1 for its mean return alone.
        support: `[atoms]`, the returns that the numbers are log-probabilities of; None where they are returns.
    """

    def __init__(
        self,
        config: PolicyConfig,
        observation_space: spaces.Space[object],
        action_space: spaces.Space[object],
        generator: torch.Generator,
        ladder: float,
        *,
        duelling: bool = False,
        noisy: bool = False,
        atoms: int = 1,
        support: tuple[float, float] | None = None,
    ) -> None:
        """Build the network.

        Args:
            config: As `QNetwork`.
            observation_space: As `QNetwork`.
            action_space: As `QNetwork`.
            generator: As `QNetwork`.
            ladder: As `QNetwork`.
            duelling: Whether values are the sum of the state's and of what each action adds to it.
            noisy: Whether the heads have noise.
            atoms: Numbers for each action.
            support: The smallest and largest return of a distribution over fixed ones.
        """
        super().__init__(config, observation_space, action_space, generator, ladder)
        self.atoms, self.actions = atoms, self.distribution.parameters
        self.head = self._head(self.actions * atoms, generator, noisy=noisy)
        self.state_head = self._head(atoms, generator, noisy=noisy) if duelling else None
        self.support = None if support is None else torch.linspace(*support, atoms)

    def outputs(self, features: Tensor) -> Tensor:
        """What is said of each action, `[N, actions, atoms]` float32."""
        said: Tensor = self.head(features).float().view(-1, self.actions, self.atoms)
        if self.state_head is None:
            return said
        # Q(s, a) = V(s) + A(s, a) - mean_a' A(s, a') (Wang et al. 2016, equation 9)
        state: Tensor = self.state_head(features).float().unsqueeze(1)
        return state + said - said.mean(1, keepdim=True)

    def means(self, outputs: Tensor) -> Tensor:
        """Expected returns `[N, actions]` by `outputs`."""
        if self.support is None:
            return outputs.mean(-1)
        # Q(x, a) = sum_i z_i p_i(x, a) (Bellemare et al. 2017, section 4.1)
        return outputs.softmax(-1) @ self.support.to(outputs.device)

    def scores(self, features: Tensor) -> Tensor:
        """Expected returns, which actions are chosen by."""
        return self.means(self.outputs(features))

    def stirred(self, generator: Callable[[], np.random.Generator], rows: int) -> AbstractContextManager[None]:
        """A context in which the heads have noise, if they are noisy."""
        noisy = [layer for layer in (self.head, self.state_head) if isinstance(layer, NoisyLinear)]
        return _stirred(noisy, generator(), rows) if noisy else nullcontext()

    def _head(self, outside: int, generator: torch.Generator, *, noisy: bool) -> nn.Module:
        if noisy:
            return NoisyLinear(self.out_features, outside, generator)
        return orthogonal(nn.Linear(self.out_features, outside), HEAD_GAIN, generator)


@contextmanager
def _stirred(layers: list[NoisyLinear], generator: np.random.Generator, rows: int) -> Iterator[None]:
    for layer in layers:
        layer.stir(generator, rows)
    try:
        yield
    finally:
        for layer in layers:
            layer.stir(None, rows)
