"""What of a sweep can be known to be wrong before anything is trained."""

from __future__ import annotations

import difflib
from pathlib import Path

from hydrahive.core.config import require
from hydrahive.core.errors import UsageError
from hydrahive.runtime.config.changes import refuse_fixed, value_of
from hydrahive.runtime.config.parsing import load_run_config
from hydrahive.runtime.config.piloted import course_of
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.config.shipped import find_config
from hydrahive.tuning.config import EVALUATED, REPORTED, SweepConfig, given
from hydrahive.tuning.search.sources import source_of


def refuse_unusable(sweep: SweepConfig) -> RunConfig:
    """Check everything that can be known before anything is trained; the base run.

    Raises:
        UsageError: What is wrong, in one line.
    """
    base = sweep.base()
    path, _ = find_config(sweep.experiment)
    fixed = sweep.overrides()
    for key, domain in sweep.domains.items():
        value_of(base, key)
        if sweep.is_bred:
            refuse_fixed(base, key)
        for value in domain.extremes():
            load_run_config(path, [*fixed, given(key, value)])
            sweep.run_config(base, {key: value})
    if base.pilot is not None:
        course_of(base)
    _refuse_trials(sweep, base)
    known = known_metrics(base)
    if sweep.metric not in known:
        near = difflib.get_close_matches(sweep.metric, known, n=3, cutoff=0.5)
        hint = f"; nearest: {', '.join(near)}" if near else ""
        raise UsageError(f"metric: nobody reports {sweep.metric!r}{hint}; known: {', '.join(known)}")
    return base


def known_metrics(base: RunConfig) -> list[str]:
    """What the runs of a sweep report."""
    known = [*REPORTED, *base.algorithm.figures]
    if base.evaluate_every:
        known += [f"{EVALUATED}{name}" for name in ("mean", "median", "max", "min")]
    if base.pilot is not None:
        known += ["validation_mean", "validation_best"]
    return known


def _refuse_trials(sweep: SweepConfig, base: RunConfig) -> None:
    """Refuse trials whose values do not go together, where they are known before anything is trained."""
    if sweep.search.depends_on_results:
        return
    source, trials = source_of(sweep, Path()), 0
    for number in range(sweep.budget.trials):
        values = source.values(number)
        if values is None:
            break
        trials += 1
        sweep.run_config(base, values)
    enough = not sweep.is_bred or trials == sweep.budget.trials
    require(enough, "budget.trials", sweep.budget.trials, f"at most {trials}, the combinations of the grid, beside Pbt")
