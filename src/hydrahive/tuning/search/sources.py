"""Where the values of trials come from: the n-th trial's are the same whenever they are asked for."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from hydrahive.core.durable import write_whole
from hydrahive.core.streams import derived_seed, stream
from hydrahive.pilot.space import Choice, Domain
from hydrahive.tuning.config import GridSearch, Optuna, RandomSearch, SweepConfig


class Source(Protocol):
    """Gives values, and hears what came of them."""

    def values(self, number: int) -> dict[str, Any] | None:
        """A trial's values by key; None if there are no more."""

    def report(self, number: int, milestone: int, score: float) -> None:
        """Hear of a milestone."""

    def end(self, number: int, status: str, score: float | None) -> None:
        """Hear how a trial ended."""


class Drawn:
    """Random values."""

    def __init__(self, seed: int, domains: Mapping[str, Domain]) -> None:
        """Draw from streams of the sweep's seed."""
        self._seed, self._domains = seed, domains

    def values(self, number: int) -> dict[str, Any]:
        """Drawn key by key, so that another key changes nothing for those before it."""
        return {key: domain.drawn(stream(self._seed, f"sample/{key}", number)) for key, domain in self._domains.items()}

    def report(self, number: int, milestone: int, score: float) -> None:
        """Changes nothing."""

    def end(self, number: int, status: str, score: float | None) -> None:
        """Changes nothing."""


class Listed:
    """Every combination."""

    def __init__(self, points: int, domains: Mapping[str, Domain], most: int) -> None:
        """List them, but not more than `most`."""
        self._domains = domains
        combinations = itertools.product(*(domain.grid(points) for domain in domains.values()))
        self._all = list(itertools.islice(combinations, most))

    def values(self, number: int) -> dict[str, Any] | None:
        """The n-th, the last key changing first."""
        return dict(zip(self._domains, self._all[number], strict=True)) if number < len(self._all) else None

    def report(self, number: int, milestone: int, score: float) -> None:
        """Changes nothing."""

    def end(self, number: int, status: str, score: float | None) -> None:
        """Changes nothing."""


def _cut_half_line(path: Path) -> None:
    """Drop what a crash has cut short, behind which Optuna would write."""
    if path.is_file():
        data = path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if whole != data:
            write_whole(path, whole)


class Estimated:
    """Optuna's, with a study in the sweep's folder.

    The sampler of each trial is seeded for itself: it depends on the study so far and on the trial's number, not on how
    often the sweep was stopped. What the study holds of a trial already stands.
    """

    def __init__(
        self, config: Optuna, seed: int, domains: Mapping[str, Domain], path: Path, *, most_is_best: bool
    ) -> None:
        """Open or begin the study."""
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend
        from optuna.storages.journal._file import LOCK_FILE_SUFFIX

        optuna.logging.set_verbosity(logging.WARNING)
        _cut_half_line(path)
        # Whoever was killed may have left it; nobody else writes there while the sweep is claimed.
        Path(f"{path}{LOCK_FILE_SUFFIX}").unlink(missing_ok=True)
        self._config, self._seed, self._domains = config, seed, domains
        self._study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(path))),
            study_name="sweep",
            direction="maximize" if most_is_best else "minimize",
            load_if_exists=True,
        )

    def values(self, number: int) -> dict[str, Any]:
        """The study's n-th trial, asked for if it is new."""
        import optuna

        trials = self._study.get_trials(deepcopy=False)
        params = trials[number].params if number < len(trials) else {}
        if set(params) != set(self._domains):  # it is new, or a crash cut the asking short
            assert number <= len(trials), "trials are asked for in order"
            self._study.sampler = optuna.samplers.TPESampler(
                n_startup_trials=self._config.startup_trials,
                multivariate=self._config.multivariate,
                constant_liar=True,
                seed=derived_seed(self._seed, "optuna", number),
            )
            begun = number < len(trials)
            trial = optuna.trial.Trial(self._study, trials[number]._trial_id) if begun else self._study.ask()
            params = {key: domain.suggested(trial, key) for key, domain in self._domains.items()}
        return {key: _meant(domain, params[key]) for key, domain in self._domains.items()}

    def report(self, number: int, milestone: int, score: float) -> None:
        """Note an intermediate value."""
        import optuna

        frozen = self._study.get_trials(deepcopy=False)[number]
        if not frozen.state.is_finished() and milestone not in frozen.intermediate_values:
            optuna.trial.Trial(self._study, frozen._trial_id).report(score, milestone)

    def end(self, number: int, status: str, score: float | None) -> None:
        """Tell the study, once."""
        from optuna.trial import TrialState

        if self._study.get_trials(deepcopy=False)[number].state.is_finished():
            return
        if status in ("done", "pruned") and score is not None:
            self._study.tell(number, score)
        else:
            self._study.tell(number, state=TrialState.FAIL)


def _meant(domain: Domain, param: Any) -> Any:
    return domain.values[param] if isinstance(domain, Choice) else param


def source_of(config: SweepConfig, study: Path) -> Source:
    """The sweep's source; Optuna's study lies at `study`."""
    if isinstance(config.search, Optuna):
        return Estimated(config.search, config.seed, config.domains, study, most_is_best=config.mode == "max")
    if isinstance(config.search, GridSearch):
        return Listed(config.search.points, config.domains, config.budget.trials)
    assert isinstance(config.search, RandomSearch), "the kinds of search"
    return Drawn(config.seed, config.domains)
