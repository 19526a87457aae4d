"""What a pilot is worth: runs with and without, and badly chosen learning rates that it is to mend.

`python experiments/benchmarks/pilot.py compare|search --runs DIR [--seeds N] [--at-once N]` trains what is missing there,
and prints a table in Markdown; docs/pilot.md has them.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from hydrahive.runtime.config.shipped import find_config

QUIET = {"recording": False, "ledger": {"enabled": False}, "look": "none", "workers": 0}

ONLY_LOOKS = {"search": None, "guards": None, "rollback": None, "regimes": None, "dormant": {"does": "go_on"}}
"""A pilot that validates as another does, and changes nothing: a baseline that is measured alike."""

REACHED = 0.5
"""Share of the best score in training at which a rate is looked at: on the way up, beyond which a lower one is better."""

RATES = [3.0e-5, 1.0e-4, 3.0e-4, 1.0e-3, 3.0e-3, 1.0e-2, 3.0e-2]
"""Of which the good one is found by trying."""

ALIKE = 0.9
"""Share of the best mean score from which on a rate is as good."""

BAD = (3.0e-5, 3.0e-2)


def trained(runs: Path, name: str, config: Mapping[str, Any]) -> Path:
    """The folder of a run that has been trained to its end."""
    folder = runs / name
    if not (folder / "summary.json").is_file():
        runs.mkdir(parents=True, exist_ok=True)
        path = runs / f"{name}.yaml"
        path.write_text(yaml.safe_dump({**config, **QUIET}))
        command = [sys.executable, "-m", "hydrahive.cli.main", "train", str(path), "--name", name, "--runs", str(runs)]
        with (runs / f"{name}.log").open("w") as log:
            subprocess.run(command, check=True, stdout=log, stderr=log)
    return folder


def shipped(name: str, pilot: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """A shipped experiment with other values of its pilot."""
    config = yaml.safe_load(find_config(name)[0].read_text())
    return {**config, "pilot": {**config["pilot"], **pilot}, **changes}


def lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def evaluated(folder: Path, *, newest: bool) -> float:
    """The mean of 100 episodes on seeds that neither training nor validation has seen."""
    command = [sys.executable, "-m", "hydrahive.cli.main", "evaluate", str(folder), "--json", "--trust-code"]
    command += ["--newest"] if newest else []
    return float(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["mean"])


def first_at(folder: Path, score: float) -> int | None:
    """Env steps of the first boundary whose validation reached a score, all counted that were taken."""
    taken, before = 0, 0
    for line in lines(folder / "pilot.jsonl"):
        seen = line["seen"]
        taken += max(0, seen["env_steps"] - before)
        before = seen["env_steps"]
        if line["order"]["back_to"] is not None:
            before = next(
                one["seen"]["env_steps"]
                for one in lines(folder / "pilot.jsonl")
                if one["updates"] == line["order"]["back_to"]
            )
        found = seen["validation"]
        if found is not None and found["mean"] >= score:
            return taken - (seen["env_steps"] - found["env_steps"])
    return None


def compare(runs: Path, seeds: int, at_once: int) -> None:
    """tensor-optix's two comparisons, with what a baseline of ours does."""
    jobs = {}
    for name in ("cartpole/piloted", "classic/acrobot-piloted"):
        for how, pilot in (("baseline", ONLY_LOOKS), ("pilot", {})):
            for seed in range(seeds):
                jobs[name, how, seed] = shipped(name, pilot, seed=seed)
    done = all_of(runs, {f"{n.replace('/', '-')}-{h}-{s}": config for (n, h, s), config in jobs.items()}, at_once)
    print("| | baseline, its newest | pilot, its best | baseline, its best |\n|---|---|---|---|")
    for name in ("cartpole/piloted", "classic/acrobot-piloted"):
        of = {
            how: [done[f"{name.replace('/', '-')}-{how}-{seed}"] for seed in range(seeds)]
            for how in ("baseline", "pilot")
        }
        newest = [evaluated(folder, newest=True) for folder in of["baseline"]]
        best = [evaluated(folder, newest=False) for folder in of["pilot"]]
        base = [evaluated(folder, newest=False) for folder in of["baseline"]]
        cells = [f"{statistics.fmean(one):.1f} ({', '.join(f'{v:.1f}' for v in one)})" for one in (newest, best, base)]
        print(f"| `{name}`, score | {' | '.join(cells)} |")
    for name, score in (("cartpole/piloted", 475.0), ("classic/acrobot-piloted", -100.0)):
        cells = []
        for how in ("baseline", "pilot"):
            found = [first_at(done[f"{name.replace('/', '-')}-{how}-{seed}"], score) for seed in range(seeds)]
            known = [one for one in found if one is not None]
            mean = f"{statistics.fmean(known):,.0f}" if known else "-"
            cells.append(f"{mean} ({', '.join('-' if one is None else f'{one:,}' for one in found)})")
        print(f"| `{name}`, env steps to {score:g} | {cells[0]} | {cells[1]} | |")


def game(name: str, rate: float, seed: int, *, searches: bool) -> dict[str, Any]:
    """A run with a constant learning rate, searched or not."""
    source, steps, every = {"cartpole": ("cartpole/vtrace", 1_500_000, 4), "snake": ("snake/vtrace", 2_500_000, 8)}[
        name
    ]
    config = yaml.safe_load(find_config(source)[0].read_text())
    config["algorithm"]["init_args"]["learning_rate"] = rate
    pilot: dict[str, Any] = {"every": 2, "delay": 2, "dormant": {"does": "go_on"}}
    if searches:
        pilot["search"] = {"space": {"algorithm.learning_rate": {"log_uniform": [1.0e-5, 1.0e-1]}}}
    else:
        pilot |= ONLY_LOOKS
    return {**config, "boundary_every": every, "stop": {"env_steps": steps}, "seed": seed, "pilot": pilot}


def area(folder: Path) -> float:
    """The mean of what training scored, over the run."""
    return statistics.fmean(
        one["seen"]["score"] for one in lines(folder / "pilot.jsonl") if one["seen"]["score"] is not None
    )


def came_near(folder: Path, good: Sequence[float]) -> bool:
    """Whether the rate that was taken for best was within a factor of three of a good one at any time."""
    told = [one for one in lines(folder / "events.jsonl") if one["kind"] == "pilot_probe"]
    return any(is_near(one["at"]["algorithm.learning_rate"], good) for one in told)


def is_near(rate: float, good: Sequence[float]) -> bool:
    """Within a factor of three of one of them."""
    return any(abs(math.log(rate / one)) <= math.log(3) for one in good)


def rate_found(folder: Path) -> float:
    """The rate that was taken for best when training came to half of its best score."""
    seen = [one["seen"] for one in lines(folder / "pilot.jsonl") if one["seen"]["score"] is not None]
    high = max(one["score"] for one in seen)
    at = next(one["updates"] for one in seen if one["score"] >= REACHED * high)
    told = [one for one in lines(folder / "events.jsonl") if one["kind"] == "pilot_probe"]
    known = [one for one in told if one["updates"] <= at] or told[:1]
    return float(known[-1]["at"]["algorithm.learning_rate"])


def search(runs: Path, seeds: int, at_once: int, names: Sequence[str]) -> None:
    """Badly chosen rates, and where the search has moved them."""
    jobs = {}
    for name in names:
        for rate in RATES:
            jobs |= {f"{name}-{rate:.0e}-{seed}": game(name, rate, seed, searches=False) for seed in range(2)}
        for rate in BAD:
            jobs |= {
                f"{name}-searched-{rate:.0e}-{seed}": game(name, rate, seed, searches=True) for seed in range(seeds)
            }
    done = all_of(runs, jobs, at_once)
    print(
        "| | begun at | good | ever within a factor of three | at half of the best score | there | best validation | the bad rate's own |\n"
        + "|---" * 8
        + "|"
    )
    for name in names:
        areas = {rate: statistics.fmean(area(done[f"{name}-{rate:.0e}-{seed}"]) for seed in range(2)) for rate in RATES}
        good = [rate for rate in RATES if areas[rate] >= ALIKE * max(areas.values())]
        for rate in BAD:
            folders = [done[f"{name}-searched-{rate:.0e}-{seed}"] for seed in range(seeds)]
            found = sorted(map(rate_found, folders))
            near, ever = (sum(is_near(one, good) for one in found), sum(came_near(one, good) for one in folders))
            ours = statistics.fmean(json.loads((folder / "best.json").read_text())["mean"] for folder in folders)
            own = [done[f"{name}-{rate:.0e}-{seed}"] for seed in range(2)]
            bad = statistics.fmean(json.loads((folder / "best.json").read_text())["mean"] for folder in own)
            shown = ", ".join(f"{one:.1e}" for one in found)
            print(
                f"| {name} | {rate:g} | {' and '.join(map(str, good))} | {ever} of {seeds} | {near} of {seeds} | {shown} | {ours:.1f} | {bad:.1f} |",
                flush=True,
            )


def all_of(runs: Path, jobs: Mapping[str, Mapping[str, Any]], at_once: int) -> dict[str, Path]:
    """Every run, trained; by name."""
    with ThreadPoolExecutor(at_once) as pool:
        return dict(zip(jobs, pool.map(lambda name: trained(runs, name, jobs[name]), jobs), strict=True))


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what is asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["compare", "search"])
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--only", nargs="+", default=["cartpole", "snake"], help="of `search`")
    parser.add_argument("--at-once", type=int, default=2)
    given = parser.parse_args(arguments)
    if given.what == "compare":
        compare(given.runs, given.seeds or 3, given.at_once)
    else:
        search(given.runs, given.seeds or 10, given.at_once, given.only)


if __name__ == "__main__":
    main()
