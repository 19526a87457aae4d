"""What `hydrahive` offers to call."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from hydrahive.api.callbacks import Heard
from hydrahive.api.policy import Policy
from hydrahive.api.run import Run
from hydrahive.api.training import Wanted, trained
from hydrahive.runtime.config.run_config import RunConfig


def train(
    experiment: str | Path | Mapping[str, Any] | RunConfig,
    *,
    name: str | None = None,
    runs: str | Path | None = None,
    resume: Literal["auto", "never", "required"] = "auto",
    address: str | None = None,
    init_from: str | None = None,
    quiet: bool = False,
    on_row: Heard | None = None,
    on_event: Heard | None = None,
    on_evaluation: Heard | None = None,
    **overrides: Any,
) -> Run:
    """Train a run to its end, or go on with it; as `hydrahive train`, but for the recording.

    Functions are given copies of what is told, and can change no byte. One that raises ends the run, whose newest
    boundary is kept; the same call goes on there.

    Args:
        experiment: A shipped experiment's name, a YAML file, what stands in one, or a config.
        name: The run's; by default of experiment and seed.
        runs: Folder or URI of the runs; by default `$HYDRAHIVE_RUNS`, else `./runs`.
        resume: `auto` goes on with a run of this name, `never` only begins one, `required` only goes on.
        address: Of a Ray cluster; by default `$RAY_ADDRESS`, else Ray is started in this process's name where workers
            are wanted.
        init_from: A run or checkpoint whose weights to begin with.
        quiet: Whether to show no progress.
        on_row: Is called with each row of metrics.
        on_event: Is called with each event: `kind`, `text` and facts.
        on_evaluation: Is called with what each evaluation found, without the rows' `evaluation_`.
        **overrides: Values of the config: `seed=3`, `stop={"env_steps": 10_000}`, `env=Snake(size=10)`, and dotted keys
            as in `**{"algorithm.discount": 0.9}`.

    Raises:
        UsageError: If something is not accepted, as the command says it; nothing was written.
        HydrahiveError: If the run was stopped by an error; its newest boundary is on the disk.
        KeyboardInterrupt: After Ctrl-C; likewise.
    """
    wanted = Wanted(experiment, name, runs, resume, address, init_from, quiet, on_row, on_event, on_evaluation)
    return Run(trained(wanted, overrides), runs)


def load_policy(run: Run | str | Path, runs: str | Path | None = None) -> Policy:
    """The policy that a run shows, given itself, its name, or its folder; errors as `Run` and `Policy`."""
    return Policy(run.folder if isinstance(run, Run) else Run(run, runs).folder)
