"""A sweep from its beginning, or from where it was stopped, to a winner."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from hydrahive.core.errors import UsageError
from hydrahive.core.interrupts import Interrupts
from hydrahive.ledger.ledger import ledger_path
from hydrahive.runtime.cluster.address import is_embedded
from hydrahive.runtime.cluster.connecting import connect
from hydrahive.runtime.config.portable import PORTABLE_ENVIRONMENT
from hydrahive.tuning.accounts import note_tokens
from hydrahive.tuning.checks import refuse_unusable
from hydrahive.tuning.config import SweepConfig
from hydrahive.tuning.folder import SweepFolder
from hydrahive.tuning.phase import Phase, bundles
from hydrahive.tuning.plans import Forks, Repetition, Search, to_fork
from hydrahive.tuning.winner import Winner, name_winner

CHDIR = "RAY_CHDIR_TO_TRIAL_DIR"
"""Ray's variable that has trials work in folders of Tune's, where relative paths would mean something else."""


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
    interrupts = Interrupts()
    with interrupts.installed(), folder.claimed(), _quiet_tune():
        folder.create(config, base)
        print(_foretold(config), file=sys.stderr, flush=True)
        embedded = is_embedded(address)
        # What an embedded Ray starts has this process's variables; a runtime environment would import Ray twice.
        everywhere = {CHDIR: "0"} | (dict(PORTABLE_ENVIRONMENT) if base.portable else {})
        environment = None if embedded else everywhere
        cpus = config.workers + base.learner.cpus if config.workers else 0
        interrupts.held_back_in(lambda: connect(address, cpus, environment))
        try:
            _refuse_without_room(bundles(config, base))
            search = Search(config, folder, base, embedded)
            Phase(search).run()
            search.refuse_all_failed()
            _fork(search)
            top = search.best(config.again.top)
            if top:
                Phase(Repetition(config, folder, base, top, embedded)).run()
            if base.ledger.enabled:
                note_tokens(folder, ledger_path(base.ledger.path, folder.path.parent), embedded=embedded)
            return name_winner(config, folder, search, top)
        finally:
            ray.shutdown()


def _fork(search: Search) -> None:
    """Go on with forks of trials whose pilots say so, generation by generation, until there are as many as may be."""
    config, first = search.config, search.config.budget.trials
    generation, last = range(first), first + config.forks
    while first < last and (donors := to_fork(search.folder, generation)[: last - first]):
        Phase(Forks(search, first, donors)).run()
        generation = range(first, first + len(donors))
        first += len(donors)


def _foretold(config: SweepConfig) -> str:
    """How much will be trained, in words."""
    budget, again = config.budget, config.again
    runs = budget.trials + min(again.top, budget.trials) * again.seeds
    best = (
        f", then the best {again.top} with {again.seeds} other seeds each (again.top: 0 for none)" if again.top else ""
    )
    return f"{budget.trials} trials of {budget.env_steps:,} env steps{best}: {runs} runs"


def _refuse_without_room(wanted_bundles: list[dict[str, float]]) -> None:
    """Refuse trials that the cluster, as it is now, could never hold.

    Raises:
        UsageError: If they are such.
    """
    there = ray.cluster_resources()
    largest = max((node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]), default=0.0)
    if max(bundle.get("CPU", 0.0) for bundle in wanted_bundles) > largest:
        raise UsageError(f"cpus_per_trial: no node has more than {largest:g} CPUs")
    for kind, key in {"CPU": "cpus_per_trial or workers", "GPU": "learner.device"}.items():
        wanted = sum(bundle.get(kind, 0.0) for bundle in wanted_bundles)
        if wanted > there.get(kind, 0.0):
            raise UsageError(f"{key}: a trial needs {wanted:g} {kind}s, the cluster has {there.get(kind, 0.0):g}")


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
