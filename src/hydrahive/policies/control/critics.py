"""Values of actions that are numbers: several critics at once, each with layers of its own."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from gymnasium import spaces
from torch import Tensor, nn

from hydrahive.core.config import EncoderConfig
from hydrahive.core.laid_out import PartsBox
from hydrahive.policies.config import Mlp
from hydrahive.policies.encoders import RELU_GAIN

BEHIND_AN_ENCODER = (256,)
"""Widths of a critic's layers behind an encoder of what is seen."""

LAST_GAIN = 0.1
"""Of the last layer's initial weights: the first values are near zero."""


class Ensemble(nn.Module):
    """A layer of `n` networks side by side: `[n, S, inside]` to `[n, S, outside]`."""

    def __init__(self, n: int, inside: int, outside: int, gain: float, generator: torch.Generator) -> None:
        """Draw orthogonal weights for each."""
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n, outside, inside))
        self.bias = nn.Parameter(torch.zeros(n, 1, outside))
        for one in self.weight.data:
            nn.init.orthogonal_(one, gain, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """All networks' products, in one call; laid out like `nn.Linear`'s, whose way back is the faster one."""
        return torch.baddbmm(self.bias, x, self.weight.transpose(1, 2))


class Critics(nn.Module):
    """`n` critics of what is seen and done, or of what is seen alone with a value for each action.

    Rows of numbers are read as they are, with the action beside them; whatever else is seen goes through an encoder
    that the critics share.

    Attributes:
        n: How many there are.
        widths: Of the hidden layers.
    """

    def __init__(
        self,
        encoder: EncoderConfig,
        observation_space: spaces.Space[object],
        action_width: int,
        outputs: int,
        n: int,
        generator: torch.Generator,
        *,
        layer_norm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        """Lay out the networks.

        Args:
            encoder: As the policy's.
            observation_space: As the policy's encoder sees it.
            action_width: Numbers of an action that stand beside what is seen; 0 for none.
            outputs: Numbers of each critic.
            n: How many there are.
            generator: Draws the initial weights.
            layer_norm: Whether each hidden layer's outputs are normalised (Ba et al. 2016).
            dropout: Share of them that is dropped while learning.
        """
        super().__init__()
        self.n, self._dropout = n, dropout
        is_row = isinstance(observation_space, spaces.Box) and len(observation_space.shape) == 1
        has_kinds = isinstance(observation_space, PartsBox) and any(
            p.kind != "numbers" for p in observation_space.parts
        )
        if isinstance(encoder, Mlp) and is_row and not has_kinds:
            self.encoder: nn.Module | None = None
            seen, hidden = math.prod(observation_space.shape or ()), list(encoder.hidden)
        else:
            self.encoder = encoder.build(observation_space, generator)
            seen, hidden = self.encoder.out_features, list(BEHIND_AN_ENCODER)  # type: ignore[assignment]
        widths = [seen + action_width, *hidden]
        self.hidden = nn.ModuleList(Ensemble(n, i, o, RELU_GAIN, generator) for i, o in pairwise(widths))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in hidden) if layer_norm else None
        self.last = Ensemble(n, widths[-1], outputs, LAST_GAIN, generator)
        self.widths = hidden

    def forward(self, seen: Tensor, actions: Tensor | None = None, kept: list[Tensor] | None = None) -> Tensor:
        """What each critic says, `[n, S, outputs]` float32.

        Args:
            seen: `[S, ...]`, normalised.
            actions: `[S, D]`, between -1 and 1 where they are bounded.
            kept: For each hidden layer what dropout keeps, `[n, S, width]` of 0 and 1; None where nothing is dropped.
        """
        x = seen.flatten(1).float() if self.encoder is None else self.encoder(seen)
        if actions is not None:
            x = torch.cat([x, actions.to(x.dtype)], dim=-1)
        x = x.expand(self.n, *x.shape)
        for i, layer in enumerate(self.hidden):
            x = layer(x)
            if kept is not None:
                x = x * (kept[i] / (1 - self._dropout))
            if self.norms is not None:
                x = self.norms[i](x)
            x = x.relu()
        said: Tensor = self.last(x).float()
        return said
