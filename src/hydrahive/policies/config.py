"""Which network a policy is; torch-free."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from hydrahive.core.config import CoreConfig, EncoderConfig, made, require, require_integer

WIDEST = 65_536
"""Units of a layer; more of them fit no machine."""


@dataclass(frozen=True)
class Mlp(EncoderConfig):
    """Fully connected layers with ReLU over the flattened observation.

    Pictures among an observation's parts go through `Conv`'s convolutions first, things told by their number through a
    table of vectors, as with `Parts`.

    Attributes:
        hidden: Width of each layer.
        scaled: Whether whole numbers within bounds, such as bytes, are brought to [0, 1].
    """

    maker = "hydrahive.policies.encoders:mlp_encoder"

    hidden: list[int] = field(default_factory=lambda: [256, 256])
    scaled: bool = True

    def __post_init__(self) -> None:
        """Refuse an empty network and layers without width."""
        require(bool(self.hidden), "hidden", self.hidden, "at least one layer")
        for width in self.hidden:
            require_integer("hidden", width, 1, WIDEST)


@dataclass(frozen=True)
class Conv(EncoderConfig):
    """3x3 convolutions with ReLU over `[C, H, W]` observations, then one fully connected layer.

    Attributes:
        channels: Output channels of each convolution; zero padding keeps its input's sides.
        strides: Step of each convolution, as many as `channels`; 2 halves both sides.
        features: Width of the fully connected layer.
    """

    maker = "hydrahive.policies.encoders:ConvEncoder"

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


NATURE_CONVOLUTIONS = ((32, 8, 4), (64, 4, 2), (64, 3, 1))
"""Channels, kernel and stride of each of the Nature network's convolutions."""


@dataclass(frozen=True)
class Nature(EncoderConfig):
    """The convolutions of Mnih et al. 2015 (Nature) with ReLU, for stacks of frames, and one fully connected layer.

    Attributes:
        features: Width of the fully connected layer.
    """

    maker = "hydrahive.policies.pixels:NatureEncoder"

    features: int = 512

    def __post_init__(self) -> None:
        """Refuse a layer without width."""
        require_integer("features", self.features, 1)


@dataclass(frozen=True)
class Impala(EncoderConfig):
    """The residual network of Espeholt et al. 2018 (figure 3, right): 15 convolutions and one fully connected layer.

    Attributes:
        channels: Of each section: a convolution, max-pooling that halves both sides, and two residual blocks.
        features: Width of the fully connected layer.
    """

    maker = "hydrahive.policies.pixels:ImpalaEncoder"

    channels: list[int] = field(default_factory=lambda: [16, 32, 32])
    features: int = 256

    def __post_init__(self) -> None:
        """Refuse layers without width."""
        require(bool(self.channels), "channels", self.channels, "at least one section")
        for channels in self.channels:
            require_integer("channels", channels, 1)
        require_integer("features", self.features, 1)


@dataclass(frozen=True)
class Parts(EncoderConfig):
    """For observations of several parts (Dict or Tuple): each has an encoder, and fully connected layers see them all.

    Attributes:
        pictures: Encoder of each part that is a picture.
        embedding: Numbers that a thing is embedded in, where a part tells one of more than a thousand.
        hidden: Width of each layer over all parts.
    """

    maker = "hydrahive.policies.parts:PartsEncoder"

    pictures: EncoderConfig = field(default_factory=Conv)
    embedding: int = 16
    hidden: list[int] = field(default_factory=lambda: [256, 256])

    def __post_init__(self) -> None:
        """Refuse layers without width."""
        require_integer("embedding", self.embedding, 1, WIDEST)
        require(bool(self.hidden), "hidden", self.hidden, "at least one layer")
        for width in self.hidden:
            require_integer("hidden", width, 1, WIDEST)


@dataclass(frozen=True)
class PerGroup(EncoderConfig):
    """A policy for each of `env.groups`: features that agents of other groups have no part in, and heads over them.

    Attributes:
        encoder: Of each group's observations.
    """

    maker = "hydrahive.policies.encoders:PerGroupEncoder"

    encoder: EncoderConfig = field(default_factory=Mlp)


@dataclass(frozen=True)
class _Recurrent(CoreConfig):
    """Recurrent layers on top of the encoder.

    Attributes:
        hidden: Width of each layer.
        layers: How many, one on the other.
    """

    kind: ClassVar[Literal["rnn", "gru", "lstm"]]
    hidden: int = 256
    layers: int = 1

    def __post_init__(self) -> None:
        """Refuse layers without width."""
        require_integer("hidden", self.hidden, 1, WIDEST)
        require_integer("layers", self.layers, 1, 100)

    @property
    def memory_size(self) -> int:
        """Numbers of memory for each environment: an LSTM's cells remember besides what they say."""
        return (2 if self.kind == "lstm" else 1) * self.layers * self.hidden

    def build(self, in_features: int, generator: Any) -> Any:
        """A `hydrahive.policies.cores.RecurrentCore`."""
        maker = "hydrahive.policies.cores:RecurrentCore"
        return made(maker, self.kind, in_features, self.hidden, self.layers, generator)


@dataclass(frozen=True)
class Rnn(_Recurrent):
    """Plain recurrent layers with tanh (Elman 1990)."""

    kind = "rnn"


@dataclass(frozen=True)
class Gru(_Recurrent):
    """Gated recurrent units (Cho et al. 2014)."""

    kind = "gru"


@dataclass(frozen=True)
class Lstm(_Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber 1997)."""

    kind = "lstm"


@dataclass(frozen=True)
class PolicyConfig:
    """The agent's network: an encoder and a memory, shared by the heads.

    Attributes:
        encoder: What turns observations into features.
        core: Memory between steps: Rnn, Gru or Lstm; `none` looks at the present observation only.
        normalize: Whether observations are shifted and scaled to mean 0 and variance 1 over all that the run has seen,
            and clamped at 10 standard deviations.
    """

    encoder: EncoderConfig = field(default_factory=Mlp)
    core: CoreConfig | Literal["none"] = "none"
    normalize: bool = False

    def __post_init__(self) -> None:
        """Refuse a memory that groups of agents would share."""
        apart = isinstance(self.encoder, PerGroup) and self.core != "none"
        require(not apart, "core", type(self.core).__name__, "none, beside PerGroup: its policies share nothing")

    @property
    def core_kind(self) -> str:
        """Which kind of memory it is: none, rnn, gru, lstm, or what another says of itself."""
        return self.core.kind if isinstance(self.core, CoreConfig) else "none"

    @property
    def memory_size(self) -> int:
        """Numbers of memory for each environment."""
        return self.core.memory_size if isinstance(self.core, CoreConfig) else 0
