"""Encoders: observations in, features out."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import TypeVar

import torch
from gymnasium import spaces
from torch import Tensor, nn

from hydrahive.core.errors import ConfigError
from hydrahive.core.laid_out import GroupedBox, Part, PartsBox, whole_bounds
from hydrahive.policies.config import Conv, Mlp, Parts, PerGroup

RELU_GAIN = math.sqrt(2)
"""Keeps the variance of activations through a ReLU (He et al. 2015)."""


Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)


def orthogonal(layer: Layer, gain: float, generator: torch.Generator) -> Layer:
    """`layer` with orthogonal weights (Saxe et al. 2014) scaled by `gain` and a zero bias, where it has one."""
    nn.init.orthogonal_(layer.weight, gain, generator=generator)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def box_of(observation_space: spaces.Space[object], encoder: str, dimensions: Iterable[int]) -> spaces.Box:
    """The observation space as a Box that the encoder can read.

    Raises:
        ConfigError: If it is not a Box, or not of one of the accepted numbers of `dimensions`; or if it is for pictures
            and their channels come last.
    """
    accepted = sorted(dimensions)
    if not isinstance(observation_space, spaces.Box) or len(observation_space.shape) not in accepted:
        wanted = " or ".join(map(str, accepted))
        expected = f"an encoder for observations {observation_space} ({encoder} reads a Box of {wanted} dimensions)"
        raise ConfigError("policy.encoder", encoder, expected)
    shape = observation_space.shape
    if accepted == [3] and observation_space.dtype == "uint8" and shape[-1] in (1, 3, 4) and min(shape[:2]) >= 8:
        wrapper = "hydrahive.envs.channels.ChannelsFirst among wrappers (for PettingZoo ParallelChannelsFirst)"
        expected = f"pictures [C, H, W], not {list(shape)}; name {wrapper}"
        raise ConfigError("policy.encoder", encoder, expected)
    return observation_space


def scale_of(box: spaces.Box) -> float:
    """What brings a picture's values to [0, 1]: bytes are scaled."""
    return 1 / 255 if box.dtype == "uint8" else 1.0


def mlp_encoder(config: Mlp, observation_space: spaces.Space[object], generator: torch.Generator) -> nn.Module:
    """What an `Mlp` is for an observation space: one of several parts may need more than layers."""
    if isinstance(observation_space, PartsBox) and any(part.kind != "numbers" for part in observation_space.parts):
        return Parts(hidden=config.hidden).build(observation_space, generator)  # type: ignore[no-any-return]
    return MlpEncoder(config, observation_space, generator)


class MlpEncoder(nn.Module):
    """Fully connected layers with ReLU: `[N, ...]` to `[N, hidden[-1]]`."""

    def __init__(self, config: Mlp, observation_space: spaces.Space[object], generator: torch.Generator) -> None:
        """Lay out the layers for this observation space."""
        super().__init__()
        box = box_of(observation_space, "Mlp", range(5))
        self.scale = Scale(box) if config.scaled else nn.Identity()
        widths = [math.prod(box.shape), *config.hidden]
        self.layers = nn.ModuleList(orthogonal(nn.Linear(i, o), RELU_GAIN, generator) for i, o in pairwise(widths))
        self.out_features = widths[-1]

    def forward(self, observations: Tensor) -> Tensor:
        """Features of a batch of observations."""
        x = self.scale(observations.flatten(1).float()) if observations.dim() > 1 else observations.float()[:, None]
        for layer in self.layers:
            x = layer(x).relu_()
        return x


class Scale(nn.Module):
    """Brings whole numbers within bounds to [0, 1], `[N, F]`; all else stays as it is."""

    def __init__(self, box: spaces.Box) -> None:
        """For rows of a Box, or of the parts of one."""
        super().__init__()
        size = math.prod(box.shape)
        parts = box.parts if isinstance(box, PartsBox) else [Part("numbers", 0, size, scale=whole_bounds(box))]
        low, span = torch.zeros(size), torch.ones(size)
        for part in parts:
            if part.scale is not None:
                low[part.start : part.start + part.size] = part.scale[0]
                span[part.start : part.start + part.size] = part.scale[1] - part.scale[0]
        self.changes = bool((low != 0).any() or (span != 1).any())
        self.low: Tensor
        self.span: Tensor
        self.register_buffer("low", low if self.changes else None, persistent=False)
        self.register_buffer("span", span if self.changes else None, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """The numbers, scaled."""
        return (x - self.low) / self.span if self.changes else x


class ConvEncoder(nn.Module):
    """Convolutions over `[N, C, H, W]`, then one layer: to `[N, features]`. Bytes are scaled to [0, 1]."""

    def __init__(self, config: Conv, observation_space: spaces.Space[object], generator: torch.Generator) -> None:
        """Lay out the layers for this observation space."""
        super().__init__()
        box = box_of(observation_space, "Conv", [3])
        channels, height, width = box.shape
        self.scale = scale_of(box)
        self.convolutions = nn.ModuleList()
        for out_channels, stride in zip(config.channels, config.strides, strict=True):
            layer = nn.Conv2d(channels, out_channels, 3, stride, padding=1)
            self.convolutions.append(orthogonal(layer, RELU_GAIN, generator))
            channels, height, width = out_channels, -(-height // stride), -(-width // stride)
        self.linear = orthogonal(nn.Linear(channels * height * width, config.features), RELU_GAIN, generator)
        self.out_features = config.features

    def forward(self, observations: Tensor) -> Tensor:
        """Features of a batch of observations; channels lie last in memory, which oneDNN convolves faster."""
        x = (observations.float() * self.scale).contiguous(memory_format=torch.channels_last)
        for layer in self.convolutions:
            x = layer(x).relu_()
        features: Tensor = self.linear(x.flatten(1)).relu_()
        return features


class PerGroupEncoder(nn.Module):
    """An encoder for each group of agents: `[N, F]` to `[N, groups * features + groups]`.

    Features of other groups than a row's own are 0, so a layer over all of them is a layer for each group. Behind them
    stands the group's one-hot row, as each group's bias; heads over these features have none of their own, which the
    groups would share.

    Attributes:
        groups: How many there are: the last numbers of the features say which.
    """

    def __init__(self, config: PerGroup, observation_space: spaces.Space[object], generator: torch.Generator) -> None:
        """Build the groups' encoders.

        Raises:
            ConfigError: If the environment's agents are not in groups.
        """
        super().__init__()
        if not isinstance(observation_space, GroupedBox):
            raise ConfigError("policy.encoder", "PerGroup", "an environment with `groups`, as PettingZoo takes them")
        self.widths = observation_space.widths
        self.groups = len(self.widths)
        seen = [spaces.Box(-math.inf, math.inf, (width,)) for width in self.widths]
        encoders = [config.encoder.build(space, generator) for space in seen]
        self.encoders = nn.ModuleList(encoders)
        self.out_features = sum(encoder.out_features for encoder in encoders) + len(self.widths)

    def forward(self, observations: Tensor) -> Tensor:
        """Features of a batch of observations; one whose group is told by none of its numbers belongs to the first."""
        groups = observations[:, max(self.widths) :].argmax(1)
        mine = nn.functional.one_hot(groups, len(self.widths)).to(observations.dtype)
        features = [
            encoder(observations[:, :width]) * mine[:, i : i + 1]
            for i, (encoder, width) in enumerate(zip(self.encoders, self.widths, strict=True))
        ]
        return torch.cat([*features, mine], dim=1)
