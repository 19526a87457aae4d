"""Encoders of pictures, computed in bfloat16 where a config asks for it and the device gains by it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from hydrahive.core.errors import ConfigError
from hydrahive.policies.config import NATURE_CONVOLUTIONS, Impala, Nature
from hydrahive.policies.encoders import RELU_GAIN, box_of, orthogonal, scale_of

FOLD = 4
"""Pixels of a folded picture's side that become one; their bytes make an int32, and are moved together."""


def prepared(pictures: Tensor) -> Tensor:
    """Pictures `[N, C, H, W]`, bytes or not, in the type that layers compute in, channels last in memory."""
    return pictures.to(computed_in(pictures.device.type)).contiguous(memory_format=torch.channels_last)


def computed_in(device: str) -> torch.dtype:
    """The type that layers compute in, here and now."""
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32


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
        self._folds = box.dtype == np.uint8 and all(side % FOLD == 0 for side in box.shape[1:])

    def prepared(self, observations: Tensor) -> Tensor:
        """Observations as the first layer takes them; their features are the same."""
        folds = self._folds and observations.device.type == "cpu" and observations.dtype == torch.uint8
        return folded(observations) if folds else prepared(observations)

    def forward(self, observations: Tensor) -> Tensor:
        """Features of a batch of observations, `prepared` or not."""
        x = self.prepared(observations)
        first = self.convolutions[0]
        assert isinstance(first, nn.Conv2d)
        convolution = first_convolution if x.shape[1] == first.in_channels else folded_convolution
        x = convolution(first, x, self.scale).relu_()
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

    def prepared(self, observations: Tensor) -> Tensor:
        """Observations as the first layer takes them; their features are the same."""
        return prepared(observations)

    def forward(self, observations: Tensor) -> Tensor:
        """Features of a batch of observations, `prepared` or not."""
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


def first_convolution(layer: nn.Conv2d, pictures: Tensor, scale: float) -> Tensor:
    """A convolution of `pictures` times `scale`; its weights are scaled instead, of which there are far fewer."""
    weight = layer.weight if scale == 1 else layer.weight * scale
    return nn.functional.conv2d(pictures, weight, layer.bias, layer.stride, layer.padding)


def folded(pictures: Tensor) -> Tensor:
    """Bytes `[N, C, H, W]` as `[N, C * 16, H / 4, W / 4]`, each 4 by 4 pixels the channels of one (space to depth).

    They come in the type that layers compute in, channels last in memory.
    """
    count, channels, height, width = pictures.shape
    rows, columns = height // FOLD, width // FOLD
    fours = pictures.contiguous().view(torch.int32).view(count, channels, rows, FOLD, columns)
    pixels = fours.permute(0, 2, 4, 1, 3).contiguous().view(torch.uint8).view(count, rows, columns, -1)
    return pixels.to(computed_in("cpu")).permute(0, 3, 1, 2)


def folded_convolution(layer: nn.Conv2d, pictures: Tensor, scale: float) -> Tensor:
    """`first_convolution` with stride 4 of pictures that are `folded`: stride 1, and 16 times as many channels.

    A matrix unit has as much to do at a time as it can take; four channels leave it nearly empty.
    """
    outs, channels, height, width = layer.weight.shape
    blocks = (layer.weight * scale).view(outs, channels, height // FOLD, FOLD, width // FOLD, FOLD)
    weight = blocks.permute(0, 1, 3, 5, 2, 4).reshape(outs, -1, height // FOLD, width // FOLD)
    return nn.functional.conv2d(pictures, weight, layer.bias)
