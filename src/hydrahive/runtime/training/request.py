"""What somebody wants to be trained."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hydrahive.core.sink import Sink
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.runs.run_folder import RunFolder


@dataclass(frozen=True)
class Request:
    """What to train.

    Attributes:
        config: The run's config.
        folder: Where it is written.
        resume: `auto` continues what is there, `never` only creates, `required` only continues.
        address: Of a Ray cluster, or None.
        init_from: Run, checkpoint folder or None: weights to start from.
        runs: The folder in which `init_from` is looked up.
        quiet: Whether to show no progress.
        title: What the ledger calls the run; None for its name.
        accept_versions: Whether a run goes on with other versions than it was computed with so far.
        sinks: Who else hears the run's story.
    """

    config: RunConfig
    folder: RunFolder
    resume: Literal["auto", "never", "required"] = "auto"
    address: str | None = None
    init_from: str | None = None
    runs: Path = Path("runs")
    quiet: bool = False
    title: str | None = None
    accept_versions: bool = False
    sinks: tuple[Sink, ...] = ()


def with_experiment(config: RunConfig, name: str) -> RunConfig:
    """The config with the experiment's name filled in where it has none."""
    return config if config.experiment else dataclasses.replace(config, experiment=name)


def say(kind: str, text: str, **fields: object) -> None:
    """Tell what happens before the run's sinks are open."""
    print(text, file=sys.stderr, flush=True)
