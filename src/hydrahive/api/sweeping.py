"""Sweeps from Python."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydrahive.api.words import words_of
from hydrahive.core.errors import not_installed
from hydrahive.core.interrupts import Interrupted
from hydrahive.runtime.config.parsing import config_arguments, parse
from hydrahive.runtime.config.shipped import find_config, shipped_sweeps
from hydrahive.runtime.runs.run_folder import runs_folder


def sweep(
    plan: str | Path | Mapping[str, Any],
    *,
    name: str | None = None,
    runs: str | Path | None = None,
    address: str | None = None,
    **overrides: Any,
) -> dict[str, Any]:
    """Run a sweep to its winner, or go on with it; as `hydrahive tune run`.

    Args:
        plan: A shipped sweep's name, a YAML file, or what stands in one.
        name: The sweep's; by default of its plan.
        runs: Folder of the runs.
        address: Of a Ray cluster.
        **overrides: Values of the plan, as `train`'s of a config.

    Returns:
        What `winner.json` says: the trial, its values and score; `folder` says where all of it lies.

    Raises:
        UsageError: If something is not accepted; nothing was trained.
        KeyboardInterrupt: After Ctrl-C; the same call goes on.
    """
    try:
        from hydrahive.tuning.config import SweepConfig, sweep_of, sweep_parser
        from hydrahive.tuning.folder import SweepFolder
        from hydrahive.tuning.report import write_report
        from hydrahive.tuning.sweep import run_sweep
        from hydrahive.tuning.winner import winner_of
    except ImportError as error:
        raise not_installed("sweep", error) from None

    if isinstance(plan, Mapping):
        words, named = words_of(plan), "sweep"
    else:
        path, named = find_config(str(plan), shipped_sweeps(), "SWEEP")
        words = config_arguments(path, SweepConfig)
    given = parse(sweep_parser("hydrahive.sweep"), [*words, *words_of(overrides)], SweepConfig)
    config = sweep_of(given.as_dict())
    folder = SweepFolder(runs_folder(runs) / (name or named))
    try:
        run_sweep(config, folder, address)
    except Interrupted as interrupted:
        raise KeyboardInterrupt(f"sweep {folder.name!r} was stopped; the same call goes on with it") from interrupted
    write_report(folder, config)
    return {"folder": str(folder.path), **dataclasses.asdict(winner_of(folder))}
