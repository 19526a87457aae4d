"""`make chaos SEEDS=30`: many seeds of the fault injection, and their report."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from chaos.faults import EXPERIMENTS, Fault, experiment_of
from chaos.harness import Outcome, Undisturbed, difference, run_seed, undisturbed


def main() -> int:
    """Run the seeds, print each, write the report, and fail if a digest differs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=30, help="how many seeds (default: 30)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default: 0)")
    parser.add_argument("--report", type=Path, help="write the figures there")
    parser.add_argument("--keep", type=Path, help="a file of what is done, from which another call goes on")
    given = parser.parse_args()
    outcomes = kept_in(given.keep)
    done = {outcome.seed for outcome in outcomes}
    expected: dict[str, Undisturbed] = {}
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder)
        for experiment in EXPERIMENTS:
            expected[experiment] = undisturbed(experiment, runs)
        for seed in range(given.first, given.first + given.seeds):
            if seed in done:
                continue
            experiment = experiment_of(seed)
            outcome = run_seed(seed, experiment, runs)
            outcome.trouble = difference(outcome, expected[experiment])
            outcomes.append(outcome)
            keep(outcome, given.keep)
            print(line_of(outcome), flush=True)
            if outcome.trouble:
                log = runs / f"seed-{seed}.log"
                print(f"repeat it: make chaos SEEDS=1 FIRST={seed}\n{log.read_text()[-3000:]}", flush=True)
    if given.report:
        given.report.write_text(report_of(outcomes))
    return 1 if any(outcome.trouble for outcome in outcomes) else 0


def keep(outcome: Outcome, path: Path | None) -> None:
    """Append what the report needs of an outcome."""
    if path is not None:
        with path.open("a") as file:
            file.write(json.dumps(asdict(replace(outcome, journal=frozenset())), default=list) + "\n")


def kept_in(path: Path | None) -> list[Outcome]:
    """What earlier calls have kept."""
    if path is None or not path.exists():
        return []
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    faults = ("faults", "struck")
    return [Outcome(**{**row, **{name: [Fault(**one) for one in row[name]] for name in faults}}) for row in rows]


def line_of(outcome: Outcome) -> str:
    """A seed's line in the report."""
    faults = "; ".join(
        f"{fault.share:.0%} {fault.kind} {fault.victim}"
        + (f" {fault.seconds:g} s" if fault.seconds else "")
        + ("" if fault in outcome.struck else " (found nobody)")
        for fault in outcome.faults
    )
    back = ", ".join(f"{seconds:.1f} s" for seconds in outcome.back_seconds) or "-"
    return (
        f"| {outcome.seed} | {outcome.experiment.removesuffix('.yaml').rpartition('games/')[2]} | {faults} | {outcome.trouble or 'equal'} | {back} | "
        f"{outcome.replayed_env_steps:,} | {outcome.seconds:.0f} s |"
    )


def report_of(outcomes: list[Outcome]) -> str:
    """The figures for people."""
    cpu = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line)
    equal = sum(not outcome.trouble for outcome in outcomes)
    worker = [s for o in outcomes if o.experiment == "snake/vtrace" for s in o.worker_back_seconds]
    every = [s for outcome in outcomes for s in outcome.back_seconds]
    lines = [
        "# Chaos",
        "",
        f"Written by `make chaos SEEDS={len(outcomes)}` on {os.cpu_count()} cores of {cpu.split(':')[1].strip()}, "
        f"{time.strftime('%Y-%m-%d')}: each seed draws who is killed (SIGKILL) or frozen (SIGSTOP) and when, on a real "
        "Ray of five raylets on one machine, and the final digests and the ledger's credits are compared with an "
        "undisturbed inline run's.",
        "",
        f"- equal digests, equal sets of (fragment, steps, amount), and a ledger that verifies: {equal} of {len(outcomes)}",
        f"- from noticing a loss to the learner's next update, all losses: {_spread(every)}",
        f"- the same for `snake/vtrace` when only env workers were lost: {_spread(worker)}",
        f"- env steps simulated again in a run: {_spread([o.replayed_env_steps for o in outcomes], '')}",
        f"- stragglers hedged: {sum(outcome.hedged for outcome in outcomes)}",
        "",
        "| seed | experiment | faults (at share of the run) | digest and credits | back after | steps again | wall time |",
        "|---|---|---|---|---|---|---|",
        *map(line_of, outcomes),
    ]
    return "\n".join(lines) + "\n"


def _spread(values: list[float] | list[int], unit: str = " s") -> str:
    if not values:
        return "none"
    return f"median {statistics.median(values):,.1f}{unit}, most {max(values):,.1f}{unit} ({len(values)})"


if __name__ == "__main__":
    sys.exit(main())
