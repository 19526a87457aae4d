"""A fleet whose workers and learner only wait: they give copies of what real ones gave, when those would."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hydrahive.bench.scale.coordinator import CoordinatorProcess, PipedLine
from hydrahive.bench.scale.costs import Costs, Examples
from hydrahive.core.receipt import Consumed
from hydrahive.core.state import State
from hydrahive.ledger.posting import WorkerFacts
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.coordinator.registry import Member
from hydrahive.runtime.fleet.inline import InlineFleet
from hydrahive.runtime.fleet.ledger_line import LedgerLine
from hydrahive.runtime.fleet.refs import Ref, Stock
from hydrahive.runtime.roles.intake import Leased
from hydrahive.runtime.roles.learner import Learned
from hydrahive.runtime.roles.slices import Helped
from hydrahive.runtime.runs.run_user import run_user

CALL_SECONDS = 1.0
"""Time between two calls of the coordinator, as of a fleet on Ray."""

NODE = 64
"""Workers of one node."""


class Later:
    """A value that is ready at a time on the monotonic clock; made when it is opened."""

    __slots__ = ("at", "make")

    def __init__(self, at: float, make: Callable[[], Any]) -> None:
        """Be ready at `at`."""
        self.at, self.make = at, make


@dataclass(frozen=True)
class Sample:
    """Where the driver is as it hands an update over.

    Attributes:
        update: Which.
        seconds: On the clock.
        cpu_seconds: Of the driver's thread.
        process_seconds: CPU time of its whole process.
        env_steps: Handed over before it.
        learner_seconds: That the learner was at work for them.
        slept: Seconds that the driver has waited so far.
    """

    update: int
    seconds: float
    cpu_seconds: float
    process_seconds: float
    env_steps: int
    learner_seconds: float
    slept: float


class WaitingFleet(InlineFleet):
    """Many workers and a learner that take their time, and none of this machine's.

    What the driver would spend in Ray, for calls and for opening what came, is not in it; it makes the objects that it
    is given itself.

    Attributes:
        samples: One for each update.
        slept: Seconds that the driver has waited.
    """

    def __init__(
        self,
        config: RunConfig,
        run_id: str,
        workers: int,
        costs: Costs,
        examples: Examples,
        coordinator: CoordinatorProcess,
        *,
        takes_in: bool,
    ) -> None:
        """Have so many workers, free from now on; `takes_in` as `Costs.update`."""
        super().__init__(config, run_id, "cpu")
        self._workers, self._costs, self._examples = list(range(workers)), costs, examples
        self._coordinator, self._takes_in = coordinator, takes_in
        self.slice_workers = costs.helpers(config.shards // workers, workers, takes_in=takes_in)
        user, everyone = run_user(), range(workers + self.slice_workers)
        self._names = [WorkerFacts(f"w{worker}", user, f"node-{worker // NODE}") for worker in everyone]
        # What a worker says of a fragment names its shard only, so it is the same in each round.
        self._said = [[replace(examples.summary, shard=shard)] for shard in range(config.shards)]
        self._free, self._learner_free, self._learner_seconds = [0.0] * workers, 0.0, 0.0
        self._rounds: dict[int, int] = {}
        self._homes: dict[int, int] = {}
        self._call: int | None = None
        self._called_at = 0.0
        self._env_steps = 0
        self.samples: list[Sample] = []
        self.slept = 0.0

    @property
    def worker_count(self) -> int:  # type: ignore[override]
        """All of them."""
        return len(self._workers)

    def members(self) -> list[Member]:
        """The workers and slice workers as the coordinator knows them."""
        machine_class, run_id = self.machine_class(), self.run_id
        return [
            Member(
                f"{run_id}/{one.name}", run_id, "env-worker", one.owner, one.node, "127.0.0.1", number, machine_class
            )
            for number, one in enumerate(self._names)
        ]

    def workers(self) -> list[int]:
        """All of them."""
        return self._workers

    def facts(self, worker: int) -> WorkerFacts:
        """A worker, or slice worker, of the run's user."""
        return self._names[worker]

    @property
    def may_audit(self) -> bool:
        """Nobody."""
        return False

    def audits(self, worker: WorkerFacts) -> bool:
        """Nobody."""
        return False

    def adopt(self, worker: int, shard: int, state: State | Ref | None) -> None:
        """A shard begins."""
        self._rounds[shard] = 0

    def simulate(self, worker: int, shards: Sequence[int], round_: int, version: int, weights: Ref) -> tuple[Ref, Ref]:
        """Fragments, once the worker is free, the weights are there, and the time has passed."""
        begin = max(time.monotonic(), self._free[worker], _at(weights))
        self._free[worker] = at = begin + len(shards) * self._costs.acting
        for shard in shards:
            self._rounds[shard] = round_ + 1
        made = Ref(Later(at, partial(self._summaries, shards)))
        return made, made

    def _summaries(self, shards: Sequence[int]) -> list[Any]:
        return [summary for shard in shards for summary in self._said[shard]]

    def update(
        self,
        version: int,
        parts: Sequence[Ref],
        leased: Sequence[Sequence[Leased]],
        sample: Ref | None,
        *,
        keep_actions: Sequence[bool],
    ) -> tuple[Ref, Ref, Ref]:
        """The next version, once the learner is free, the parts are there, and the time has passed."""
        now = time.monotonic()
        steps = sum(one.env_steps for part in leased for one in part)
        self.samples.append(
            Sample(
                version,
                now,
                time.thread_time(),
                time.process_time(),
                self._env_steps,
                self._learner_seconds,
                self.slept,
            )
        )
        begin = max(now, self._learner_free, max(map(_at, parts)))
        took = self._costs.update(self._config.shards, self.slice_workers, takes_in=self._takes_in)
        self._learner_free = at = begin + took
        self._env_steps += steps
        self._learner_seconds += took
        learned = Later(at, partial(self._learned, version, leased, steps, took))
        return Ref(Later(at, self._vector)), Ref(learned), Ref(Later(at, _nothing))

    def _learned(self, version: int, leased: Sequence[Sequence[Leased]], steps: int, took: float) -> Learned:
        seen, acted = self._examples.consumed.seen, self._examples.consumed.acted
        said = tuple(tuple(Consumed(one.id, one.env_steps, seen, acted) for one in part) for part in leased)
        lag = version - leased[0][0].version
        metrics = self._examples.metrics | {"lag": float(lag), "lag_max": lag, "learn_seconds": took}
        rows = steps // (1 + self.slice_workers)
        slicers = range(len(self._workers), len(self._names))
        return Learned(metrics, said, tuple(Helped(worker, rows, 1) for worker in slicers))

    def _vector(self) -> np.ndarray:
        return self._examples.weights

    def weights(self) -> Ref:
        """Those that the run begins with."""
        return Ref(Later(0.0, self._vector))

    def put(self, value: Any) -> Ref:
        """A value that is there."""
        return Ref(Later(0.0, lambda: value))

    def snapshot(self, worker: int, shard: int) -> Ref:
        """A shard's state, once its worker is free."""
        return self.snapshots(worker, [shard])[0]

    def snapshots(self, worker: int, shards: Sequence[int]) -> list[Ref]:
        """Likewise of several shards."""
        at = self._free[worker]
        return [Ref(Later(at, partial(self._shard, self._rounds[shard]))) for shard in shards]

    def _shard(self, round_: int) -> State:
        return self._examples.shard | {"round": np.array([round_], np.int64)}

    def learner_state(self) -> Ref:
        """The learner's state, once it is free."""
        counters = self._examples.learner["counters"].copy()
        counters[0] = self.samples[-1].update + 1
        return Ref(Later(self._learner_free, lambda: self._examples.learner | {"counters": counters}))

    def ready(self, refs: Sequence[Ref], timeout_s: float | None) -> bool:
        """Wait until all are ready, but not longer than `timeout_s`."""
        at = max(map(_at, refs), default=0.0)
        until = at if timeout_s is None else min(at, time.monotonic() + timeout_s)
        self._sleep_until(until)
        return until >= at

    def first_ready(self, refs: Sequence[Ref]) -> int:
        """Wait for the first."""
        place = min(range(len(refs)), key=lambda i: _at(refs[i]))
        self._sleep_until(_at(refs[place]))
        return place

    def get(self, ref: Ref) -> Any:
        """The value, once it is ready."""
        assert isinstance(ref, Later), "as this fleet gives them"
        self._sleep_until(ref.at)
        return ref.make()

    def _sleep_until(self, at: float) -> None:
        pause = at - time.monotonic()
        if pause > 0:
            self.slept += pause
            time.sleep(pause)

    def stock(self) -> Stock:
        """Never asked for: nothing is ever lost."""
        raise AssertionError("nothing is lost")

    def tend(self, env_steps: int, *, paused: bool = False) -> str | None:
        """Call the coordinator now and then, which tells how everybody is."""
        now = time.monotonic()
        if now - self._called_at < CALL_SECONDS:
            return None
        self._called_at = now
        if self._call is not None:
            if not self._coordinator.is_answered(self._call):
                return None
            self._coordinator.answer(self._call)
        self._call = self._coordinator.call("call", self.run_id, "scale", "running", env_steps)
        return None

    def note_homes(self, homes: Mapping[int, int], round_: int) -> None:
        """Have the leases written down that are new."""
        moved = {shard: self._names[worker].name for shard, worker in homes.items() if self._homes.get(shard) != worker}
        self._homes = dict(homes)
        self._coordinator.tell("lease", self.run_id, moved, round_)

    def conditions(self) -> Mapping[str, str]:
        """All live."""
        return {one.name: "alive" for one in self._names}

    def ledger_line(self, path: Path | None) -> LedgerLine:
        """The coordinator's."""
        assert path is not None, "a folder of runs has one"
        return PipedLine(self._coordinator, path)


def _at(ref: Ref) -> float:
    assert isinstance(ref, Later), "as this fleet gives them"
    return ref.at


def _nothing() -> None:
    """What was judged where nothing is replayed."""
