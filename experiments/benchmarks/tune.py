"""What searching brings on Snake: random values, Optuna and population-based training with the same budget.

`python experiments/benchmarks/tune.py --report docs/benchmarks/tune.md` writes the page (half an hour on 2 cores).
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
SPACE = {
    "algorithm.learning_rate": {"log_uniform": [1e-5, 1e-1]},
    "algorithm.entropy_cost": {"log_uniform": [1e-4, 1.0]},
    "algorithm.discount": {"uniform": [0.8, 0.999]},
}
FIXED = {"boundary_every": 10, "envs_per_shard": 32}


def main() -> None:
    """Run the sweeps and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--env-steps", type=int, default=1_000_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--runs", type=Path, default=Path("runs/tune-benchmark"))
    parser.add_argument("--report", type=Path)
    given = parser.parse_args()
    given.runs.mkdir(parents=True, exist_ok=True)
    rows = [searched(given, seed) for seed in range(given.seeds)]
    overhead = overheads(given.runs)
    page = page_of(given, rows, overhead)
    print(page)
    if given.report:
        given.report.write_text(page)


def searched(given: argparse.Namespace, seed: int) -> dict[str, float]:
    """One seed's three sweeps, each of so many trials' env steps; seconds, too."""
    budget = {"trials": given.trials, "env_steps": given.env_steps, "milestones": 12}
    common = {"experiment": "snake/vtrace", "fixed": FIXED, "space": SPACE, "seed": seed, "again": {"top": 0}}
    sweeps = {
        "random": {"search": "RandomSearch", "cpus_per_trial": 0.5},
        "optuna": {"search": {"class_path": "Optuna", "init_args": {"startup_trials": 5}}},
        "pbt": {"search": "RandomSearch", "scheduler": "Pbt", "cpus_per_trial": 0.5},
    }
    row: dict[str, float] = {}
    for kind, keys in sweeps.items():
        folder, seconds = run(given.runs, f"{kind}-{seed}", {**common, "budget": budget, **keys})
        scores = sorted(scores_of(folder))
        row[f"{kind} best"], row[f"{kind} median"] = scores[-1], statistics.median(scores)
        row[f"{kind} seconds"] = seconds
    return row


def run(runs: Path, name: str, sweep: dict[str, object]) -> tuple[Path, float]:
    """Run a sweep, anew."""
    path = runs / f"{name}.yaml"
    path.write_text(yaml.safe_dump(sweep))
    began = time.perf_counter()
    command = [sys.executable, "-m", "hydrahive.cli.main", "tune", "run", str(path), "--runs", str(runs)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return runs / name, time.perf_counter() - began


def scores_of(folder: Path) -> list[float]:
    """The trials' last scores."""
    found = []
    for path in sorted(folder.glob("trial-*/milestones.jsonl")):
        score = json.loads(path.read_text().splitlines()[-1])["score"]
        found.append(float("-inf") if score is None else score)
    return found


def overheads(runs: Path) -> dict[str, float]:
    """Seconds that a step of a trial costs besides training: of a trial that is alone, with few and with many steps."""
    walls: dict[int, list[float]] = {10: [], 60: []}
    trained: dict[int, list[float]] = {10: [], 60: []}
    for attempt in range(3):
        for steps in walls:
            sweep = {
                "experiment": "snake/vtrace",
                "fixed": {"boundary_every": 2},
                "space": {"algorithm.discount": {"choice": [0.985]}},
                "search": "GridSearch",
                "budget": {"trials": 1, "env_steps": 60 * 2 * 4096, "milestones": steps},
                "again": {"top": 0},
            }
            folder, wall = run(runs, f"overhead-{steps}-{attempt}", sweep)
            walls[steps].append(wall)
            trained[steps].append(json.loads((folder / "trial-000" / "summary.json").read_text())["seconds"])
    each = [(many - few) / 50 for few, many in zip(walls[10], walls[60], strict=True)]
    return {"low": min(each), "median": statistics.median(each), "high": max(each)}


def page_of(given: argparse.Namespace, rows: list[dict[str, float]], overhead: dict[str, float]) -> str:
    """The report."""
    lines = [
        "# What a sweep brings",
        "",
        "Written by `python experiments/benchmarks/tune.py --report docs/benchmarks/tune.md "
        f"--trials {given.trials} --env-steps {given.env_steps} --seeds {given.seeds}`: Snake (`snake/vtrace`, 20x20), "
        f"{given.trials} trials of {given.env_steps:,} env steps each, over learning rate (1e-5 to 0.1), entropy cost (1e-4 "
        "to 1) and discount (0.8 to 0.999). The score is the mean of the last 100 episodes. "
        f"Machine: {platform.machine()}, {processor()}, other work beside.",
        "",
        "| sweep's seed | median random trial | best random | best of Optuna | best of PBT | median of PBT | seconds: random, "
        "Optuna, PBT |",
        "|---|---|---|---|---|---|---|",
    ]
    for seed, row in enumerate(rows):
        seconds = ", ".join(f"{row[f'{kind} seconds']:.0f}" for kind in ("random", "optuna", "pbt"))
        lines.append(
            f"| {seed} | {row['random median']:.2f} | {row['random best']:.2f} | {row['optuna best']:.2f} | "
            f"{row['pbt best']:.2f} | {row['pbt median']:.2f} | {seconds} |"
        )
    lines += [
        "",
        f"Tune's part in a step of a trial, from one milestone to the next: {overhead['median'] * 1000:.0f} ms "
        f"({overhead['low'] * 1000:.0f} to {overhead['high'] * 1000:.0f} in three pairs of sweeps that train the same with "
        "10 and with 60 milestones); writing the checkpoint, opening the run's files and posting its work are in it.",
        "",
    ]
    return "\n".join(lines)


def processor() -> str:
    """This machine's, and how many cores."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    return f"{len(models)} cores of {models[0]}" if models else "unknown"


if __name__ == "__main__":
    main()
