"""What is searched: for each key the values it may take."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from hydrahive.core.errors import ConfigError

KINDS = ("uniform", "log_uniform", "integer", "log_integer", "choice")
"""How the values of a key are given: all but the last as [low, high], both included."""


class Domain(ABC):
    """The values that a key may take."""

    @abstractmethod
    def drawn(self, random: np.random.Generator) -> Any:
        """A value."""

    @abstractmethod
    def neighbour(self, value: Any, random: np.random.Generator, factors: tuple[float, float]) -> Any:
        """A value near another: one of the factors away, or one step along a list."""

    @abstractmethod
    def extremes(self) -> list[Any]:
        """Values that, if the config's parser accepts them, all between them are accepted, too."""

    @abstractmethod
    def grid(self, points: int) -> list[Any]:
        """Values that cover it: `points` of a range, all of a list."""

    @abstractmethod
    def optuna(self) -> Any:
        """The same as Optuna's distribution."""

    @abstractmethod
    def suggested(self, trial: Any, key: str) -> Any:
        """What a trial of Optuna's suggests."""


@dataclass(frozen=True)
class Range(Domain):
    """Numbers from `low` to `high`, both included, evenly or evenly by their logarithms."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def drawn(self, random: np.random.Generator) -> Any:
        """A value."""
        low, high = (self.low - 0.5, self.high + 0.5) if self.whole else (self.low, self.high)
        if self.log:
            return self._inside(math.exp(random.uniform(math.log(low), math.log(high))))
        return self._inside(random.uniform(low, high))

    def neighbour(self, value: Any, random: np.random.Generator, factors: tuple[float, float]) -> Any:
        """The value times one of the factors; a whole number moves by one at least."""
        factor = factors[int(random.integers(2))]
        moved = value * factor
        if self.whole and round(moved) == value:
            moved = value + (1 if factor > 1 else -1)
        return self._inside(moved)

    def extremes(self) -> list[Any]:
        """Both ends."""
        return [self._inside(self.low), self._inside(self.high)]

    def grid(self, points: int) -> list[Any]:
        """Evenly spaced values."""
        spaced = np.geomspace if self.log else np.linspace
        return list(dict.fromkeys(self._inside(value) for value in spaced(self.low, self.high, points).tolist()))

    def optuna(self) -> Any:
        """A float or integer distribution."""
        from optuna.distributions import FloatDistribution, IntDistribution

        if self.whole:
            return IntDistribution(int(self.low), int(self.high), log=self.log)
        return FloatDistribution(self.low, self.high, log=self.log)

    def suggested(self, trial: Any, key: str) -> Any:
        """A number."""
        if self.whole:
            return trial.suggest_int(key, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(key, self.low, self.high, log=self.log)

    def place_of(self, value: float) -> float:
        """Where a value lies in the range, in [0, 1]; evenly, or evenly by logarithms."""
        low, high, at = self.low, self.high, min(max(value, self.low), self.high)
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(at)
        return (at - low) / (high - low)

    def value_at(self, place: float) -> Any:
        """The value at a place in [0, 1]."""
        if self.log:
            return self._inside(math.exp(math.log(self.low) + place * (math.log(self.high) - math.log(self.low))))
        return self._inside(self.low + place * (self.high - self.low))

    def _inside(self, value: float) -> Any:
        inside = min(max(value, self.low), self.high)
        return round(inside) if self.whole else float(inside)


@dataclass(frozen=True)
class Choice(Domain):
    """One of a list, whose order says what is near."""

    values: tuple[Any, ...]

    def drawn(self, random: np.random.Generator) -> Any:
        """A value."""
        return self.values[int(random.integers(len(self.values)))]

    def neighbour(self, value: Any, random: np.random.Generator, factors: tuple[float, float]) -> Any:
        """The one before or behind."""
        at = self.values.index(value) if value in self.values else 0
        return self.values[min(max(at + (1 if random.integers(2) else -1), 0), len(self.values) - 1)]

    def extremes(self) -> list[Any]:
        """All of them."""
        return list(self.values)

    def grid(self, points: int) -> list[Any]:
        """All of them."""
        return list(self.values)

    def optuna(self) -> Any:
        """A categorical distribution over their places in the list, which may hold what Optuna could not."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(list(range(len(self.values))))

    def suggested(self, trial: Any, key: str) -> Any:
        """A place in the list."""
        return trial.suggest_categorical(key, list(range(len(self.values))))


def _is_finite(value: float) -> bool:
    return abs(value) < 2**63 if isinstance(value, int) else math.isfinite(value)


def domain_of(key: str, given: Any) -> Domain:
    """The domain that is given for a key, as `{log_uniform: [1.0e-4, 1.0e-2]}`.

    Raises:
        ConfigError: If it is none.
    """
    where = f"space.{key}"
    if not isinstance(given, dict) or len(given) != 1 or next(iter(given)) not in KINDS:
        raise ConfigError(where, given, f"one of {', '.join(KINDS)} with a list, as {{uniform: [0, 1]}}")
    ((kind, values),) = given.items()
    if not isinstance(values, list) or not values:
        raise ConfigError(where, given, "a list that is not empty")
    if kind == "choice":
        return Choice(tuple(values))
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    if not numbers or len(values) != 2 or not values[0] < values[1] or not all(map(_is_finite, values)):
        raise ConfigError(where, given, "[low, high], two finite numbers of which the first is smaller")
    log, whole = kind.startswith("log_"), kind.endswith("integer")
    if whole and not all(isinstance(value, int) for value in values):
        raise ConfigError(where, given, "[low, high], two whole numbers")
    if log and values[0] <= 0:
        raise ConfigError(where, given, "[low, high] above 0, where values are spread by their logarithms")
    return Range(values[0], values[1], log, whole)
