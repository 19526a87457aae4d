"""Tune's schedulers, and the one that breeds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler

from hydrahive.core.errors import UsageError
from hydrahive.runtime.config.changes import in_force, value_of, with_values
from hydrahive.tuning.config import Asha, Median, Pbt, SweepConfig
from hydrahive.tuning.folder import Decision, Exploit, SweepFolder, trial_name
from hydrahive.tuning.search.breeding import donors, explored
from hydrahive.tuning.trials.trial import PUT_OFF


def scheduler_of(config: SweepConfig, folder: SweepFolder) -> Any:
    """The sweep's scheduler."""
    scheduler, milestones = config.scheduler, config.budget.milestones
    if isinstance(scheduler, Asha):
        return _Halving(
            time_attr="milestone",
            metric="rank",
            mode="max",
            max_t=milestones,
            grace_period=min(scheduler.grace, milestones),
            reduction_factor=scheduler.reduction,
        )
    if isinstance(scheduler, Median):
        return _Median(
            time_attr="milestone",
            metric="rank",
            mode="max",
            grace_period=scheduler.grace,
            min_samples_required=scheduler.least,
        )
    if isinstance(scheduler, Pbt):
        return Breeder(config, scheduler, folder)
    return FIFOScheduler()


class _Halving(ASHAScheduler):
    """Tune's, which does not compare trials that have no score yet."""

    def on_trial_result(self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]) -> str:
        unscored = result["score"] is None
        return str(TrialScheduler.CONTINUE if unscored else super().on_trial_result(tune_controller, trial, result))


class _Median(MedianStoppingRule):
    """Likewise."""

    def on_trial_result(self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]) -> str:
        unscored = result["score"] is None
        return str(TrialScheduler.CONTINUE if unscored else super().on_trial_result(tune_controller, trial, result))


class Breeder(FIFOScheduler):
    """Population-based training whose decisions are functions of scores and the sweep's seed, and stand once written.

    Tune's own draws donors and values from the process's global streams, and forgets what it decided when a sweep is
    resumed. Here a trial that has reported waits, keeping its process where no other trial needs the room, until what
    becomes of it is in the sweep's `lineage.jsonl`; its process reads that, and does it.
    """

    def __init__(self, config: SweepConfig, scheduler: Pbt, folder: SweepFolder) -> None:
        """Go on from the decisions that stand."""
        super().__init__()
        self._config, self._pbt, self._folder = config, scheduler, folder
        self._stands = {(decision.milestone, number) for decision in folder.decisions() for number in decision.scores}
        self._scores: dict[int, dict[int, float | None]] = {}
        self._reached: dict[int, int] = {}
        self._updates: dict[int, int] = {}
        self._dead: set[int] = set()
        self._pausing: set[int] = set()
        self._trials: dict[int, TuneTrial] = {}

    def on_trial_add(self, tune_controller: Any, trial: TuneTrial) -> None:
        """Have one more in the population, or one again whose process had died."""
        self._reached.setdefault(_number(trial), 0)
        self._dead.discard(_number(trial))

    def on_trial_result(self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]) -> str:
        """Let a trial go on whose decision stands; others wait, in their process unless somebody needs the room."""
        number, milestone = _number(trial), result["milestone"]
        self._trials[number] = trial
        self._reached[number], self._updates[number] = milestone, result["updates"]
        self._scores.setdefault(milestone, {})[number] = result["score"]
        self._pausing.discard(number)
        if (milestone, number) not in self._stands:
            if self._pbt.synchronous and any(decided == milestone for decided, _ in self._stands):
                self._dead.add(number)  # it was lost before it could be compared, and others have gone on without it
                return str(TrialScheduler.STOP)
            if self._pbt.synchronous:
                self._decide_if_all_are_there(tune_controller, reporting=number)
            else:
                self._decide_alone(number, milestone)
        if (milestone, number) in self._stands:
            return str(TrialScheduler.CONTINUE)
        if any(other.status == TuneTrial.PENDING for other in tune_controller.get_trials()):
            self._pausing.add(number)
            return str(TrialScheduler.PAUSE)
        return str(TrialScheduler.NOOP)

    def on_trial_complete(self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]) -> None:
        """One that has ended is neither waited for nor copied; one that was put off may yet come."""
        if result.get("failed") != PUT_OFF:
            self._lose(tune_controller, trial)

    def on_trial_error(self, tune_controller: Any, trial: TuneTrial) -> None:
        """Likewise, unless it will be taken up again."""
        if not trial.should_recover():
            self._lose(tune_controller, trial)

    def on_trial_remove(self, tune_controller: Any, trial: TuneTrial) -> None:
        """Likewise."""
        self._lose(tune_controller, trial)

    def choose_trial_to_run(self, tune_controller: Any) -> TuneTrial | None:
        """A paused one whose decision stands, in the order in which they came; else a new one."""
        for number, trial in self._trials.items():
            if trial.status == TuneTrial.PAUSED and (self._reached[number], number) in self._stands:
                return trial
        return next((trial for trial in tune_controller.get_trials() if trial.status == TuneTrial.PENDING), None)

    def _lose(self, tune_controller: Any, trial: TuneTrial) -> None:
        self._dead.add(_number(trial))
        if self._pbt.synchronous:
            self._decide_if_all_are_there(tune_controller)

    def _decide_if_all_are_there(self, tune_controller: Any, reporting: int | None = None) -> None:
        """Decide a milestone that everybody who lives has reached; the one reporting it goes on by itself."""
        living = sorted(set(self._reached) - self._dead)
        reached = {self._reached[number] for number in living}
        if len(self._reached) < self._config.budget.trials or len(reached) != 1:
            return
        (milestone,) = reached
        if milestone == 0 or any((milestone, number) in self._stands for number in living):
            return
        scores = {number: self._scores[milestone][number] for number in living}
        self._decide(milestone, scores, self._replaced(milestone, scores))
        for number in living:
            waits = self._trials[number].status == TuneTrial.RUNNING and number not in self._pausing
            if waits and number != reporting:
                # The trial has its process and nothing to do: `NOOP`, said when it reported, leaves that to us.
                controller = getattr(tune_controller, "_tune_controller", tune_controller)  # some calls give a wrapper
                controller._schedule_trial_train(self._trials[number])

    def _decide_alone(self, number: int, milestone: int) -> None:
        """Judge one trial by the newest scores of all, as it comes."""
        scores = {
            other: self._scores[reached][other]
            for other, reached in self._reached.items()
            if reached and other not in self._dead
        }
        chosen = self._replaced(milestone, scores) if len(scores) > 1 else {}
        self._decide(milestone, {number: scores[number]}, {number: chosen[number]} if number in chosen else {})

    def _replaced(self, milestone: int, scores: dict[int, float | None]) -> dict[int, int]:
        if len(scores) < 2:
            return {}
        config = self._config
        return donors(self._pbt, config.seed, milestone, scores, most_is_best=config.mode == "max")

    def _decide(self, milestone: int, scores: dict[int, float | None], chosen: dict[int, int]) -> None:
        exploits = [
            Exploit(trial, donor, self._updates[donor], self._moved(milestone, trial, donor))
            for trial, donor in sorted(chosen.items())
        ]
        decision = Decision(milestone, dict(sorted(scores.items())), exploits)
        self._folder.decide(decision)
        self._stands |= {(milestone, number) for number in scores}

    def _moved(self, milestone: int, trial: int, donor: int) -> dict[str, Any]:
        """The donor's values, moved."""
        run = self._folder.run(trial_name(donor))
        theirs = in_force(run.config(trusted=None), self._updates[donor])
        values = {key: value_of(theirs, key) for key in self._config.domains}

        def accepts(moved: Mapping[str, Any]) -> bool:
            try:
                with_values(theirs, dict(moved))
            except UsageError:
                return False
            return True

        return explored(self._pbt, self._config.seed, milestone, trial, values, self._config.domains, accepts)


def _number(trial: TuneTrial) -> int:
    number: int = trial.config["task"].number
    return number
