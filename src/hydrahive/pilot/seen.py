"""What a pilot sees at a boundary, and what it says there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Validation:
    """What the policy of a boundary scored on held-out seeds.

    Attributes:
        updates: Of the boundary.
        env_steps: Likewise.
        mean: Of its episodes.
        error: The mean's standard error over games.
        train: Mean score of the last episodes of training then; None where none had ended.
    """

    updates: int
    env_steps: int
    mean: float
    error: float
    train: float | None = None

    @property
    def gap(self) -> float:
        """Generalisation gap: what training scored above it."""
        return 0.0 if self.train is None else self.train - self.mean


@dataclass(frozen=True)
class Seen:
    """What is known at a boundary.

    Attributes:
        updates: Of the boundary.
        env_steps: Likewise.
        figures: Means of the updates since the boundary before, of those that are watched.
        validation: The one that is decided upon here.
        score: Mean of the episodes of training that have ended since the boundary before; None of none.
    """

    updates: int
    env_steps: int
    figures: Mapping[str, float] = field(default_factory=dict)
    validation: Validation | None = None
    score: float | None = None

    def as_plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)

    @staticmethod
    def from_plain(plain: Mapping[str, Any]) -> Seen:
        """The inverse of `as_plain`; errors: KeyError, TypeError if it is none."""
        told = plain["validation"]
        validation = None if told is None else Validation(**told)
        return Seen(plain["updates"], plain["env_steps"], dict(plain["figures"]), validation, plain["score"])


@dataclass(frozen=True)
class Move:
    """Another value of a key from an update on."""

    from_update: int
    key: str
    value: Any


@dataclass(frozen=True)
class Told:
    """What is said of a decision: a stable kind, a sentence for people, and facts."""

    kind: str
    text: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Order:
    """What follows at a boundary.

    Attributes:
        validate: Whether its policy is to be validated.
        moves: Other values from an update on that nobody has been given yet.
        back_to: The boundary that the run goes back to; `moves` hold from there.
        ends: Why the run ends here: `target`, `stop`, `spawn` or `prune`; None if it goes on.
        told: What was decided, and why.
    """

    validate: bool = False
    moves: tuple[Move, ...] = ()
    back_to: int | None = None
    ends: str | None = None
    told: tuple[Told, ...] = ()

    def as_plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)
