"""`hydrahive bench`."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydrahive.cli.arguments import command_parser, positive
from hydrahive.core.errors import HydrahiveError, UsageError

if TYPE_CHECKING:
    from hydrahive.runtime.config.run_config import RunConfig

RLLIB = ("rllib", *(f"rllib:{name}" for name in ("PPO", "IMPALA", "APPO", "DQN", "SAC", "TQC")))
"""RLlib's algorithms; `rllib` is its IMPALA."""

OPPONENTS = (
    *RLLIB,
    *("sb3", "free-running", "inline", "unpaid"),
    *("audited-0", "audited-25", "audited-50", "audited-100"),
)
"""`unpaid` keeps no accounts; `audited-N` has N percent of all intervals computed again in full, and the environments'
steps of the others."""

WORKERS = "1,4,16,64,256,1024"

MOST_WORKERS = 10_000


def run(arguments: Sequence[str]) -> int:
    """Measure environments, a replay, training, its way to a score, its scaling, watching it, or how answers come."""
    given, overrides = _parser().parse_known_args(arguments)
    workers = _points(given, overrides)

    from hydrahive.runtime.config.parsing import load_run_config
    from hydrahive.runtime.config.shipped import find_config
    from hydrahive.runtime.training.request import with_experiment

    path, name = find_config(given.config)
    config = with_experiment(load_run_config(path, overrides), name)

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    if given.what == "sim":
        from hydrahive.bench.simulation import bench_simulation

        envs = given.envs or config.shards * config.envs_per_shard
        report = bench_simulation(config.env, envs, min(given.seconds, 2), given.windows)
        print(f"{name}: {report['steps_per_second']:,.0f} env steps/s on one core, {envs} environments, no learning")
    elif given.what == "replay":
        from hydrahive.bench.replay import bench_replay

        report = bench_replay(config, min(given.seconds, 2), given.windows)
        print(
            f"{name}: {report['frames_per_second']:,.0f} frames/s drawn on one core, "
            f"{report['inserted_frames_per_second']:,.0f} frames/s inserted; "
            f"memory is {report['memory_over_raw']:.2f} times the raw arrays'"
        )
    elif given.what == "score":
        report = _score(name, config, given, say)
    elif given.what == "watch":
        from hydrahive.bench.watching import bench_watching

        report = bench_watching(given.config, overrides, given.seconds, given.windows, say)
        print(watching_text(name, report))
    elif given.what == "serve":
        from hydrahive.bench.answering import bench_serving

        report = bench_serving(given.config, overrides, given.seconds, say)
        print(serving_text(name, report))
    elif given.what == "scale":
        from hydrahive.bench.scale.points import bench_scale
        from hydrahive.bench.scale.report import scale_text

        report = bench_scale(config, workers, given.seconds, say, takes_in=given.intake == "learner")
        print(scale_text(name, report))
    else:
        from hydrahive.bench.training import bench_training

        if "sb3" in given.against:
            raise UsageError("--against: 'sb3' is raced by bench score; it has no steps/s of its own")
        report = bench_training(config, given.against, given.seconds, given.windows, given.address, say)
        print(training_text(report))
    if given.json:
        _write("--json", given.json, json.dumps(report, indent=1).encode())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("bench", "Measure speed, and its ceiling; dotted config keys may follow, as for train.")
    what = (
        "the environments alone on one core, a replay alone likewise, training, its way to a score, what watching "
        "costs it, answers, or training with many workers that only wait"
    )
    parser.add_argument("what", choices=["sim", "replay", "train", "score", "watch", "serve", "scale"], help=what)
    parser.add_argument("config", metavar="CONFIG", help="a YAML file or a shipped experiment")
    parser.add_argument(
        "--against",
        action="append",
        choices=OPPONENTS,
        default=[],
        help="race training against this in alternated windows; may be given several times",
    )
    parser.add_argument("--seconds", type=positive, default=6, help="counted length of a window, or point (default: 6)")
    parser.add_argument("--windows", type=positive, default=7, help="windows of each contender (default: 7)")
    parser.add_argument("--envs", type=positive, help="sim: environments in a batch (default: the config's)")
    parser.add_argument(
        "--mark", type=float, help="score: the greedy mean over 100 held-out episodes to reach and hold"
    )
    parser.add_argument("--seeds", type=positive, default=3, help="score: trainings, with seeds 1, 2, ... (default: 3)")
    parser.add_argument("--every", type=positive, help="score: env steps between two looks (default: a 50th of all)")
    parser.add_argument(
        "--workers", metavar="N,N,...", help=f"scale: env workers of each point (default: {WORKERS}); else the config's"
    )
    parser.add_argument(
        "--intake",
        choices=["spread", "learner"],
        default="spread",
        help="scale: fragments are checked and hashed by those who find gradients, or, as today, by the learner alone",
    )
    parser.add_argument("--address", help="a Ray cluster (default: $RAY_ADDRESS, else an embedded one)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="score: also draw the curves, as an SVG, to this file"
    )
    return parser


def _points(given: argparse.Namespace, overrides: list[str]) -> tuple[int, ...]:
    """The numbers of workers of `scale`; elsewhere there are none, and `--workers` is the config's.

    Raises:
        UsageError: If they do not grow.
    """
    if given.what != "scale":
        overrides += [] if given.workers is None else ["--workers", given.workers]
        return ()
    text = WORKERS if given.workers is None else given.workers
    numbers = [int(part) if part.isascii() and part.isdigit() else 0 for part in text.split(",")]
    grows = all(one < other for one, other in zip([0, *numbers], numbers, strict=False))
    if not grows or numbers[-1] > MOST_WORKERS:
        accepted = f"integers from 1 to {MOST_WORKERS:,}, separated by commas, each larger than the one before"
        raise UsageError(f"--workers: {text!r} is not accepted; expected {accepted}")
    return tuple(numbers)


def _score(name: str, config: RunConfig, given: argparse.Namespace, say: Callable[[str], None]) -> dict[str, Any]:
    """How long a config takes to a score, against a peer if one is asked for.

    Raises:
        UsageError: If no mark is given, or the peer cannot be raced.
    """
    from hydrahive.bench.score import LOOKS, bench_score, ours, score_text

    if given.mark is None or not math.isfinite(given.mark):
        told = "is missing" if given.mark is None else f"{given.mark} is not accepted"
        raise UsageError(f"--mark: {told}; expected the greedy mean score that training is to reach")
    if others := set(given.against) - {"sb3", *RLLIB[1:]}:
        known = "sb3 and rllib:PPO, rllib:DQN and so on"
        raise UsageError(f"--against: {sorted(others)[0]!r} is raced by bench train; bench score knows {known}")
    contenders = {"hydrahive": ours(config)}
    for name in given.against:
        if name == "sb3":
            from hydrahive.bench.sb3 import sb3

            contenders[name] = sb3(config)
        else:
            from hydrahive.bench.rllib import tuned

            contenders[name] = ours(tuned(config, name))
    every = given.every or max(1, config.stop.env_steps // LOOKS)
    report = bench_score(contenders, given.mark, range(1, given.seeds + 1), every, say)
    print(score_text(name, report))
    if given.plot:
        from hydrahive.bench.curves import curves_svg

        _write("--plot", given.plot, curves_svg(name, report))
    return {"experiment": name, **report}


def serving_text(name: str, report: dict[str, Any]) -> str:
    """How fast policies answer, for people."""
    from hydrahive.bench.answering import serving_line

    lines = [f"{name}, a row a query, the clients on the server's own {report['cpus']} CPUs"]
    for title, figures in report["clients"].items():
        lines += [f"  {title:<5} {serving_line(clients, one)}" for clients, one in figures.items()]
    return "\n".join(lines)


def watching_text(name: str, report: dict[str, Any]) -> str:
    """What watching costs, for people."""
    lines = [f"{name}, watched in a terminal of 80x24 on the same {report['cpus']} CPUs"]
    for kind, speed in report["steps_per_second"].items():
        line = f"  {kind:<8} {speed:>10,.0f} trained env steps/s"
        if ratio := report["ratios"].get(kind):
            line += f"   {ratio['ratio']:.3f} of alone ({ratio['ratio_low']:.3f} to {ratio['ratio_high']:.3f})"
        lines.append(line)
    return "\n".join(lines)


def training_text(report: dict[str, Any]) -> str:
    """The report of a race for people."""
    lines = [
        f"{report['experiment']}, {report['workers']} env workers, {report['cpus']} CPUs, {report['machine_class']}"
    ]
    for name, speed in report["steps_per_second"].items():
        line = f"  {name:<13} {speed:>10,.0f} trained env steps/s"
        ratio = report["ratios"].get(name)
        if ratio:
            interval = f"95% interval {ratio['ratio_low']:.2f} to {ratio['ratio_high']:.2f}"
            line += f"   hydrahive is {ratio['ratio']:.2f}x ({interval})"
        lines.append(line)
    if parts := report["parts"]:
        costs = " + ".join(f"{name} {parts[name]:.2f}" for name in ("stepping", "inference", "learning"))
        lines.append(f"  each alone, us per env step: {costs}; a fragment is {parts['fragment_bytes'] / 1e6:.2f} MB")
        lines.append(
            f"  ceiling       {parts['ceiling']:>10,.0f} env steps/s from these costs; "
            f"training keeps {parts['share']:.0%} of it (95% interval {parts['share_low']:.0%} to "
            f"{parts['share_high']:.0%})"
        )
    return "\n".join(lines)


def _write(option: str, path: Path, content: bytes) -> None:
    from hydrahive.core.durable import write_whole

    try:
        write_whole(path.absolute(), content)
    except OSError as error:
        raise HydrahiveError(f"{option}: cannot write {path}: {error.strerror}") from None
