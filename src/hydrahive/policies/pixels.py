"""Encoders of pictures, computed in bfloat16 where a config asks for it and the device gains by it."""

from __future__ import annotations

from itertools import pairwise

import torch
from gymnasium import spaces
from torch import Tensor, nn

from hydrahive.core.errors import ConfigError
from hydrahive.policies.config import NATURE_CONVOLUTIONS, Impala, Nature
from hydrahive.policies.encoders import RELU_GAIN, box_of, orthogonal, scale_of


def prepared(pictures: Tensor) -> Tensor:
    """Pictures `[N, C, H, W]`, bytes or not, in the type that layers compute in, channels last in memory."""
    kind = pictures.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else torch.float32
    return pictures.to(dtype).contiguous(memory_format=torch.channels_last)


class NatureEncoder(nn.Module):
    """Three convolutions and a fully connected layer: `[N, C, H, W]` to `[N, features]`."""

    acts_in_bfloat16 = True

    def __init__(self, config: Nature, observation_space: spaces.Space[object], generator: torch.Generator) -> None:
        """Lay out the layers for this observation space.

        Raises:
            ConfigError: If it does not show pictures, or too small ones.
        """
        super().__init__()
        box = box_of(observation_space, "Nature", [3])
        channels, height, width = box.shape
        self.scale = scale_of(box)
        self.convolutions = nn.ModuleList()
        for out_channels, kernel, stride in NATURE_CONVOLUTIONS:
            if min(height, width) < kernel:
                raise ConfigError("policy.encoder", "Nature", f"Conv, for pictures as small as {list(box.shape)}")
            self.convolutions.append(
                orthogonal(nn.Conv2d(channels, out_channels, kernel, stride), RELU_GAIN, generator)
            )
            channels, height, width = out_channels, (height - kernel) // stride + 1, (width - kernel) // stride + 1
        self.linear = orthogonal(nn.Linear(channels * height * width, config.features), RELU_GAIN, generator)
        self.out_features = config.features

    def forward(self, observations: Tensor) -> Tensor:
        """Features of a batch of observations."""
        x = first_convolution(self.convolutions[0], prepared(observations), self.scale).relu_()
        for layer in list(self.convolutions)[1:]:
            x = layer(x).relu_()
        features: Tensor = self.linear(x.flatten(1)).relu_()
        return features


class ImpalaEncoder(nn.Module):
    """Sections of a convolution, pooling and two residual blocks, then one layer: `[N, C, H, W]` to `[N, features]`."""

    acts_in_bfloat16 = True

    def __init__(self, config: Impala, observation_space: spaces.Space[object], generator: torch.Generator) -> None:
        """Lay out the layers for this observation space.

        Raises:
            ConfigError: If it does not show pictures.
        """
        super().__init__()
        box = box_of(observation_space, "Impala", [3])
        channels, height, width = box.shape
        self.scale = scale_of(box)
        self.sections = nn.ModuleList(
            _Section(before, after, generator) for before, after in pairwise([channels, *config.channels])
        )
        for _ in config.channels:
            height, width = -(-height // 2), -(-width // 2)
        size = config.channels[-1] * height * width
        self.linear = orthogonal(nn.Linear(size, config.features), RELU_GAIN, generator)
        self.out_features = config.features

    def forward(self, observations: Tensor) -> Tensor:
        """Features of a batch of observations."""
        x, scale = prepared(observations), self.scale
        for section in self.sections:
            x, scale = section(x, scale), 1.0
        features: Tensor = self.linear(x.relu_().flatten(1)).relu_()
        return features


class _Section(nn.Module):
    def __init__(self, before: int, after: int, generator: torch.Generator) -> None:
        super().__init__()
        self.convolution = _convolution(before, after, generator)
        self.blocks = nn.ModuleList(_Residual(after, generator) for _ in range(2))

    def forward(self, x: Tensor, scale: float) -> Tensor:
        x = nn.functional.max_pool2d(first_convolution(self.convolution, x, scale), 3, 2, 1)
        for block in self.blocks:
            x = block(x)
        return x


class _Residual(nn.Module):
    def __init__(self, channels: int, generator: torch.Generator) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(_convolution(channels, channels, generator) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        inner, outer = self.convolutions
        inside: Tensor = outer(inner(x.relu()).relu_())
        return x + inside


def _convolution(before: int, after: int, generator: torch.Generator) -> nn.Conv2d:
    return orthogonal(nn.Conv2d(before, after, 3, padding=1), RELU_GAIN, generator)


def first_convolution(layer: nn.Module, pictures: Tensor, scale: float) -> Tensor:
    """A convolution of `pictures` times `scale`; its weights are scaled instead, of which there are far fewer."""
    assert isinstance(layer, nn.Conv2d)
    return nn.functional.conv2d(pictures, layer.weight * scale, layer.bias, layer.stride, layer.padding)
