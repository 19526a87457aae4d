"""What a sweep is; torch-free."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import yaml
from jsonargparse import ArgumentParser

from hydrahive.core.config import Part, require, require_integer, require_number
from hydrahive.pilot.space import Choice, Domain, domain_of
from hydrahive.runtime.config.changes import value_of, with_values
from hydrahive.runtime.config.parsing import config_arguments, load_run_config, parse
from hydrahive.runtime.config.parts import choose_among
from hydrahive.runtime.config.plain import built
from hydrahive.runtime.config.run_config import CheckpointConfig, RunConfig, StopConfig
from hydrahive.runtime.config.shipped import find_config

REPORTED = ("score_mean", "score_max", "episodes", "env_steps", "updates")
"""Metrics of every run; none that depends on a clock."""

ITS_OWN = ("stop", "workers", "schedule", "changes", "checkpoint", "recording", "experiment", "seed")
"""Keys that a sweep does not vary: it sets them itself, or they would change what trials have in common."""

SET_BY_SWEEP = ("stop", "workers", "changes", "recording", "experiment")
"""Keys that a sweep sets in every trial."""

MOST_STEPS = 10**15
"""More env steps than any run has."""

ONLY_MILESTONES = 1_000_000
"""`checkpoint.every_boundaries` of trials that are bred: milestones are written anyway, and must not be pushed out."""


EVALUATED = "evaluation_"
"""What metrics of evaluations begin with."""


@dataclass(frozen=True)
class SearchConfig(Part):
    """Where trials' values come from."""

    depends_on_results: ClassVar[bool] = False


@dataclass(frozen=True)
class RandomSearch(SearchConfig):
    """Each trial's values drawn for themselves, from a stream of the sweep's seed."""


@dataclass(frozen=True)
class GridSearch(SearchConfig):
    """Every combination, the last key changing first; `budget.trials` cuts it off.

    Attributes:
        points: Values of each range; lists are taken whole.
    """

    points: int = 3

    def __post_init__(self) -> None:
        """Refuse a range of no points."""
        require_integer("points", self.points, 1)


@dataclass(frozen=True)
class Optuna(SearchConfig):
    """Optuna's tree-structured Parzen estimator (Bergstra et al. 2011).

    Attributes:
        startup_trials: Drawn at random before it begins.
        multivariate: Whether values are looked at together instead of key by key.
    """

    depends_on_results = True
    startup_trials: int = 10
    multivariate: bool = True

    def __post_init__(self) -> None:
        """Refuse a start without trials."""
        require_integer("startup_trials", self.startup_trials, 1)


@dataclass(frozen=True)
class SchedulerConfig(Part):
    """Which trials go on, and with what."""

    depends_on_arrival: ClassVar[bool] = True


@dataclass(frozen=True)
class Asha(SchedulerConfig):
    """Asynchronous successive halving (Li et al. 2020): of those that come so far, the better ones go on.

    Attributes:
        grace: Milestones that every trial reaches.
        reduction: One in so many goes on.
    """

    grace: int = 1
    reduction: float = 3.0

    def __post_init__(self) -> None:
        """Refuse what reduces nothing."""
        require_integer("grace", self.grace, 1)
        require_number("reduction", self.reduction, 1, above=True)


@dataclass(frozen=True)
class Median(SchedulerConfig):
    """A trial whose best is below the median of the others' means so far is stopped (Golovin et al. 2017).

    Attributes:
        grace: Milestones that every trial reaches.
        least: Others that must have come so far.
    """

    grace: int = 2
    least: int = 3

    def __post_init__(self) -> None:
        """Refuse comparisons with nobody."""
        require_integer("grace", self.grace, 1)
        require_integer("least", self.least, 1)


@dataclass(frozen=True)
class Pbt(SchedulerConfig):
    """Population-based training (Jaderberg et al. 2017): the worst go on as copies of the best, with other values.

    Donors, and what becomes of their values, are drawn from streams of the sweep's seed, so that a repeated sweep has
    the same lineage.

    Attributes:
        quantile: Share of the population that is replaced, and that donors are drawn from; one at least.
        resample: Probability that a value is drawn anew instead of moved.
        factors: What a number that is moved is multiplied by, one or the other.
        synchronous: Whether everyone waits at each milestone. Without it a trial is judged when it comes, among the
            newest scores of the others, and the sweep does not repeat.
    """

    quantile: float = 0.25
    resample: float = 0.25
    factors: list[float] = field(default_factory=lambda: [0.8, 1.25])
    synchronous: bool = True

    def __post_init__(self) -> None:
        """Refuse shares that are none, and factors that go one way only."""
        require_number("quantile", self.quantile, 0, 0.5, above=True)
        require_number("resample", self.resample, 0, 1)
        both = len(self.factors) == 2 and 0 < self.factors[0] < 1 < self.factors[1]
        require(both, "factors", self.factors, "two numbers, one below 1 and one above")


choose_among(SearchConfig, SchedulerConfig)


@dataclass(frozen=True)
class Budget:
    """How much is trained.

    Attributes:
        trials: Runs; of population-based training, the population.
        env_steps: Of each, rounded up to whole milestones.
        milestones: Reports of each, at boundaries: where trials are compared, stopped and bred.
    """

    trials: int = 16
    env_steps: int = 1_000_000
    milestones: int = 10

    def __post_init__(self) -> None:
        """Refuse a budget of nothing."""
        require_integer("trials", self.trials, 1)
        require_integer("env_steps", self.env_steps, 1)
        require_integer("milestones", self.milestones, 1)


@dataclass(frozen=True)
class Again:
    """The best trials are trained again with other seeds before one of them is called the winner.

    Attributes:
        top: How many; 0 to believe the search.
        seeds: Runs of each.
    """

    top: int = 3
    seeds: int = 3

    def __post_init__(self) -> None:
        """Refuse counts below none."""
        require_integer("top", self.top, 0)
        require_integer("seeds", self.seeds, 1)


@dataclass(frozen=True)
class SweepConfig:
    """One sweep.

    Attributes:
        experiment: What is trained: a YAML file or a shipped experiment.
        fixed: Values of dotted keys that are other than the experiment's in every trial.
        space: Keys that are varied, and their domains, as `{algorithm.discount: {uniform: [0.9, 0.999]}}`.
        metric: What trials are compared by.
        mode: Whether more of it is better.
        budget: How much is trained.
        search: Where values come from.
        scheduler: Which trials go on; null for all.
        concurrent: Most trials at a time; null for one where Optuna searches, which repeats then, else for as many as
            `cpus_per_trial` leaves room for. A population has no such limit, only room.
        cpus_per_trial: Of a trial that is computed inline, in one process; a half lets two share a core.
        workers: Env workers of each trial, in processes of their own; 0 for inline.
        forks: Most trials that follow those: where a trial's pilot has ended it to be forked, its best boundary goes on
            with its values perturbed. Forks may be forked.
        again: What is done before a winner is named.
        attempts: How often a trial whose process dies is taken up again.
        seed: Of all that the sweep draws. Runs keep the experiment's seed, so that they differ in nothing but values.
    """

    experiment: str
    space: dict[str, Any]
    fixed: dict[str, Any] = field(default_factory=dict)
    metric: str = "score_mean"
    mode: Literal["max", "min"] = "max"
    budget: Budget = field(default_factory=Budget)
    search: SearchConfig = field(default_factory=Optuna)
    scheduler: SchedulerConfig | None = None
    concurrent: int | None = None
    cpus_per_trial: float = 1.0
    workers: int = 0
    forks: int = 0
    again: Again = field(default_factory=Again)
    attempts: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what can be seen to be wrong without the experiment."""
        require(bool(self.space), "space", self.space, "at least one key to vary")
        self._refuse_keys()
        if self.concurrent is not None:
            require_integer("concurrent", self.concurrent, 1)
        require_number("cpus_per_trial", self.cpus_per_trial, 0, above=True)
        require_integer("workers", self.workers, 0, 10_000)
        require_integer("attempts", self.attempts, 1)
        require_integer("forks", self.forks, 0)
        require_integer("seed", self.seed, 0, 2**63 - 1)
        if isinstance(self.scheduler, Pbt):
            require(not self.search.depends_on_results, "search", "Optuna", "RandomSearch or GridSearch beside Pbt")
            require_integer("budget.trials", self.budget.trials, 2)
            require(
                self.concurrent is None, "concurrent", self.concurrent, "null beside Pbt; cpus_per_trial makes room"
            )

    def _refuse_keys(self) -> None:
        """Refuse keys that are none, that stand twice, or that are the sweep's own to set."""
        plain: dict[str, str] = {}
        for where, keys, own in (("space", self.space, ITS_OWN), ("fixed", self.fixed, SET_BY_SWEEP)):
            for key in keys:
                require(isinstance(key, str), where, key, "dotted keys of a run's config")
                require(key.split(".")[0] not in own, where, key, f"keys but those that a sweep sets: {', '.join(own)}")
                short = key.replace(".init_args", "")
                require(short not in plain, where, key, f"each key once; {plain.get(short)} says the same")
                plain[short] = key

    @cached_property
    def domains(self) -> dict[str, Domain]:
        """The space's domains by key."""
        return {key: domain_of(key, given) for key, given in self.space.items()}

    @property
    def is_bred(self) -> bool:
        """Whether trials take over others' weights."""
        return isinstance(self.scheduler, Pbt)

    @property
    def at_a_time(self) -> int | None:
        """Most trials at a time; None for as many as there is room for."""
        return 1 if self.concurrent is None and self.search.depends_on_results else self.concurrent

    @property
    def repeats(self) -> str | None:
        """None if the sweep gives the same when it is repeated; else why not."""
        if isinstance(self.scheduler, Pbt):
            return None if self.scheduler.synchronous else "asynchronous population-based training"
        if self.scheduler is not None:
            return f"{type(self.scheduler).__name__} stops trials by the order in which they report"
        if self.search.depends_on_results and self.at_a_time != 1:
            return "Optuna with several trials at a time draws by the order in which they end"
        return None

    def base(self) -> RunConfig:
        """The run that trials are variations of.

        Raises:
            UsageError: If the experiment or a fixed value is not accepted.
        """
        path, experiment = find_config(self.experiment)
        config = load_run_config(path, [*self.overrides(), f"--workers={self.workers}"])
        again = config.schedule != "free-running"
        require(again, "fixed", config.schedule, "another schedule: free-running cannot be continued")
        accepted = "one without changes inside the run, which would take the place of what is searched"
        require(not config.changes, "experiment", self.experiment, accepted)
        accepted = "one with a pilot, that says when a trial is to be forked"
        require(not self.forks or config.pilot is not None, "forks", self.forks, f"0, or {accepted}")
        piloted = self.is_bred and config.pilot is not None
        require(not piloted, "scheduler", "Pbt", "another beside a pilot: both change values inside a run")
        return dataclasses.replace(config, experiment=experiment, recording=False)

    def settled(self) -> SweepConfig:
        """The same with choices as configs hold them: `Gru` and `1e-3` may be written for a part and a number.

        Raises:
            UsageError: If one is not accepted.
        """
        path, _ = find_config(self.experiment)
        space = dict(self.space)
        for key, domain in self.domains.items():
            if isinstance(domain, Choice):
                runs = [load_run_config(path, [*self.overrides(), given(key, value)]) for value in domain.values]
                space[key] = {"choice": [value_of(run, key) for run in runs]}
        return dataclasses.replace(self, space=space)

    def overrides(self) -> list[str]:
        """The fixed values as a parser of configs reads them."""
        return [given(key, value) for key, value in self.fixed.items()]

    def milestone_updates(self, config: RunConfig) -> int:
        """Updates between a run's milestones: whole boundaries."""
        updates = -(-self.budget.env_steps // config.max_steps_per_round)
        boundaries = -(-updates // (self.budget.milestones * config.boundary_every))
        return boundaries * config.boundary_every

    def milestones(self, config: RunConfig) -> int:
        """Milestones of a run."""
        updates = -(-self.budget.env_steps // config.max_steps_per_round)
        return -(-updates // self.milestone_updates(config))

    def run_config(self, base: RunConfig, values: dict[str, Any]) -> RunConfig:
        """The run of a trial with these values.

        Raises:
            UsageError: If one is not accepted.
        """
        config = with_values(base, values)
        every = self.milestone_updates(config)
        updates = self.milestones(config) * every
        # How many env steps an iteration of RLlib's has, only RLlib knows: there, updates alone say when it ends.
        steps = MOST_STEPS if config.schedule == "rllib" else updates * config.max_steps_per_round
        stop = StopConfig(env_steps=steps, updates=updates)
        if self.metric.startswith(EVALUATED) and config.evaluate_every:
            accepted = f"at most {every}, the updates between milestones, each of which wants {self.metric}"
            require(config.evaluate_every <= every, "evaluate_every", config.evaluate_every, accepted)
        checkpoint = CheckpointConfig(ONLY_MILESTONES, 3) if self.is_bred else config.checkpoint
        return dataclasses.replace(config, stop=stop, checkpoint=checkpoint)


def given(key: str, value: Any) -> str:
    """A value at a key as the parser of a config reads it."""
    plain = str(yaml.safe_dump(value, default_flow_style=True, width=10_000)).removesuffix("\n...\n").strip()
    return f"--{key}={plain}"


def sweep_parser(prog: str) -> ArgumentParser:
    """A parser of all keys of `SweepConfig`; the command adds its own options to it."""
    parser = ArgumentParser(exit_on_error=False, prog=prog, add_help=False, allow_abbrev=False)
    parser.add_argument("--config", action="config", help="YAML file whose keys replace the defaults.")
    parser.add_class_arguments(SweepConfig)
    return parser


def load_sweep(path: Path, overrides: Sequence[str] = ()) -> SweepConfig:
    """The sweep in a YAML file with dotted `overrides` applied.

    Raises:
        UsageError: If it cannot be read, or is not accepted.
    """
    given = parse(sweep_parser("hydrahive tune"), [*config_arguments(path, SweepConfig), *overrides], SweepConfig)
    return sweep_of(given.as_dict())


def sweep_of(plain: dict[str, Any]) -> SweepConfig:
    """The sweep that plain data describe.

    Raises:
        ConfigError: If a value is not accepted.
    """
    sweep = built(plain, SweepConfig)
    assert sweep.domains, "domains are refused here, not later"
    return sweep
