"""`hydrahive train`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from hydrahive.cli.arguments import COMMAND, split_config
from hydrahive.core.errors import UsageError
from hydrahive.core.interrupts import Interrupted
from hydrahive.core.schedules import Linear
from hydrahive.runtime.config.named_code import trust_code
from hydrahive.runtime.config.parsing import config_arguments, config_parser, instantiate, parse, part_help
from hydrahive.runtime.config.portable import ensure_pinned
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.config.shipped import default_name, find_config, shipped_experiments
from hydrahive.runtime.runs.run_folder import RunFolder, new_run_folder, runs_folder

USAGE = (
    "hydrahive train CONFIG [--name N] [--workers K|auto] [--seed S] [--resume auto|never|required] [--runs DIR] "
    "[--address A] [--init-from RUN|FILE] [--accept-versions] [--any.dotted.key VALUE ...]"
)


def run(arguments: Sequence[str]) -> int:
    """Train, show the summary, and record an episode."""
    parser = train_parser()
    if {"-h", "--help"} & set(arguments):
        print(help_text(parser) + _said_by(next((word for word in arguments if not word.startswith("-")), None)))
        return 0
    config_name, overrides = split_config(arguments)
    if config_name is None:
        raise UsageError(f"CONFIG is missing: a YAML file or one of {', '.join(shipped_experiments())}")
    path, experiment = find_config(config_name)
    _refuse_others_code(path, trusts="--trust-code" in overrides)
    given = parse(parser, [*config_arguments(path), *overrides])
    config = _told(instantiate(given))
    if config.portable:
        ensure_pinned(*COMMAND, "train", *arguments)
    from hydrahive.runtime.training.request import Request, with_experiment
    from hydrahive.runtime.training.train import readable_disk_errors, train

    runs = runs_folder(given.runs)
    name = given.name or default_name(experiment, config.seed, is_runs_own=path.name == "config.yaml")
    config = with_experiment(config, experiment)
    folder = new_run_folder(runs, name)
    request = Request(
        config, folder, given.resume, given.address, given.init_from, runs, accept_versions=given.accept_versions
    )

    def record() -> None:
        """While the cluster still knows this job: afterwards its working directory goes, with the user's modules."""
        if config.recording:
            from hydrahive.envs.extras import told_where
            from hydrahive.runtime.inspect.playing import record_run

            try:
                record_run(folder, folder.recording)
            except (Exception, SystemExit) as error:  # many environments cannot draw, each in its own way
                print(f"no recording: {told_where(error)}", file=sys.stderr)
                return
            folder.publish(folder.recording)

    try:
        with readable_disk_errors():
            outcome = train(request, at_the_end=record)
    except Interrupted as interrupted:
        return _stopped(name, interrupted)
    if outcome.summary is None:
        return 0
    if not outcome.trained:
        print(f"run {name!r} is finished already; raise --stop.env_steps to train on, or choose another --name")
    place = f"{folder.stored.storage.shown}/{name}" if folder.stored else str(folder.path)
    print(summary_text(outcome.summary, place, folder.recording if folder.recording.exists() else None))
    return 0


def _stopped(name: str, interrupted: Interrupted) -> int:
    """What an interrupted run exits with; it is said that it was, unless the run has said so."""
    if not interrupted.told:
        print(f"{name}: stopped by {interrupted} before it was trained; nothing is lost", file=sys.stderr)
    return interrupted.exit_code


def _refuse_others_code(config: Path, *, trusts: bool) -> None:
    """Before a run's own config is read, which imports what it names: see whose it is."""
    if trusts:
        trust_code()
    elif (config.parent / "run.json").is_file():
        RunFolder(config.parent).refuse_others_code()


def _told(config: RunConfig) -> RunConfig:
    """The config; which algorithm was chosen is said, and what stops learning before the run's end."""
    if config.because:
        print(config.because)
    rate = getattr(config.algorithm, "learning_rate", None)
    if isinstance(rate, Linear) and rate.end == 0 and rate.env_steps < config.stop.env_steps:
        print(
            f"algorithm.learning_rate is 0 from {rate.env_steps:,} env steps on, of {config.stop.env_steps:,}; "
            "--algorithm.learning_rate.env_steps says another end"
        )
    return config


def train_parser() -> ArgumentParser:
    """All keys of a run's config, and the options that only this command has."""
    parser = config_parser("hydrahive train")
    parser.add_argument("--name", type=str, help="The run's name (default: <experiment>-s<seed>).")
    parser.add_argument("--runs", type=str, help="Folder or URI of the runs (default: $HYDRAHIVE_RUNS, else ./runs).")
    parser.add_argument(
        "--resume",
        choices=["auto", "never", "required"],
        default="auto",
        help="Continue a run of this name: auto where there is one, never, or required.",
    )
    parser.add_argument("--address", type=str, help="A Ray cluster (default: $RAY_ADDRESS, else an embedded one).")
    parser.add_argument("--init-from", type=str, help="A run or checkpoint folder whose weights to start from.")
    parser.add_argument(
        "--trust-code",
        action="store_true",
        help="Where CONFIG is another's run's: run the code that it names. Any CONFIG may name code: read it first.",
    )
    parser.add_argument(
        "--accept-versions",
        action="store_true",
        help="Go on with other versions than the run was computed with, as a new segment that says so.",
    )
    return parser


def _said_by(config_name: str | None) -> str:
    """What the config that help was asked for says, instead of the defaults."""
    if config_name is None:
        return ""
    path, _ = find_config(config_name)
    return f"\nWhat {config_name} says, instead of those defaults:\n\n{path.read_text('utf-8').strip()}"


def help_text(parser: ArgumentParser) -> str:
    """The command's help: options, every config key, and the keys of each part."""
    parser.usage = USAGE
    experiments = ", ".join(shipped_experiments())
    return f"{parser.format_help()}\n{part_help()}\n\nCONFIG: a YAML file, or a shipped experiment: {experiments}\n"


def summary_text(summary: dict[str, Any], place: str, recording: Path | None) -> str:
    """The summary for people."""

    def score(value: float | None) -> str:
        return "-" if value is None else f"{value:.2f}"

    rate = f"  ({summary['steps_per_second']:,.0f} steps/s)" if summary["steps_per_second"] else ""
    lines = [
        f"run            {summary['run']}  ({place})",
        f"env steps      {summary['env_steps']:,} in {summary['seconds']:,.1f} s{rate}",
        f"updates        {summary['updates']:,}",
        f"episodes       {summary['episodes']:,}",
        f"score          mean {score(summary['score_mean'])} (last 100 episodes), best {score(summary['score_max'])}",
        f"machine class  {summary['machine_class']}",
        f"digest         {summary['digest']}",
    ]
    if recording:
        lines.append(f"recording      {recording}")
    if not summary["reproducible"]:
        accepted = summary.get("accepted_versions")
        why = (
            "goes on with other versions than it began with"
            if accepted
            else "free-running, trained by RLlib, or stopped by the clock"
        )
        lines.append(f"               (not reproducible: {why})")
    return "-" * 72 + "\n" + "\n".join(lines)
