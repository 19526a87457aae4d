"""`hydrahive bench scale`: one training for each number of workers, each with as many shards as that has."""

from __future__ import annotations

import dataclasses
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hydrahive.bench.scale.coordinator import CoordinatorProcess
from hydrahive.bench.scale.costs import Costs, Examples, measured
from hydrahive.bench.scale.fleet import WaitingFleet
from hydrahive.bench.scale.report import Point, knee, limits
from hydrahive.core.errors import UsageError
from hydrahive.core.interrupts import Interrupts
from hydrahive.ledger.audit_rules import AuditConfig
from hydrahive.ledger.ledger import FILE
from hydrahive.runtime.accounting.run_accounts import RunAccounts
from hydrahive.runtime.config.machine_class import machine_class
from hydrahive.runtime.config.run_config import CheckpointConfig, RunConfig, StopConfig
from hydrahive.runtime.runs.checkpoints import CheckpointStore
from hydrahive.runtime.runs.run_folder import RunFolder
from hydrahive.runtime.schedule.dataflow import Schedule
from hydrahive.runtime.training.admission import Admitted
from hydrahive.runtime.training.resuming import Found
from hydrahive.runtime.training.train import train_on

MOST_TIMES = 8
"""A point that takes so many times its seconds, for something cannot keep up, ends at its next boundary."""

MANY_STEPS = 2**62
"""Never reached: points end by their updates."""


def bench_scale(
    config: RunConfig, workers: Sequence[int], seconds: float, say: Callable[[str], None], *, takes_in: bool = False
) -> dict[str, Any]:
    """Train with each number of workers, the shards of one worker always as many as the config's.

    The driver, the schedule, the books, the ledger, the checkpoints and the coordinator are the real ones. Workers and
    learner wait as long as real ones were measured to take on this machine, without Ray; how long Ray takes to bring
    them weights, fragments and calls is not in it.

    Args:
        config: A run's, under a fixed lag and without a replay.
        workers: How many, growing.
        seconds: Of a point, about, and of measuring the costs.
        say: Receives progress lines.
        takes_in: The learner alone checks and hashes fragments, as today's does; else those who find gradients do.

    Raises:
        UsageError: If the config is another.
    """
    if config.replay is not None or config.schedule != "fixed-lag":
        raise UsageError("bench scale: expected a config without a replay, of schedule: fixed-lag")
    shards = max(1, config.shards // max(1, config.worker_count()))
    slices = min(config.learner.slices, shards * config.envs_per_shard)
    learner = replace(config.learner, slices=slices, workers=0, device="cpu")
    alone = replace(config, shards=shards, learner=learner)
    costs, examples = measured(alone, seconds)
    points = []
    for count in workers:
        points.append(_point(_config_of(alone, count, costs, seconds, takes_in), count, costs, examples, takes_in))
        say(f"{count} workers  {points[-1].env_steps_per_second:,.0f} env steps/s")
    return {
        "experiment": config.experiment,
        "machine_class": machine_class(alone),
        "shards_per_worker": shards,
        "fragment_env_steps": examples.summary.env_steps,
        "weights": len(examples.weights),
        "learner_takes_in": takes_in,
        "costs_us": {name: 1e6 * value for name, value in dataclasses.asdict(costs).items()},
        "points": [point.as_plain(points[0]) for point in points],
        "knee": knee(points),
        "limits": limits(points[-1], costs, shards),
    }


def _config_of(config: RunConfig, workers: int, costs: Costs, seconds: float, takes_in: bool) -> RunConfig:
    """A run of about so many seconds, with at least one checkpoint inside of what is counted."""
    shards = config.shards * workers
    helpers = costs.helpers(config.shards, workers, takes_in=takes_in)
    round_s = max(config.shards * costs.acting, costs.update(shards, helpers, takes_in=takes_in))
    wanted = max(2, int(seconds / round_s))
    every = min(config.boundary_every, (wanted + 1) // 2)
    checkpoint = min(config.checkpoint.every_boundaries, max(1, wanted // every))
    whole = max(1, wanted // (every * checkpoint)) * every * checkpoint
    return replace(
        config,
        shards=shards,
        boundary_every=every,
        changes=[],
        checkpoint=CheckpointConfig(checkpoint, config.checkpoint.keep),
        ledger=replace(config.ledger, enabled=True),
        audit=AuditConfig(workers="none"),
        stop=StopConfig(env_steps=MANY_STEPS, updates=_before(config) + whole + 2 * _before(config)),
        evaluate_every=0,
        pictures_every=0,
        recording=False,
        loggers=[],
    )


def _before(config: RunConfig) -> int:
    """Updates that are not counted at a run's beginning."""
    return 2 * config.lag + 3


@dataclass
class _Watch:
    """What calls of one kind took the driver.

    Attributes:
        calls: (when it ended, CPU seconds, seconds on the clock without waiting).
    """

    calls: list[tuple[float, float, float]] = field(default_factory=list)

    def within(self, begin: float, end: float) -> tuple[float, float]:
        """CPU seconds and seconds of all calls in a span."""
        inside = [call for call in self.calls if begin < call[0] <= end]
        return sum(cpu for _, cpu, _ in inside), sum(seconds for *_, seconds in inside)


@contextmanager
def _timed(
    owner: type, name: str, fleet: WaitingFleet, when: Callable[..., bool] = lambda *_: True
) -> Iterator[_Watch]:
    """Time calls of a method as long as the block lasts; `when` says of a call's arguments whether it counts."""
    watch, method = _Watch(), getattr(owner, name)

    def timed(*given: Any, **named: Any) -> Any:
        begin, cpu, slept = time.monotonic(), time.thread_time(), fleet.slept
        try:
            return method(*given, **named)
        finally:
            if when(*given):
                end = time.monotonic()
                watch.calls.append((end, time.thread_time() - cpu, end - begin - fleet.slept + slept))

    setattr(owner, name, timed)
    try:
        yield watch
    finally:
        setattr(owner, name, method)


def _point(config: RunConfig, workers: int, costs: Costs, examples: Examples, takes_in: bool) -> Point:
    """Train once, in a folder that is removed."""
    with ExitStack() as stack:
        runs = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hydrahive-scale-")))
        coordinator = stack.enter_context(closing(CoordinatorProcess(runs)))
        run_id = str(uuid.uuid4())
        fleet = WaitingFleet(config, run_id, workers, costs, examples, coordinator, takes_in=takes_in)
        hire_s = coordinator.hire(fleet.members())
        cuts = [
            stack.enter_context(_timed(Schedule, "snapshot_shards", fleet)),
            stack.enter_context(_timed(Schedule, "settled", fleet, lambda _, pending: pending.cut is not None)),
        ]
        writes = [
            stack.enter_context(_timed(owner, name, fleet))
            for owner, name in ((RunAccounts, "seal"), (RunAccounts, "outbox"), (CheckpointStore, "write"))
        ]
        begun = stack.enter_context(_timed(Schedule, "__init__", fleet))
        run = Admitted(config, RunFolder(runs / "scale"), run_id, "scale", Found(), runs / FILE, quiet=True)
        before = coordinator.cpu_seconds()
        summary = train_on(fleet, run, Interrupts())
        assert summary is not None, "nobody asks it to stop"
        spent = coordinator.cpu_seconds() - before
    hire_s += sum(seconds for *_, seconds in begun.calls)
    return _counted(fleet, config, summary["ledger"], cuts, writes, hire_s, spent)


def _counted(
    fleet: WaitingFleet,
    config: RunConfig,
    ledger: dict[str, Any],
    cuts: Sequence[_Watch],
    writes: Sequence[_Watch],
    hire_s: float,
    coordinator_s: float,
) -> Point:
    """The figures of the updates that count: whole periods of checkpoints."""
    before = _before(config)
    first, last = fleet.samples[before], fleet.samples[-1 - 2 * before]
    updates, seconds = last.update - first.update, last.seconds - first.seconds
    span = first.seconds, last.seconds
    (cut_cpu, cut_s), (write_cpu, write_s) = (
        tuple(map(sum, zip(*(watch.within(*span) for watch in watches), strict=True))) for watches in (cuts, writes)
    )
    boundaries = updates / config.boundary_every
    checkpoints = boundaries / config.checkpoint.every_boundaries
    fragments, cpu = updates * config.shards, last.cpu_seconds - first.cpu_seconds
    return Point(
        workers=fleet.worker_count,
        slice_workers=fleet.slice_workers,
        shards=config.shards,
        updates=updates,
        seconds=seconds,
        env_steps_per_second=(last.env_steps - first.env_steps) / seconds,
        driver_share=cpu / seconds,
        driver_busy=1 - (last.slept - first.slept) / seconds,
        driver_us_per_fragment=1e6 * (cpu - cut_cpu - write_cpu) / fragments,
        driver_us_per_fragment_in_all=1e6 * cpu / fragments,
        process_share=(last.process_seconds - first.process_seconds) / seconds,
        coordinator_share=coordinator_s / (fleet.samples[-1].seconds - fleet.samples[0].seconds),
        learner_share=(last.learner_seconds - first.learner_seconds) / seconds,
        boundary_every=config.boundary_every,
        boundary_ms=1e3 * cut_s / boundaries,
        boundary_share=(cut_s + write_s) / seconds,
        checkpoint_every=config.checkpoint.every_boundaries,
        checkpoint_ms=1e3 * write_s / checkpoints,
        hire_ms=1e3 * hire_s,
        conservation_difference=int(ledger["conservation_difference"]),
        outstanding_receipts=int(ledger["outstanding_receipts"]),
        credited_env_steps=int(ledger["credited_env_steps"]),
    )
