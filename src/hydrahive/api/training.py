"""Training from Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hydrahive.api.callbacks import Bar, Callbacks, Heard, in_a_notebook
from hydrahive.api.words import words_of
from hydrahive.core.interrupts import Interrupted
from hydrahive.core.sink import Sink
from hydrahive.runtime.config.parsing import config_arguments, config_parser, instantiate, parse
from hydrahive.runtime.config.plain import as_plain
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.config.shipped import default_name, find_config
from hydrahive.runtime.runs.run_folder import new_run_folder, runs_folder


@dataclass(frozen=True)
class Wanted:
    """What `hydrahive.train` was asked for; its docstring says what each means."""

    experiment: str | Path | Mapping[str, Any] | RunConfig
    name: str | None = None
    runs: str | Path | None = None
    resume: Literal["auto", "never", "required"] = "auto"
    address: str | None = None
    init_from: str | None = None
    quiet: bool = False
    on_row: Heard | None = None
    on_event: Heard | None = None
    on_evaluation: Heard | None = None


def trained(wanted: Wanted, overrides: Mapping[str, Any]) -> Path:
    """Train, as `hydrahive.train` says; the run's folder."""
    from hydrahive.runtime.training.request import Request, with_experiment
    from hydrahive.runtime.training.train import readable_disk_errors, train

    config, named = config_of(wanted.experiment, overrides)
    config = with_experiment(config, named)
    place = runs_folder(wanted.runs)
    is_runs_own = isinstance(wanted.experiment, str | Path) and Path(wanted.experiment).name == "config.yaml"
    folder = new_run_folder(place, wanted.name or default_name(named, config.seed, is_runs_own=is_runs_own))
    sinks: list[Sink] = [Callbacks(wanted.on_row, wanted.on_event, wanted.on_evaluation)]
    if in_a_notebook() and not wanted.quiet:
        sinks.append(Bar(config.stop.env_steps))
    request = Request(
        config, folder, wanted.resume, wanted.address, wanted.init_from, place,
        quiet=wanted.quiet or in_a_notebook(), sinks=tuple(sinks),
    )  # fmt: skip
    try:
        with readable_disk_errors():
            train(request)
    except Interrupted as interrupted:
        raise KeyboardInterrupt(f"run {folder.name!r} was stopped; the same call goes on with it") from interrupted
    return folder.path


def config_of(
    experiment: str | Path | Mapping[str, Any] | RunConfig, overrides: Mapping[str, Any]
) -> tuple[RunConfig, str]:
    """The config that a call describes, and what it is named after."""
    parser, words = config_parser("hydrahive.train"), words_of(overrides)
    if isinstance(experiment, str | Path):
        path, named = find_config(str(experiment))
        return instantiate(parse(parser, [*config_arguments(path), *words])), named
    if isinstance(experiment, Mapping):
        return instantiate(parse(parser, [*words_of(experiment), *words])), "run"
    return instantiate(parse(parser, [*words_of(as_plain(experiment)), *words])), experiment.experiment or "run"
