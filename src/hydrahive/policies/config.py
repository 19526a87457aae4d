"""Which network a policy is; torch-free."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from hydrahive.core.config import EncoderConfig, require, require_integer


@dataclass(frozen=True)
class Mlp(EncoderConfig):
    """Fully connected layers with ReLU over the flattened observation.

    Attributes:
        hidden: Width of each layer.
    """

    hidden: list[int] = field(default_factory=lambda: [256, 256])

    def __post_init__(self) -> None:
        """Refuse an empty network and layers without width."""
        require(bool(self.hidden), "hidden", self.hidden, "at least one layer")
        for width in self.hidden:
            require_integer("hidden", width, 1)

    def build(self, observation_space: Any, generator: Any) -> Any:
        """A `hydrahive.policies.encoders.MlpEncoder`."""
        from hydrahive.policies.encoders import MlpEncoder

        return MlpEncoder(self, observation_space, generator)


@dataclass(frozen=True)
class Conv(EncoderConfig):
    """3x3 convolutions with ReLU over `[C, H, W]` observations, then one fully connected layer.

    Attributes:
        channels: Output channels of each convolution; zero padding keeps its input's sides.
        strides: Step of each convolution, as many as `channels`; 2 halves both sides.
        features: Width of the fully connected layer.
    """

    channels: list[int] = field(default_factory=lambda: [16, 32, 32])
    strides: list[int] = field(default_factory=lambda: [1, 2, 2])
    features: int = 256

    def __post_init__(self) -> None:
        """Refuse shapes that do not fit together."""
        require(bool(self.channels), "channels", self.channels, "at least one convolution")
        for channels in self.channels:
            require_integer("channels", channels, 1)
        fits = len(self.strides) == len(self.channels)
        require(fits, "strides", self.strides, f"{len(self.channels)} integers, one for each convolution")
        for stride in self.strides:
            require_integer("strides", stride, 1)
        require_integer("features", self.features, 1)

    def build(self, observation_space: Any, generator: Any) -> Any:
        """A `hydrahive.policies.encoders.ConvEncoder`."""
        from hydrahive.policies.encoders import ConvEncoder

        return ConvEncoder(self, observation_space, generator)


@dataclass(frozen=True)
class PolicyConfig:
    """The agent's network: an encoder shared by a policy head and a value head.

    Attributes:
        encoder: What turns observations into features.
        core: Memory between steps; `none` looks at the present observation only.
    """

    encoder: EncoderConfig = field(default_factory=Mlp)
    core: Literal["none"] = "none"
