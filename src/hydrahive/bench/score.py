"""Time to a score: seconds and env steps of training until a greedy policy is as good as asked, and stays so."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from hydrahive.bench.statistics import ratio_interval
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.roles.evaluation import evaluate_weights
from hydrahive.runtime.schedule.schedules import schedule_of
from hydrahive.runtime.training.clock import Clock
from hydrahive.runtime.training.gathering import gathered_fleet

EPISODES = 100
"""Held-out episodes of a look."""

MUST_HOLD = 3
"""Looks after the first at the mark that must be at it, too."""

LOOKS = 50
"""Looks at a run, unless it is said how far apart they lie."""


@dataclass(frozen=True)
class Look:
    """A greedy evaluation during training; its own time does not count.

    Attributes:
        seconds: Of training so far.
        env_steps: Likewise.
        mean: Over `EPISODES` held-out episodes.
    """

    seconds: float
    env_steps: int
    mean: float


class Learner(Protocol):
    """Trains with one seed and is looked at."""

    def __call__(self, seed: int, every: int) -> Iterator[Look]:
        """A look every so many env steps, until the training's own end."""


def first_that_holds(looks: Iterator[Look], mark: float, say: Callable[[Look], None]) -> Look | None:
    """The first look at the mark that the next `MUST_HOLD` hold; None if there is none before the training's end."""
    held: list[Look] = []
    for look in looks:
        say(look)
        held = [*held, look] if look.mean >= mark else []
        if len(held) > MUST_HOLD:
            return held[0]
    return None


def ours(config: RunConfig) -> Learner:
    """This config's training."""

    def looks(seed: int, every: int) -> Iterator[Look]:
        run = dataclasses.replace(config, seed=seed, evaluate_actions="greedy")
        with gathered_fleet(run, f"score-{seed}", f"score-s{seed}", None) as fleet:
            clock, due = Clock(), every
            for update in schedule_of(run, fleet, None).updates():
                steps = update.progress.env_steps
                if steps < due:
                    continue
                seconds, due = clock.seconds, (steps // every + 1) * every
                mean = float(evaluate_weights(run, fleet.get(update.weights), EPISODES).scores.mean())
                clock.leave_out(clock.seconds - seconds)
                yield Look(seconds, steps, mean)

    return looks


def bench_score(
    contenders: dict[str, Learner],
    mark: float,
    seeds: Sequence[int],
    every: int,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Train with each seed in turn, contender by contender, until the mark is reached and held.

    Args:
        contenders: By name; the first is what the others are compared with.
        mark: The greedy mean that is asked.
        seeds: Of the trainings.
        every: Env steps between two looks.
        say: Is told how it goes.
    """
    reached: dict[str, list[Look | None]] = {name: [] for name in contenders}
    curves: dict[str, list[list[dict[str, Any]]]] = {name: [] for name in contenders}
    for seed in seeds:
        for name, learner in contenders.items():
            seen: list[dict[str, Any]] = []
            curves[name].append(seen)

            def told(look: Look, name: str = name, seed: int = seed, seen: list[dict[str, Any]] = seen) -> None:
                seen.append(asdict(look))
                say(f"{name} seed {seed}: {look.env_steps:>9,} steps {look.seconds:>8.2f} s  mean {look.mean:.2f}")

            looks = learner(seed, every)
            reached[name].append(first_that_holds(looks, mark, told))
    return {"mark": mark, "every": every, "seeds": list(seeds), **_report(reached), "curves": curves}


def _report(reached: dict[str, list[Look | None]]) -> dict[str, Any]:
    """Each contender's seconds and steps, their medians, and the ratio of seconds to the first's."""
    found: dict[str, Any] = {}
    for name, looks in reached.items():
        whole = [look for look in looks if look is not None]
        all_did = len(whole) == len(looks)
        found[name] = {
            "looks": [None if look is None else asdict(look) for look in looks],
            "reached": len(whole),
            "seconds": statistics.median(look.seconds for look in whole) if all_did else None,
            "env_steps": statistics.median(look.env_steps for look in whole) if all_did else None,
        }
    first, *others = reached
    ratios = {
        name: ratio_interval(*([look.seconds for look in reached[one] if look] for one in (first, name)))
        for name in others
        if all(found[one]["seconds"] is not None for one in (first, name))
    }
    return {"contenders": found, "seconds_of": ratios}


def score_text(experiment: str, report: dict[str, Any]) -> str:
    """The report for people."""
    seeds = len(report["seeds"])
    lines = [f"{experiment}: a greedy mean of {report['mark']:g} over {EPISODES} held-out episodes, {seeds} seeds"]
    for name, found in report["contenders"].items():
        if found["seconds"] is None:
            lines.append(f"  {name:<10} reached and held it with {found['reached']} of {seeds} seeds")
            continue
        each = ", ".join(f"{look['seconds']:.1f}" for look in found["looks"])
        line = f"  {name:<10} {found['seconds']:>7.1f} s ({each})  {found['env_steps']:>10,.0f} env steps"
        if ratio := report["seconds_of"].get(name):
            low, high = ratio["ratio_low"], ratio["ratio_high"]
            line += f"   hydrahive takes {ratio['ratio']:.2f} of its time (95% interval {low:.2f} to {high:.2f})"
        lines.append(line)
    return "\n".join(lines)
