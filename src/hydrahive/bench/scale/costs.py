"""What real workers and a real learner take on this machine, and examples of what they give."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numpy as np

from hydrahive.algorithms.base.sharing import Done
from hydrahive.bench.parts import PartsAlone
from hydrahive.core.fragment import FragmentSummary
from hydrahive.core.receipt import Consumed, consumed
from hydrahive.core.state import State
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.roles.env_worker import EnvWorker
from hydrahive.runtime.roles.intake import Intake, Leased
from hydrahive.runtime.roles.learner import Learner

ROUNDS = 3
"""Real rounds before the one that examples are taken from: episodes have begun to end."""

REPEATS = 15
"""Times that a short thing is measured; the median counts."""

VECTORS = 96
"""Gradients that are folded in turn: more than caches hold, as if each came from another process's memory."""

LEARNING_SHARE = 0.8
"""Of the time that a round takes to act, what an update may take: the rest is for whoever hands it over.

Under a lag of 1 the weights of update r act in round r + 2: update r and its handing over hide behind round r + 1.
"""


@dataclass(frozen=True)
class Costs:
    """Seconds that real ones take.

    Attributes:
        acting: A fragment, by an env worker.
        gradients: A fragment's share of an update by one who learns alone, but for `intake`.
        intake: Checking a fragment and hashing it, which today's learner does for all of them itself.
        fold: A slice's gradient that somebody else has found: to look at it, and to add it to the sum.
    """

    acting: float
    gradients: float
    intake: float
    fold: float

    def update(self, fragments: int, helpers: int, *, takes_in: bool) -> float:
        """Seconds of an update of so many fragments, with so many slice workers beside the learner.

        `takes_in`: the learner alone checks and hashes the fragments; else that is spread as gradients are.
        """
        alone = fragments * self.intake if takes_in else 0.0
        spread = fragments * (self.gradients + self.intake) - alone
        return spread / (1 + helpers) + helpers * self.fold + alone

    def helpers(self, shards_per_worker: int, workers: int, *, takes_in: bool) -> int:
        """Slice workers, as many as the update needs to take no longer than acting; else the best number."""
        fragments, most = shards_per_worker * workers, LEARNING_SHARE * shards_per_worker * self.acting
        spread = fragments * (self.gradients + (0.0 if takes_in else self.intake))
        best = max(0, round((spread / self.fold) ** 0.5) - 1)
        enough = (n for n in range(best) if self.update(fragments, n, takes_in=takes_in) <= most)
        return next(enough, best)


@dataclass(frozen=True)
class Examples:
    """What real ones gave at the config's sizes.

    Attributes:
        summary: Of a fragment.
        consumed: What the learner said of it.
        shard: A shard's state.
        weights: A flat vector.
        learner: The learner's state.
        metrics: An update's figures.
    """

    summary: FragmentSummary
    consumed: Consumed
    shard: State
    weights: np.ndarray
    learner: State
    metrics: dict[str, float]


def measured(config: RunConfig, seconds: float) -> tuple[Costs, Examples]:
    """Have a worker's shards simulated and learned in this process for about so long.

    Args:
        config: With as many shards as one worker has.
        seconds: Of stepping, inference and learning; the rest takes a moment.
    """
    parts = PartsAlone(config, "cpu").measure(seconds)
    steps = config.max_steps_per_fragment
    worker, learner = EnvWorker(config, "bench"), Learner(config, "cpu")
    shards = range(config.shards)
    for shard in shards:
        worker.adopt(shard, None)
    for round_ in range(ROUNDS):
        fragments, summaries = worker.simulate(shards, round_, round_, learner.weights())
        weights, learned, _ = learner.update(round_, (), None, fragments)
    leased = [Leased(one.id, one.version, told.env_steps) for one, told in zip(fragments, summaries, strict=True)]
    intake = Intake(config)

    checking = _seconds(lambda: intake.fragments(fragments, leased)) / len(fragments)
    hashing = _seconds(lambda: [consumed(fragment, keep_actions=False) for fragment in fragments]) / len(fragments)
    costs = Costs(
        (parts.stepping + parts.inference) * steps / 1e6,
        max(parts.learning * steps / 1e6 - hashing, 0.0),
        checking + hashing,
        _fold_seconds(weights),
    )
    example = replace(learned.consumed[0][0], actions=None)
    examples = Examples(summaries[0], example, worker.snapshot(0), weights, learner.state(), learned.metrics)
    worker.close()
    return costs, examples


def _fold_seconds(weights: np.ndarray) -> float:
    """Looking at a gradient and adding it; each of many in turn, so that none is in a cache."""
    came = [Done(weights.copy(), np.zeros(4)) for _ in range(VECTORS)]
    total = np.zeros_like(weights)

    def fold() -> None:
        for done in came:
            assert not done.wrong(len(total)), "a gradient"
            np.add(total, done.gradient, out=total)

    return _seconds(fold) / VECTORS


def _seconds(act: Callable[[], Any]) -> float:
    taken = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        act()
        taken.append(time.perf_counter() - began)
    return median(taken)
