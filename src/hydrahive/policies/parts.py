"""An encoder for observations of several parts."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from hydrahive.core.errors import ConfigError
from hydrahive.core.laid_out import Part, PartsBox
from hydrahive.policies.config import Parts
from hydrahive.policies.encoders import RELU_GAIN, Scale, orthogonal


class PartsEncoder(nn.Module):
    """Each part through an encoder of its own, then layers over all of them: `[N, F]` to `[N, hidden[-1]]`."""

    def __init__(self, config: Parts, observation_space: spaces.Space[object], generator: torch.Generator) -> None:
        """Build the parts' encoders.

        Raises:
            ConfigError: If observations have no parts, or a picture does not fit its encoder.
        """
        super().__init__()
        if not isinstance(observation_space, PartsBox):
            accepted = f"an encoder for observations {observation_space} (Parts reads what was a Dict or a Tuple)"
            raise ConfigError("policy.encoder", "Parts", accepted)
        self.parts = observation_space.parts
        self.scale = Scale(observation_space)
        self.encoders = nn.ModuleList(_encoder(config, part, observation_space, generator) for part in self.parts)
        seen = sum(
            getattr(encoder, "out_features", part.size) for part, encoder in zip(self.parts, self.encoders, strict=True)
        )
        widths = [seen, *config.hidden]
        self.layers = nn.ModuleList(orthogonal(nn.Linear(i, o), RELU_GAIN, generator) for i, o in pairwise(widths))
        self.out_features = widths[-1]

    def forward(self, observations: Tensor) -> Tensor:
        """Features of a batch of observations."""
        scaled = self.scale(observations)
        seen = [
            encoder((observations if part.kind == "picture" else scaled)[:, part.start : part.start + part.size])
            for part, encoder in zip(self.parts, self.encoders, strict=True)
        ]
        x = torch.cat(seen, dim=1)
        for layer in self.layers:
            x = layer(x).relu_()
        return x


def _encoder(config: Parts, part: Part, space: PartsBox, generator: torch.Generator) -> nn.Module:
    if part.kind == "picture":
        return _Picture(config, part, space, generator)
    return _Embedding(part.count, config.embedding, generator) if part.kind == "index" else nn.Identity()


class _Embedding(nn.Module):
    """A vector for each of so many things, looked up by its number: `[N, 1]` to `[N, width]`."""

    def __init__(self, count: int, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(count, width))
        self.out_features = width
        nn.init.normal_(self.weight, generator=generator)

    def forward(self, numbers: Tensor) -> Tensor:
        return nn.functional.embedding(numbers[:, 0].long(), self.weight)


class _Picture(nn.Module):
    """A picture among other parts, its channels wherever they are: `[N, size]` to `[N, out_features]`."""

    def __init__(self, config: Parts, part: Part, space: PartsBox, generator: torch.Generator) -> None:
        super().__init__()
        self.shape = part.shape
        # Channels are the fewest of the three; first, as they are laid out here, where that says nothing.
        self.are_last = part.shape[2] < min(part.shape[:2])
        height, width, channels = part.shape if self.are_last else (*part.shape[1:], part.shape[0])
        # What was whole numbers is scaled here: the picture's encoder sees real ones between bounds.
        self.low, self.span = (part.scale[0], part.scale[1] - part.scale[0]) if part.scale else (0.0, 1.0)
        shown = spaces.Box(-np.inf, np.inf, (channels, height, width), np.float32)
        self.encoder = config.pictures.build(shown, generator)
        self.out_features = self.encoder.out_features

    def forward(self, numbers: Tensor) -> Tensor:
        picture = numbers.reshape(-1, *self.shape)
        picture = picture.permute(0, 3, 1, 2) if self.are_last else picture
        features: Tensor = self.encoder((picture - self.low) / self.span)
        return features
