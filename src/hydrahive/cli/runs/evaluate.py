"""`hydrahive evaluate`."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from hydrahive.cli.arguments import add_newest, add_runs, add_trust, command_parser, only_json, positive
from hydrahive.core.errors import UsageError

if TYPE_CHECKING:
    from hydrahive.policies.ensemble import Playing
    from hydrahive.runtime.config.run_config import RunConfig
    from hydrahive.runtime.roles.evaluation import Opponent
    from hydrahive.runtime.runs.run_folder import RunFolder


def run(arguments: Sequence[str]) -> int:
    """Play a run's newest policy on held-out seeds and print what it scores."""
    given = _parser().parse_args(arguments)
    if given.json:
        with only_json() as out:
            print(json.dumps(_evaluated(given).figures), file=out)
        return 0
    told = _evaluated(given)
    figures = told.figures
    against = f" against {given.against}" if given.against else ""
    episodes = f"{given.episodes} {figures['actions']} episodes{against}"
    print(
        f"{figures['run']} after {figures['env_steps']:,} env steps, {episodes} on held-out seeds:\n"
        f"mean {figures['mean']:.2f} (95% interval {figures['mean_low']:.2f} to {figures['mean_high']:.2f})  "
        f"median {figures['median']:.2f}  min {figures['min']:.2f}  max {figures['max']:.2f}  "
        f"mean length {figures['length_mean']:.1f} steps"
    )
    for name, value in told.scales.items():
        print(f"{name.replace('_', ' ')} mean: {value:.1%}")
    means = [f"{name.replace('_', ' ')} {mean:.3f}" for name, mean in told.facts.items()]
    if means:
        print(f"mean of an episode: {'  '.join(means)}")
    return 0


class _Told(NamedTuple):
    """All that is said of an evaluation, its mean on published scales, and means of what environments tell besides."""

    figures: dict[str, Any]
    scales: dict[str, float]
    facts: dict[str, float]


def _evaluated(given: argparse.Namespace) -> _Told:
    from hydrahive.runtime.inspect.playing import load_ensemble, load_policy, untrained
    from hydrahive.runtime.roles.evaluation import evaluate, is_sampled
    from hydrahive.runtime.runs.run_folder import find_run, runs_folder

    if (given.run is None) == (given.ensemble is None) or (given.ensemble and given.before):
        raise UsageError("RUN: one run, which --before may evaluate as it began, or --ensemble with several")
    runs = runs_folder(given.runs)
    folders = [find_run(runs, name) for name in given.ensemble or [given.run]]
    folder, name = folders[0], " + ".join(one.name for one in folders)
    policy: Playing
    if given.ensemble:
        config, policy, env_steps = load_ensemble(folders, newest=given.newest)
    else:
        config, policy, env_steps = load_policy(folder, newest=given.newest)
    if given.before:
        policy, env_steps = untrained(config), 0
    if given.actions:
        config = dataclasses.replace(config, evaluate_actions=given.actions)
    opponent = _opponent(given, folder, config) if given.against else None
    evaluation = evaluate(config, policy, given.episodes, opponent)
    summary = evaluation.summary()
    scales = config.env.normalised(summary["mean"])
    actions = "sampled" if is_sampled(config) else "greedy"
    figures: dict[str, Any] = {"run": name, "env_steps": env_steps, "actions": actions, **summary, **scales}
    facts = {name: figures[f"{name}_mean"] for name in evaluation.facts if f"{name}_mean" in figures}
    return _Told(figures, scales, facts)


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("evaluate", "Play a trained policy on held-out seeds.")
    parser.add_argument("run", metavar="RUN", nargs="?", help="a run's name or folder")
    parser.add_argument(
        "--ensemble", metavar="RUN", nargs="+", help="several runs as one policy, each weighted by its validation"
    )
    add_runs(parser)
    add_newest(parser)
    add_trust(parser)
    parser.add_argument("--episodes", type=positive, default=100, help="episodes to play (default: 100)")
    parser.add_argument(
        "--actions",
        choices=["convention", "greedy", "sampled"],
        help="the likeliest actions, or drawn ones as in training (default: evaluate_actions of the run's config)",
    )
    parser.add_argument(
        "--against",
        metavar="RUN",
        help="for games of several agents: another run's policy, or `random`, plays all but one agent in turn",
    )
    parser.add_argument("--before", action="store_true", help="evaluate the untrained policy that the run began with")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _opponent(given: argparse.Namespace, folder: RunFolder, config: RunConfig) -> Opponent:
    """Whoever plays all agents but one: another run's policy, or chance.

    Raises:
        UsageError: If there is no such run, or its game is another.
    """
    from hydrahive.runtime.config.machine_class import prepare_torch
    from hydrahive.runtime.inspect.playing import load_policy
    from hydrahive.runtime.roles.env_worker import WORKER_THREADS
    from hydrahive.runtime.roles.evaluation import Opponent
    from hydrahive.runtime.runs.run_folder import find_run, runs_folder

    if config.env.group == 1:
        raise UsageError("--against: needs an environment in which several agents play")
    if given.against == "random":
        return Opponent(config, None)
    others, other, _ = load_policy(find_run(runs_folder(given.runs), given.against))
    if others.env != config.env:
        raise UsageError(f"--against: run {given.against!r} plays another game than {folder.name!r}")
    prepare_torch(config, WORKER_THREADS)
    return Opponent(config, other)
