"""The run's objects and how they are called: inline in this process, or as Ray actors.

A fleet hands out references; a reference may be passed on to another call before it is ready. The Trainer
schedules, the fleet only carries out, so both fleets run the very same dataflow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NewType, Protocol

from hydrahive.core.state import State
from hydrahive.runtime.config import RunConfig
from hydrahive.runtime.env_worker import WORKER_THREADS, EnvWorker
from hydrahive.runtime.evaluation import evaluate_weights
from hydrahive.runtime.learner import Learner
from hydrahive.runtime.machine_class import prepare_torch

Ref = NewType("Ref", object)
"""A value that may still be in the making; only the fleet that gave it can open it."""


class Fleet(Protocol):
    """A learner and workers that hold all shards of a run."""

    worker_count: int

    def machine_class(self) -> str:
        """The machine class that all members share."""

    def place_shards(self, states: Sequence[State | None]) -> None:
        """Hand every shard to a worker, from its first round or from a snapshot."""

    def restore_learner(self, state: State, *, weights_only: bool = False) -> None:
        """Give the learner a state; `weights_only` keeps its fresh optimizer and counters."""

    def weights(self) -> Ref:
        """The learner's current weights, `Ref` of a flat vector."""

    def put(self, value: Any) -> Ref:
        """A reference to a value of this process."""

    def groups(self) -> list[tuple[int, ...]]:
        """The shards by the worker that holds them."""

    def simulate(self, group: tuple[int, ...], round_: int, version: int, weights: Ref) -> tuple[Ref, Ref]:
        """Have a group's fragments of a round computed: references to the lists of fragments and of summaries."""

    def update(self, version: int, parts: Sequence[Ref]) -> tuple[Ref, Ref]:
        """Have a round learned: references to the next version's weights and to the update's figures."""

    def snapshot(self, shard: int) -> Ref:
        """The shard's state after all calls made so far."""

    def learner_state(self) -> Ref:
        """The learner's state after all calls made so far."""

    def evaluate(self, weights: Ref) -> Ref:
        """Have the greedy policy evaluated on held-out seeds: `Ref` of an `Evaluation`."""

    def ready(self, refs: Sequence[Ref], timeout_s: float | None) -> bool:
        """Wait until all are ready; False if that takes longer than `timeout_s`."""

    def any_ready(self, refs: Sequence[Ref]) -> list[Ref]:
        """Wait until at least one is ready and give those that are."""

    def get(self, ref: Ref) -> Any:
        """The value; raises what its making raised."""

    def close(self) -> None:
        """End all members."""


class InlineFleet:
    """The same objects in this process, each call carried out at once; no Ray."""

    worker_count = 0

    def __init__(self, config: RunConfig, run_id: str, device: str) -> None:
        """Build the learner and one worker."""
        self._config = config
        prepare_torch(config, config.learner.threads)  # also the initial weights depend on it
        self._learner = Learner(config, device)
        self._worker = EnvWorker(config, run_id)

    def machine_class(self) -> str:
        """The machine class of this process."""
        return self._learner.machine_class()

    def place_shards(self, states: Sequence[State | None]) -> None:
        """Hand every shard to the one worker."""
        for shard, state in enumerate(states):
            self._worker.adopt(shard, state)

    def restore_learner(self, state: State, *, weights_only: bool = False) -> None:
        """Give the learner a state."""
        (self._learner.load_weights if weights_only else self._learner.restore)(state)

    def weights(self) -> Ref:
        """The learner's current weights."""
        return Ref(self._learner.weights())

    def put(self, value: Any) -> Ref:
        """The value itself."""
        return Ref(value)

    def groups(self) -> list[tuple[int, ...]]:
        """All shards together."""
        return [tuple(range(self._config.shards))]

    def simulate(self, group: tuple[int, ...], round_: int, version: int, weights: Ref) -> tuple[Ref, Ref]:
        """Compute a group's fragments."""
        prepare_torch(self._config, WORKER_THREADS)
        fragments, summaries = self._worker.simulate(group, round_, version, self.get(weights))
        return Ref(fragments), Ref(summaries)

    def update(self, version: int, parts: Sequence[Ref]) -> tuple[Ref, Ref]:
        """Learn a round."""
        prepare_torch(self._config, self._config.learner.threads)
        weights, metrics = self._learner.update(version, *(self.get(part) for part in parts))
        return Ref(weights), Ref(metrics)

    def snapshot(self, shard: int) -> Ref:
        """The shard's state."""
        return Ref(self._worker.snapshot(shard))

    def learner_state(self) -> Ref:
        """The learner's state."""
        return Ref(self._learner.state())

    def evaluate(self, weights: Ref) -> Ref:
        """Evaluate the greedy policy."""
        return Ref(evaluate_weights(self._config, self.get(weights), self._config.evaluate_episodes))

    def ready(self, refs: Sequence[Ref], timeout_s: float | None) -> bool:
        """Always: every call is carried out at once."""
        return True

    def any_ready(self, refs: Sequence[Ref]) -> list[Ref]:
        """All of them."""
        return list(refs)

    def get(self, ref: Ref) -> Any:
        """The value, which the reference is."""
        return ref

    def close(self) -> None:
        """Nothing outlives this process."""
