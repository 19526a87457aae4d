"""A sweep from its beginning, or from where it was stopped, to a winner."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import shutil
import statistics
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray import tune
from ray.tune.search import Searcher

from hydrahive.core.durable import read_json, write_whole
from hydrahive.core.errors import HydrahiveError, UsageError
from hydrahive.core.interrupts import Interrupts
from hydrahive.core.streams import derived_seed
from hydrahive.ledger.ledger import ledger_path
from hydrahive.runtime.cluster.address import is_embedded
from hydrahive.runtime.cluster.connecting import connect
from hydrahive.runtime.config.changes import in_force
from hydrahive.runtime.config.machine_class import chosen_device
from hydrahive.runtime.config.plain import dump
from hydrahive.runtime.config.portable import PORTABLE_ENVIRONMENT
from hydrahive.runtime.config.run_config import CheckpointConfig, LearnerConfig, RunConfig
from hydrahive.runtime.runs.run_user import run_user
from hydrahive.tuning.accounts import note_tokens
from hydrahive.tuning.checks import refuse_unusable
from hydrahive.tuning.config import SweepConfig
from hydrahive.tuning.folder import Ending, SweepFolder, again_name, trial_name
from hydrahive.tuning.search.breeding import ranked
from hydrahive.tuning.search.schedulers import scheduler_of
from hydrahive.tuning.search.sources import Source, source_of
from hydrahive.tuning.table import Table
from hydrahive.tuning.trainable import TrialProcess
from hydrahive.tuning.trial import PUT_OFF, Task, why_it_ended

CHDIR = "RAY_CHDIR_TO_TRIAL_DIR"
"""Ray's variable that has trials work in folders of Tune's, where relative paths would mean something else."""


@dataclass(frozen=True)
class Winner:
    """Who won, and why.

    Attributes:
        trial: Its number.
        score: What it was chosen for.
        scores_again: Of its runs with other seeds; empty where there were none.
        digest: Of the trial's own run.
        values: Its values at the end.
    """

    trial: int
    score: float
    scores_again: list[float]
    digest: str
    values: dict[str, Any]


def run_sweep(config: SweepConfig, folder: SweepFolder, address: str | None) -> Winner:
    """Run what is left of a sweep, and name its winner.

    Raises:
        UsageError: If it cannot be begun; nothing was trained.
        HydrahiveError: If no trial came to a score.
        Interrupted: After Ctrl-C or SIGTERM; the same command goes on from there.
    """
    folder.refuse_run()
    config = config.settled()
    base = refuse_unusable(config)
    with folder.claimed(), _quiet_tune():
        folder.create(config, base)
        embedded = is_embedded(address)
        # What an embedded Ray starts has this process's variables; a runtime environment would import Ray twice.
        everywhere = {CHDIR: "0"} | (dict(PORTABLE_ENVIRONMENT) if base.portable else {})
        environment = None if embedded else everywhere
        connect(address, config.workers + base.learner.threads if config.workers else 0, environment)
        try:
            _refuse_without_room(_bundles(config, base.learner))
            with Interrupts().installed():
                search = Search(config, folder, base, embedded)
                Phase(search).run()
                search.refuse_all_failed()
                top = search.best(config.again.top)
                if top:
                    Phase(Repetition(config, folder, base, top, embedded)).run()
                if base.ledger.enabled:
                    note_tokens(folder, ledger_path(base.ledger.path, folder.path.parent), embedded=embedded)
                return _named(config, folder, search, top)
        finally:
            ray.shutdown()


class Plan:
    """What a phase of a sweep has to do: tasks in order, and what is made of what comes of them."""

    def __init__(self, config: SweepConfig, folder: SweepFolder, base: RunConfig, embedded: bool) -> None:
        """Nothing yet."""
        self.config, self.folder, self.base, self.embedded = config, folder, base, embedded
        self.put_off = ""  # why the sweep cannot go on just now

    title = ""

    def task(self, index: int) -> Task | None:
        """The index-th task; None if there are no more.

        Raises:
            UsageError: If the run that it would be is not accepted.
        """
        raise NotImplementedError

    def refuse(self, index: int, error: UsageError) -> None:
        """Hear that a task could not be given."""
        raise error

    def scheduler(self) -> Any:
        """Tune's scheduler for the phase."""
        return None

    def report(self, task: Task, milestone: int, score: float) -> None:
        """Hear of a milestone."""

    def end(self, task: Task, ending: Ending) -> None:
        """Hear how a task ended."""
        self.folder.end(task.name, ending)


class Search(Plan):
    """The trials."""

    title = "search"

    def __init__(self, config: SweepConfig, folder: SweepFolder, base: RunConfig, embedded: bool) -> None:
        """Take values from the sweep's source."""
        super().__init__(config, folder, base, embedded)
        self._source: Source = source_of(config, folder.study)
        self._begun = 0

    def task(self, index: int) -> Task | None:
        """A trial with the next values."""
        values = self._source.values(index) if index < self.config.budget.trials else None
        if values is None:
            return None
        self._begun = max(self._begun, index + 1)
        return Task(trial_name(index), self.config.run_config(self.base, values), index, self.config.is_bred)

    def refuse(self, index: int, error: UsageError) -> None:
        """Values that do not go together make a trial that has failed."""
        self.folder.end(trial_name(index), Ending("failed", str(error), 0))
        self._source.end(index, "failed", None)

    def scheduler(self) -> Any:
        """The sweep's."""
        return scheduler_of(self.config, self.folder)

    def report(self, task: Task, milestone: int, score: float) -> None:
        """The source hears of it."""
        self._source.report(task.number, milestone, score)

    def end(self, task: Task, ending: Ending) -> None:
        """The source hears of it."""
        super().end(task, ending)
        self._source.end(task.number, ending.status, self._score(task.number))

    def _score(self, number: int) -> float | None:
        reports = self.folder.reports(trial_name(number))
        score: float | None = reports[-1]["score"] if reports else None
        return score

    def scores(self) -> dict[int, float]:
        """Of the trials that were trained to their end, by number."""
        found = {}
        for number in range(self.config.budget.trials):
            ending, score = self.folder.ending(trial_name(number)), self._score(number)
            if ending and ending.status == "done" and score is not None:
                found[number] = score
        return found

    def best(self, count: int) -> list[int]:
        """The best trials, the best first."""
        return ranked(self.scores(), most_is_best=self.config.mode == "max")[:count]

    def refuse_all_failed(self) -> None:
        """End the sweep if nothing came of it.

        Raises:
            HydrahiveError: With the first trial's reason.
        """
        if self.scores():
            return
        endings = [(number, self.folder.ending(trial_name(number))) for number in range(self._begun)]
        failed = [(number, ending) for number, ending in endings if ending and ending.status != "done"]
        if failed:
            number, ending = failed[0]
            raise HydrahiveError(
                f"all {len(failed)} trials failed; the first, {trial_name(number)}: {ending.status}: {ending.reason}"
            )
        raise HydrahiveError(f"no trial reported {self.config.metric}: give it a larger budget.env_steps")


class Repetition(Plan):
    """The best trials' configs, with other seeds."""

    title = "again"

    def __init__(
        self, config: SweepConfig, folder: SweepFolder, base: RunConfig, top: list[int], embedded: bool
    ) -> None:
        """Repeat these trials."""
        super().__init__(config, folder, base, embedded)
        self._tasks = [
            Task(again_name(number, seed), _with_seed(config, folder, number, seed), number, is_bred=False)
            for number in top
            for seed in range(config.again.seeds)
        ]

    def task(self, index: int) -> Task | None:
        """The next."""
        return self._tasks[index] if index < len(self._tasks) else None


def _with_seed(config: SweepConfig, folder: SweepFolder, number: int, seed: int) -> RunConfig:
    run = folder.run(trial_name(number)).config()
    return dataclasses.replace(run, seed=derived_seed(config.seed, "again", seed), checkpoint=CheckpointConfig())


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
            tune.with_resources(TrialProcess, tune.PlacementGroupFactory(_bundles(config, plan.base.learner))),
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


def _bundles(config: SweepConfig, learner: LearnerConfig) -> list[dict[str, float]]:
    """What Tune reserves for a trial: a share of a CPU inline; else bundles for the learner and each worker."""
    offered = ray.cluster_resources().get("GPU", 0.0) > 0
    gpu = {"GPU": 1.0} if chosen_device(learner.device, offered=offered) == "cuda" else {}
    if config.workers == 0:
        return [{"CPU": config.cpus_per_trial, **gpu}]
    return [{}, {"CPU": float(learner.threads), **gpu}, *[{"CPU": 1.0}] * config.workers]


def _refuse_without_room(bundles: list[dict[str, float]]) -> None:
    """Refuse trials that the cluster, as it is now, could never hold.

    Raises:
        UsageError: If they are such.
    """
    there = ray.cluster_resources()
    largest = max((node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]), default=0.0)
    if max(bundle.get("CPU", 0.0) for bundle in bundles) > largest:
        raise UsageError(f"cpus_per_trial: no node has more than {largest:g} CPUs")
    for kind, key in {"CPU": "cpus_per_trial or workers", "GPU": "learner.device"}.items():
        wanted = sum(bundle.get(kind, 0.0) for bundle in bundles)
        if wanted > there.get(kind, 0.0):
            raise UsageError(f"{key}: a trial needs {wanted:g} {kind}s, the cluster has {there.get(kind, 0.0):g}")


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


def _named(config: SweepConfig, folder: SweepFolder, search: Search, top: list[int]) -> Winner:
    """Who won: by the mean of the runs with other seeds, where there are any; written down."""
    scores, most = search.scores(), config.mode == "max"
    again = {number: scores_again(config, folder, number) for number in top}
    whole = {number: found for number, found in again.items() if len(found) == config.again.seeds}
    judged: Mapping[int, float] = {n: statistics.fmean(found) for n, found in whole.items()}
    if top and not judged:
        raise HydrahiveError("none of the best trials came to a score with every other seed: no winner")
    number = ranked(judged or scores, most_is_best=most)[0]
    last = folder.reports(trial_name(number))[-1]
    winner = Winner(number, (judged or scores)[number], again.get(number, []), last["digest"], last["values"])
    run = folder.run(trial_name(number)).config()
    header = (
        f"# The winner of sweep {folder.name}: {trial_name(number)}. Trained as it stands it gives digest\n"
        f"# {winner.digest}.\n"
    )
    export = dataclasses.replace(run, recording=True, checkpoint=CheckpointConfig())
    write_whole(folder.winner_config, (header + dump(export)).encode())
    warm = dataclasses.replace(in_force(export, last["updates"]), stop=search.base.stop)
    trained = f"{folder.name}/{trial_name(number)}"
    header = f"# The same with its last values, to train on from its weights (--init-from {trained}).\n"
    write_whole(folder.warm_config, (header + dump(warm)).encode())
    write_whole(folder.winner, json.dumps(dataclasses.asdict(winner), indent=1).encode())
    return winner


def scores_again(config: SweepConfig, folder: SweepFolder, number: int) -> list[float]:
    """What a trial's config came to with other seeds, where it came to its end."""
    reports = [folder.reports(again_name(number, seed)) for seed in range(config.again.seeds)]
    return [found[-1]["score"] for found in reports if found and found[-1]["last"] and found[-1]["score"] is not None]


@contextmanager
def _quiet_tune() -> Iterator[None]:
    """Tune without its own files of results, its table and its handler of Ctrl-C: ours say and do the same."""
    ours = {
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        CHDIR: "0",
        "RAY_AIR_NEW_OUTPUT": "0",
        "TUNE_WARN_THRESHOLD_S": "60",
    }
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    logger = logging.getLogger("ray.tune")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # errors of trials are told in one line each, without Tune's traceback
    try:
        yield
    finally:
        logger.setLevel(level)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def winner_of(folder: SweepFolder) -> Winner:
    """The winner that was named.

    Raises:
        HydrahiveError: If none was.
    """
    plain = read_json(folder.winner)
    if plain is None:
        raise HydrahiveError(f"sweep {folder.name!r} has no winner yet; `hydrahive tune run` goes on with it")
    return Winner(**plain)
