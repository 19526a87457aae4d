"""Compares replays on Snake, for V-trace and for Q-learning; `make ath` runs it and writes docs/benchmarks/ath.md.

Every run gets the same seconds of training on one core, inline; two run at a time. What each had reached after the
same env steps is read from the same runs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

ROOT = Path(__file__).parents[2]
ORIGINAL = ["--replay.depth", "absolute", "--replay.hunting", "true"]


@dataclass(frozen=True)
class Learner:
    """One of the two learners: its experiment, what each run is given, and where all are compared."""

    title: str
    experiment: str
    seconds: int
    env_steps: int


LEARNERS = {
    "vtrace": Learner("V-trace", "snake/ath-vtrace", 60, 2_500_000),
    "q": Learner("Q-learning", "snake/ath-q", 90, 500_000),
}
REPLAYS = {
    "none": ["--replay", "null"],
    "uniform": ["--replay", "Uniform"],
    "classic ATH": ORIGINAL,
    "mended ATH": [],
}
COLOURS = {"none": "#8a8f98", "uniform": "#c98a1b", "classic ATH": "#b3433f", "mended ATH": "#0b6e99"}


@dataclass(frozen=True)
class Curve:
    """Rows of one run, `[N]` each."""

    env_steps: np.ndarray
    seconds: np.ndarray
    score_mean: np.ndarray
    score_max: np.ndarray

    def after_steps(self, env_steps: int) -> float:
        """`score_mean` after so many env steps; nan if the run did not get there."""
        reached = np.flatnonzero(self.env_steps >= env_steps)
        return float(self.score_mean[reached[0]]) if len(reached) else float("nan")


def main() -> None:
    """Run what is not there yet, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "benchmark-ath")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--report", type=Path, default=ROOT / "docs" / "benchmarks" / "ath.md")
    given = parser.parse_args()
    jobs = [(learner, replay, seed) for learner in LEARNERS for replay in REPLAYS for seed in range(1, given.seeds + 1)]
    with ThreadPoolExecutor(given.jobs) as pool:
        curves = dict(zip(jobs, pool.map(lambda job: run(given.runs, *job), jobs), strict=True))
    given.report.write_text("".join(report(curves, given.seeds, given.report.parent)))


def run(runs: Path, learner: str, replay: str, seed: int) -> Curve:
    """Train one, unless it is there."""
    name = f"{learner}-{replay.replace(' ', '-')}-s{seed}"
    asked = LEARNERS[learner]
    command = [sys.executable, "-m", "hydrahive.cli.main", "train", asked.experiment, "--name", name]
    command += ["--runs", str(runs), "--seed", str(seed), "--workers", "0", "--recording", "false"]
    command += ["--ledger.enabled", "false", "--stop.env_steps", "1000000000", "--stop.seconds", str(asked.seconds)]
    subprocess.run([*command, *REPLAYS[replay]], check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    lines = (runs / name / "metrics.jsonl").read_text().splitlines()
    rows = [row for row in map(json.loads, lines) if "loss" in row and row["score_mean"] is not None]
    print(f"{name}: score_mean {rows[-1]['score_mean']:.1f} after {rows[-1]['env_steps']:,} env steps", flush=True)
    return Curve(*(np.array([row[key] for row in rows]) for key in Curve.__dataclass_fields__))


def report(curves: dict[tuple[str, str, int], Curve], seeds: int, folder: Path) -> Iterator[str]:
    """The report's text; the pictures are written beside it."""
    cpu = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line)
    yield "# Replays compared on Snake\n\n"
    yield (
        "Written by `make ath`. Snake 20x20 from a 9x9 window; each run inline on one core, two at a time; "
        f"{seeds} seeds. `classic ATH` has the original's two options (`depth: absolute`, `hunting: true`), all else "
        "is equal. Scores are `score_mean`, the mean of the last 100 training episodes: the median of the seeds, and "
        f"their range.\n\nMeasured on {os.cpu_count()} cores of {cpu.split(':')[1].strip()}, "
        f"{time.strftime('%Y-%m-%d')}.\n"
    )
    for key, learner in LEARNERS.items():
        mine = {replay: [curves[key, replay, seed] for seed in range(1, seeds + 1)] for replay in REPLAYS}
        yield f"\n## {learner.title} (`{learner.experiment}`)\n\n"
        yield f"| replay | after {learner.env_steps:,} env steps | after {learner.seconds} s | best | env steps/s |\n"
        yield "|---|---|---|---|---|\n"
        for replay, of_seeds in mine.items():
            at_steps = [curve.after_steps(learner.env_steps) for curve in of_seeds]
            at_end = [float(curve.score_mean[-1]) for curve in of_seeds]
            best = max(float(curve.score_max[-1]) for curve in of_seeds)
            rate = statistics.median(float(curve.env_steps[-1] / curve.seconds[-1]) for curve in of_seeds)
            yield f"| {replay} | {_spread(at_steps)} | {_spread(at_end)} | {best:g} | {rate:,.0f} |\n"
        picture = f"ath-{key}.svg"
        draw(mine, learner, folder / picture)
        yield f"\n![{learner.title}: score over env steps and over seconds]({picture})\n"
    conclusion = folder / "ath-conclusion.md"
    if conclusion.exists():
        yield f"\n{conclusion.read_text()}"


def _spread(values: list[float]) -> str:
    if any(value != value for value in values):  # nan: a run that did not get there
        return "not reached"
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def draw(mine: dict[str, list[Curve]], learner: Learner, path: Path) -> None:
    """Scores over env steps and over seconds, one line a seed."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    FigureCanvasSVG(figure)
    for axes, over in zip(figure.subplots(1, 2, sharey=True), ("env_steps", "seconds"), strict=True):
        for replay, of_seeds in mine.items():
            for i, curve in enumerate(of_seeds):
                label = replay if i == 0 else None
                every = max(1, len(curve.seconds) // 150)
                x, y = getattr(curve, over)[::every], curve.score_mean[::every]
                axes.plot(x, y, color=COLOURS[replay], linewidth=1, label=label)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlabel(f"{over.replace('_', ' ')} of training")
    figure.axes[0].set_ylabel("score, mean of 100 episodes")
    figure.axes[0].legend(frameon=False, fontsize=8)
    figure.suptitle(learner.title, fontsize=10)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
