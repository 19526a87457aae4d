"""What all configs share: the bases of the parts that can be chosen, and how values are refused."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from hydrahive.core.errors import ConfigError


@dataclass(frozen=True)
class EnvConfig:
    """An environment: how to build it as a vector of environments and as a single one.

    `step_weight` is what an env step counts in the ledger, in Snake steps: a class declares what its steps cost.
    """

    step_weight: ClassVar[int] = 1

    def make_vector(self, num_envs: int) -> Any:
        """A `hydrahive.envs.vector.SnapshotVectorEnv` of `num_envs` environments."""
        raise NotImplementedError(f"{type(self).__name__} must define make_vector")

    def make_single(self, render_mode: str | None = None) -> Any:
        """One `gymnasium.Env` with the same spaces, for playing and recording."""
        raise NotImplementedError(f"{type(self).__name__} must define make_single")


@dataclass(frozen=True)
class EncoderConfig:
    """A network that turns observations into features."""

    def build(self, observation_space: Any, generator: Any) -> Any:
        """A `torch.nn.Module` with an `out_features` attribute, its weights drawn from `generator`."""
        raise NotImplementedError(f"{type(self).__name__} must define build")


@dataclass(frozen=True)
class AlgorithmConfig:
    """A learning rule: what acting records besides the action, and the update."""

    def build(self, policy: Any) -> Any:
        """The update rule over `policy`."""
        raise NotImplementedError(f"{type(self).__name__} must define build")


def require(accepted: bool, key: str, given: object, expected: str) -> None:
    """Refuse a config value.

    Raises:
        ConfigError: If `accepted` is False; says what was given for `key` and what is expected.
    """
    if not accepted:
        raise ConfigError(key, given, expected)


def require_integer(key: str, given: int, low: int, high: int | None = None) -> None:
    """Refuse an integer outside `[low, high]`."""
    expected = f"an integer of at least {low}" if high is None else f"an integer from {low} to {high}"
    require(low <= given and (high is None or given <= high), key, given, expected)


def require_number(
    key: str, given: float, low: float = -math.inf, high: float = math.inf, *, above: bool = False
) -> None:
    """Refuse a number that is not finite or outside `[low, high]` (`above`: `low` itself is refused)."""
    inside = math.isfinite(given) and given <= high and (given > low if above else given >= low)
    bounds = []
    if math.isfinite(low):
        bounds.append(f"{'above' if above else 'of at least'} {low:g}")
    if math.isfinite(high):
        bounds.append(f"of at most {high:g}")
    require(inside, key, given, " ".join(["a finite number", " and ".join(bounds)]).strip())
