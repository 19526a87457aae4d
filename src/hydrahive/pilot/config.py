"""What a pilot looks at, and what it may do; torch-free."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from hydrahive.core.config import require, require_integer, require_number
from hydrahive.core.errors import ConfigError
from hydrahive.pilot.space import Range, domain_of


@dataclass(frozen=True)
class Convergence:
    """When scores are said to rise, to stand and to have come to rest.

    Attributes:
        smoothing: Validations whose mean is one point of the curve that is looked at.
        window: Points of that curve that a slope is fitted to.
        significance: Probability of a slope this steep by chance, below which it is believed (t-test, both sides).
        least: Rise over the window below which it does not count, as a share of the best score's size.
        cooling: Validations in a row without a rise after which the run is cooling: they come half as often.
        dormant: Validations in a row without a rise after which it is dormant.
        earliest: Validations before it can be dormant.
        widest: Most times that the distance between validations grows.
    """

    smoothing: int = 2
    window: int = 8
    significance: float = 0.05
    least: float = 0.02
    cooling: int = 5
    dormant: int = 15
    earliest: int = 20
    widest: int = 4

    def __post_init__(self) -> None:
        """Refuse windows too short for a slope and its error."""
        require_integer("smoothing", self.smoothing, 1)
        require_integer("window", self.window, 4)
        require_number("significance", self.significance, 0, 0.5, above=True)
        require_number("least", self.least, 0)
        require_integer("cooling", self.cooling, 1)
        require_integer("dormant", self.dormant, self.cooling + 1)
        require_integer("earliest", self.earliest, 1)
        require_integer("widest", self.widest, 1)


@dataclass(frozen=True)
class Rollback:
    """When a run goes back to its best boundary, and with what.

    Attributes:
        smoothing: Validations whose mean is held against the best such mean.
        after: Times in a row that it lies below, beyond noise, which confirm it.
        drop: Share of the best mean's size that it lies below at least.
        earliest: Validations before which a run does not go back: what has just begun goes up and down.
        most: How often the run goes back.
        gentler: What the learning rate is multiplied by each time.
    """

    smoothing: int = 3
    after: int = 3
    drop: float = 0.5
    earliest: int = 10
    most: int = 3
    gentler: float = 0.5

    def __post_init__(self) -> None:
        """Refuse what is not gentler."""
        require_integer("smoothing", self.smoothing, 1)
        require_integer("after", self.after, 1)
        require_integer("earliest", self.earliest, self.smoothing)
        require_number("drop", self.drop, 0)
        require_integer("most", self.most, 0)
        require_number("gentler", self.gentler, 0, 1, above=True)


@dataclass(frozen=True)
class Search:
    """Values that are moved while the run is trained, by what scores gain meanwhile.

    Attributes:
        space: Keys that can change inside a run, and their ranges, as
            `{algorithm.learning_rate: {log_uniform: [1.0e-5, 1.0e-2]}}`.
        by: What scores are: of the episodes of `training`, of which there are more, or of `validation`.
        settle: Boundaries that each probe is in force before it is judged, at least.
        strategy: `spsa`, `momentum`, `backoff`, `population`, or `auto`, which takes one by how scores go.
        probe: How far a value is moved to see what comes of it, of its range.
        gain: How far it is moved once that is known, of its range.
    """

    space: dict[str, Any] = field(default_factory=dict)
    by: Literal["training", "validation"] = "training"
    settle: int = 4
    strategy: Literal["auto", "spsa", "momentum", "backoff", "population"] = "auto"
    probe: float = 0.2
    gain: float = 0.15

    def __post_init__(self) -> None:
        """Refuse a search of nothing, and probes that lead nowhere."""
        require(bool(self.space), "space", self.space, "at least one key to search")
        require_integer("settle", self.settle, 2)
        require_number("probe", self.probe, 0, 0.5, above=True)
        require_number("gain", self.gain, 0, 1, above=True)
        assert self.ranges, "ranges are refused here, not later"

    @cached_property
    def ranges(self) -> dict[str, Range]:
        """The ranges by key.

        Raises:
            ConfigError: If one is none.
        """
        found = {}
        for key, given in self.space.items():
            domain = domain_of(key, given)
            if not isinstance(domain, Range):
                raise ConfigError(f"space.{key}", given, "a range of numbers")
            found[key] = domain
        return found


@dataclass(frozen=True)
class Guards:
    """What is watched at every boundary: rates and costs are moved when it goes wrong, and moved back afterwards.

    Attributes:
        loss: Deviations above the mean of its last ten boundaries at which the loss is too high.
        entropy: Below it, the policy has lost its entropy (nats), and losing more costs more; null to look at it not,
            as for actions that are numbers, whose entropy has no least.
        divergence: Above it, an update has led the policy too far from the one that acted (nats).
        factor: What the learning rate is multiplied by, and what entropy costs divided by.
        floor: Least that the learning rate comes to in this way, as a share; entropy's cost grows by its inverse.
        calm: Boundaries without alarm after which one step is taken back.
    """

    loss: float = 6.0
    entropy: float | None = 0.05
    divergence: float = 0.05
    factor: float = 0.5
    floor: float = 0.1
    calm: int = 5

    def __post_init__(self) -> None:
        """Refuse factors that move nothing."""
        require_number("loss", self.loss, 0, above=True)
        if self.entropy is not None:
            require_number("entropy", self.entropy, 0)
        require_number("divergence", self.divergence, 0, above=True)
        require(0 < self.factor < 1, "factor", self.factor, "a number between 0 and 1")
        require_number("floor", self.floor, 0, 1, above=True)
        require_integer("calm", self.calm, 1)


@dataclass(frozen=True)
class Regimes:
    """What is made of how scores go: along a line, around a mean, or neither.

    Attributes:
        window: Validations that are looked at.
        volatile: Deviation from the line, of the mean's size, above which scores are volatile.
        trending: Slope a validation, of the mean's size, above which they follow a trend.
        entropy: What entropy costs in times its own, while scores range around a mean and the run is cooling.
    """

    window: int = 10
    volatile: float = 0.15
    trending: float = 0.01
    entropy: float = 1.5

    def __post_init__(self) -> None:
        """Refuse windows too short for a line."""
        require_integer("window", self.window, 3)
        require_number("volatile", self.volatile, 0, above=True)
        require_number("trending", self.trending, 0, above=True)
        require_number("entropy", self.entropy, 1)


@dataclass(frozen=True)
class Dormant:
    """What becomes of a run that is dormant.

    Attributes:
        does: `decide` by what follows; `stop`; or `go_on`.
        gap: Generalisation gap, of the validation score's size, above which the run is pruned.
        gap_slope: Its growth from one validation to the next above which it is pruned, too.
        slope: Slope of validation scores, of their size, below which the run has nothing more to learn as it is: a
            sweep goes on with a fork of it. Above it, the run goes on.
        window: Validations that are looked at.
        perturbed: Deviation of a fork's values from the run's, of their range.
    """

    does: Literal["decide", "stop", "go_on"] = "decide"
    gap: float = 0.2
    gap_slope: float = 0.02
    slope: float = 0.01
    window: int = 10
    perturbed: float = 0.1

    def __post_init__(self) -> None:
        """Refuse windows too short for a slope."""
        require_number("gap", self.gap, 0)
        require_number("gap_slope", self.gap_slope, 0)
        require_number("slope", self.slope, 0)
        require_integer("window", self.window, 3)
        require_number("perturbed", self.perturbed, 0)


@dataclass(frozen=True)
class PilotConfig:
    """A run that watches itself: by validations, which are part of its reproducible line, it decides on its own values.

    Attributes:
        every: Boundaries between validations while scores rise.
        delay: Boundaries from a validation to the update from which on holds what was decided by it.
        episodes: Of a validation, on seeds that nothing else is played on.
        target: Score at which the run ends once it was held; null for none.
        held: Validations in a row that hold it.
        top: Checkpoints that are kept by their scores, and whose weights' average is tried in the end.
        noise: Standard errors within which scores are equal.
        convergence: When scores rise, and when they have come to rest.
        rollback: When the run goes back; null for never.
        search: Values that are moved by what scores gain; null for none.
        guards: What rates and costs are moved by when it goes wrong; null for nothing.
        regimes: How entropy and the distance of validations follow the way scores go; null for not.
        dormant: What becomes of a run that has come to rest.
    """

    every: int = 2
    delay: int = 2
    episodes: int = 32
    target: float | None = None
    held: int = 5
    top: int = 3
    noise: float = 2.0
    convergence: Convergence = field(default_factory=Convergence)
    rollback: Rollback | None = field(default_factory=Rollback)
    search: Search | None = None
    guards: Guards | None = field(default_factory=Guards)
    regimes: Regimes | None = field(default_factory=Regimes)
    dormant: Dormant = field(default_factory=Dormant)

    def __post_init__(self) -> None:
        """Refuse counts that make no sense."""
        require_integer("every", self.every, 1)
        require_integer("delay", self.delay, 1)
        require_integer("episodes", self.episodes, 2)
        if self.target is not None:
            require_number("target", self.target)
        require_integer("held", self.held, 1)
        require_integer("top", self.top, 1)
        require_number("noise", self.noise, 0)
