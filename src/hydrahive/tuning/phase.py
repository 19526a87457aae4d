"""A phase of a sweep on Ray Tune, which asks for tasks, gives them processes and tells what comes of them."""

from __future__ import annotations

import shutil
from typing import Any

import ray
from ray import tune
from ray.tune.search import Searcher

from hydrahive.core.errors import HydrahiveError, UsageError
from hydrahive.runtime.cluster.capacity import trusted_selector
from hydrahive.runtime.cluster.rllib.host import bundles_of
from hydrahive.runtime.config.machine_class import chosen_device
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.runs.run_user import run_user
from hydrahive.tuning.config import SweepConfig
from hydrahive.tuning.folder import Ending
from hydrahive.tuning.plans import Plan
from hydrahive.tuning.table import Table
from hydrahive.tuning.trials.trainable import TrialProcess
from hydrahive.tuning.trials.trial import PUT_OFF, Task, why_it_ended


class Phase:
    """One `Tuner.fit`: Tune asks for tasks, gives them processes, and reports."""

    def __init__(self, plan: Plan) -> None:
        """Do what a plan says."""
        self._plan = plan

    def run(self) -> None:
        """Do it; what was done before is only told again."""
        plan, config = self._plan, self._plan.config
        shutil.rmtree(plan.folder.path / "tune", ignore_errors=True)  # of an attempt before; nothing in it is needed
        table = Table(config, plan.folder, plan.title)
        scheduler = plan.scheduler()
        tuner = tune.Tuner(
            tune.with_resources(TrialProcess, _reserved(bundles(config, plan.base), of_rllib(plan.base))),
            tune_config=tune.TuneConfig(
                search_alg=_Asked(plan),
                scheduler=scheduler,
                num_samples=-1,
                max_concurrent_trials=config.at_a_time,
                reuse_actors=True,
                trial_name_creator=_name_of,
                trial_dirname_creator=_name_of,
            ),
            run_config=tune.RunConfig(
                name=plan.title,
                storage_path=str(plan.folder.path / "tune"),
                failure_config=tune.FailureConfig(max_failures=config.attempts - 1),
                callbacks=[_Heard(plan, table)],
                stop=_PutOff(plan),
                verbose=0,
            ),
        )
        try:
            tuner.fit()
        finally:
            table.close()
        if plan.put_off:
            raise HydrahiveError(f"{plan.put_off}; the same command goes on with the sweep")


PLACE = {"memory": 1.0}
"""What a trial's own process reserves: next to nothing, but a bundle of its own, so that it is said where that lies."""


def of_rllib(base: RunConfig) -> bool:
    """Whether RLlib trains the trials: all of them on nodes of the run's user, for nobody can audit them."""
    return base.schedule == "rllib"


def bundles(config: SweepConfig, base: RunConfig) -> list[dict[str, float]]:
    """What Tune reserves for a trial: a share of a CPU inline; else bundles for the learner and each worker."""
    learner = base.learner
    if of_rllib(base):
        main, *others = bundles_of(base, config.workers)
        cpus = config.cpus_per_trial if config.workers == 0 else main.get("CPU", 1.0)
        return [PLACE, {**main, "CPU": cpus}, *others]
    offered = ray.cluster_resources().get("GPU", 0.0) > 0
    gpu = {"GPU": 1.0} if chosen_device(learner.device, offered=offered) == "cuda" else {}
    if config.workers == 0:
        return [{"CPU": config.cpus_per_trial, **gpu}]
    alike = {"CPU": float(learner.threads), **gpu}
    slicers = learner.workers if isinstance(learner.workers, int) else 0
    return [PLACE, alike, *[{"CPU": 1.0}] * config.workers, *[alike] * slicers]


def _reserved(parts: list[dict[str, float]], all_trusted: bool) -> tune.PlacementGroupFactory:
    """What Tune reserves: a trial and its learner on nodes of the run's user, its workers anywhere, if they may be."""
    trusted = trusted_selector()
    others: dict[str, str] = trusted if all_trusted else {}
    selectors = [trusted, trusted, *[others for _ in parts]][: len(parts)]
    return tune.PlacementGroupFactory(parts, bundle_label_selector=selectors)


def _name_of(trial: Any) -> str:
    name: str = trial.config["task"].name
    return name


class _Asked(Searcher):
    """Tune's searcher: tasks in order."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(metric="rank", mode="max")
        self._plan, self._next = plan, 0

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        while True:
            index, self._next = self._next, self._next + 1
            try:
                task = self._plan.task(index)
            except UsageError as error:
                self._plan.refuse(index, error)
                continue
            if task is None:
                return str(Searcher.FINISHED)
            where = {"sweep": str(self._plan.folder.path), "embedded": self._plan.embedded}
            return {**where, "task": task, "user": run_user()}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The callback tells the plan, which has the trial."""

    def save(self, checkpoint_path: str) -> None:
        """A sweep that is run again asks again."""

    def restore(self, checkpoint_path: str) -> None:
        """Likewise."""


class _PutOff(tune.Stopper):
    """Ends a phase that cannot go on just now."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return bool(self._plan.put_off)


class _Heard(tune.Callback):
    """Tells the plan and the table what Tune reports."""

    def __init__(self, plan: Plan, table: Table) -> None:
        self._plan, self._table = plan, table

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._table.begin(trial.config["task"].name)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        task: Task = trial.config["task"]
        if not result.get("failed") and result["score"] is not None:
            self._plan.report(task, result["milestone"], result["score"])
        self._table.report(task.name, result)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        task: Task = trial.config["task"]
        result = trial.last_result or {}
        reports = self._plan.folder.reports(task.name)
        milestone = result.get("milestone", 0)
        if result.get("failed") == PUT_OFF:
            self._plan.put_off = f"{task.name}: {result['reason']}"
        if self._plan.put_off:  # nor have others ended that Tune now stops
            return
        if result.get("failed"):
            ending = Ending(result["failed"], result["reason"], milestone)
        elif reports and reports[-1]["last"] and milestone == reports[-1]["milestone"]:
            ending = Ending("done", "", milestone)
        else:
            how = type(self._plan.config.scheduler).__name__
            ending = Ending("pruned", f"{how} stopped it at milestone {milestone}", milestone)
        self._end(task, ending)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if self._plan.put_off:
            return
        task: Task = trial.config["task"]
        status, reason = why_it_ended(trial.get_error())
        milestone = (trial.last_result or {}).get("milestone", 0)
        self._end(task, Ending(status, reason, milestone))

    def _end(self, task: Task, ending: Ending) -> None:
        self._plan.end(task, ending)
        self._table.end(task.name, ending)
