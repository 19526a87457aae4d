"""What an env step is worth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hydrahive.core.config import require, require_integer

DEFAULT_RATE = 10
"""Micro-tokens for an env step of weight 1: 1.0 token for 100,000 Snake steps."""

DEAREST = 10**6
"""Micro-tokens that an env step may earn at most: a token. SQLite's integers then hold the sums of 4 * 10^12 steps."""


@dataclass(frozen=True)
class LedgerConfig:
    """Whether and at what price work is credited; never changes a byte of the run.

    Attributes:
        enabled: Keep accounts of this run's work.
        path: The ledger's file, on a local disk; by default $HYDRAHIVE_LEDGER, else `ledger.sqlite` in the folder of
            the runs. A cluster has one ledger: what its head's environment says comes first.
        microtokens_per_step: Paid for an env step of weight 1, in millionths of a token; 10 makes a token of
            100,000 Snake steps.
        weight: What an env step of this environment counts, in Snake steps; by default what the environment declares.
        microtokens_per_row: Paid for a row of a gradient step that a slice worker (`learner.workers`) has found the
            gradient of, in millionths of a token.
    """

    enabled: bool = True
    path: str | None = None
    microtokens_per_step: int = DEFAULT_RATE
    weight: int | None = None
    microtokens_per_row: int = DEFAULT_RATE

    def __post_init__(self) -> None:
        """Refuse prices that nobody can pay, and paths that depend on where one stands."""
        require_integer("microtokens_per_step", self.microtokens_per_step, 0, 10**9)
        require_integer("microtokens_per_row", self.microtokens_per_row, 0, DEAREST)
        assert DEFAULT_RATE > 0, "work is worth something"
        if self.weight is not None:
            require_integer("weight", self.weight, 0, 10**6)
        if self.path is not None:
            require(Path(self.path).is_absolute(), "path", self.path, "an absolute path")
        assert isinstance(self.enabled, bool), "yes or no"


@dataclass(frozen=True)
class Price:
    """What an env step earns: `rate` micro-tokens times `weight`; recorded with every entry that it made."""

    rate: int
    weight: int

    def amount(self, env_steps: int) -> int:
        """Micro-tokens for so many env steps."""
        assert env_steps >= 0, "steps are counted"
        assert min(self.rate, self.weight) >= 0, "work costs the worker nothing"
        return env_steps * self.weight * self.rate


def price_of(config: LedgerConfig, declared_weight: int) -> Price:
    """The price that a config sets for an environment that declares this weight.

    Raises:
        ConfigError: If it is too high for a ledger's sums.
    """
    assert declared_weight >= 0, "no environment is worth less than nothing"
    weight = declared_weight if config.weight is None else config.weight
    assert weight >= 0, "refused by the config"
    rate = config.microtokens_per_step
    priced = f"{rate:,} with a weight of {weight:,}"
    payable = not config.enabled or weight * rate <= DEAREST
    require(payable, "ledger.microtokens_per_step", priced, f"at most {DEAREST:,} for an env step in all")
    return Price(rate, weight)
