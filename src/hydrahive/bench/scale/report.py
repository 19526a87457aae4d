"""What a bench of scale says: a point's figures, a table for people, and the knee."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hydrahive.bench.scale.costs import Costs

GOOD = 0.9
"""Weak-scaling efficiency below which scaling has ended."""


@dataclass(frozen=True)
class Point:
    """A training with so many workers.

    Attributes:
        workers: Env workers.
        slice_workers: Who find gradients beside the learner.
        shards: Fragments of a round.
        updates: That were counted.
        seconds: They took.
        env_steps_per_second: Handed over to the learner.
        driver_share: CPU time of the driver's thread over time.
        driver_busy: Of the time, that the driver does not wait for workers or learner; disks and cores it may wait for.
        driver_us_per_fragment: CPU time of the driver's thread, without boundaries and checkpoints.
        driver_us_per_fragment_in_all: With them.
        process_share: CPU time of all of the driver's threads over time, as those that hash checkpoints.
        coordinator_share: CPU time that the coordinator needs for the run over the time that the run takes; above 1 it
            falls behind, and so does payment.
        learner_share: Of the time, that the learner is at work.
        boundary_every: Updates between boundaries.
        boundary_ms: Time on the clock for a boundary, but for waiting: taking the shards and putting all together.
        boundary_share: Of the time, that the driver is at boundaries and checkpoints.
        checkpoint_every: Boundaries between checkpoints.
        checkpoint_ms: Likewise for a checkpoint besides: sealing the books, hashing and writing.
        hire_ms: Registering all members, and handing out the shards.
        conservation_difference: Env steps, and rows of gradients, that the ledger does not account for.
        outstanding_receipts: That the ledger had not answered in the end.
        credited_env_steps: That it has paid.
    """

    workers: int
    slice_workers: int
    shards: int
    updates: int
    seconds: float
    env_steps_per_second: float
    driver_share: float
    driver_busy: float
    driver_us_per_fragment: float
    driver_us_per_fragment_in_all: float
    process_share: float
    coordinator_share: float
    learner_share: float
    boundary_every: int
    boundary_ms: float
    boundary_share: float
    checkpoint_every: int
    checkpoint_ms: float
    hire_ms: float
    conservation_difference: int
    outstanding_receipts: int
    credited_env_steps: int

    def efficiency(self, first: Point) -> float:
        """Speed of a worker over that of a worker of the first point."""
        return self.env_steps_per_second / self.workers / (first.env_steps_per_second / first.workers)

    def as_plain(self, first: Point) -> dict[str, Any]:
        """As JSON holds it."""
        return {**asdict(self), "efficiency": self.efficiency(first)}

    def loads(self) -> dict[str, float]:
        """How busy those are whom a round may wait for."""
        return {"driver": self.driver_busy, "learner": self.learner_share}


def knee(points: Sequence[Point]) -> dict[str, Any] | None:
    """The first point that scales badly, and whose load has grown most up to there; None if all scale well.

    A learner whose slice workers are just enough is always rather busy, so it is no load as such that tells.
    """
    for point in points:
        if point.efficiency(points[0]) < GOOD:
            loads, before = point.loads(), points[0].loads()
            binds = max(loads, key=lambda name: loads[name] - before[name])
            return {
                "workers": point.workers,
                "binds": binds,
                "share": loads[binds],
                "boundary_share": point.boundary_share,
            }
    return None


def limits(last: Point, costs: Costs, shards_per_worker: int) -> dict[str, int]:
    """How many workers keep each busy all the time, by its costs alone as measured with the most workers.

    Acting is what the others must keep up with, so a fragment's acting time is what each has for a worker's fragment.
    """
    round_s = shards_per_worker * costs.acting
    us = {
        "driver": last.driver_us_per_fragment_in_all * shards_per_worker,
        "coordinator": 1e6 * last.coordinator_share * last.seconds / last.updates / last.workers,
        "folding": 1e6 * costs.fold * shards_per_worker * (costs.gradients + costs.intake) / round_s,
        "intake": 1e6 * costs.intake * shards_per_worker,
    }
    return {name: int(1e6 * round_s / cost) for name, cost in us.items() if cost > 0}


HEADS = (
    ("workers", 8),
    ("slice", 6),
    ("env steps/s", 13),
    ("efficiency", 11),
    ("driver", 8),
    ("us/fragment", 12),
    ("learner", 8),
    ("coordinator", 12),
    ("ms/boundary", 12),
    ("ms/checkpoint", 14),
    ("ms/hiring", 10),
)
"""Columns and their widths."""


def scale_text(name: str, report: dict[str, Any]) -> str:
    """The report for people."""
    costs = report["costs_us"]
    each = ", ".join(f"{what} {costs[what] / 1e3:.2f}" for what in ("acting", "gradients", "intake"))
    lines = [
        f"{name}, {report['shards_per_worker']} shards a worker; alone, ms a fragment: {each}; "
        f"{costs['fold']:.0f} us to fold a gradient of {report['weights']:,} numbers",
        "".join(f"{head:>{width}}" for head, width in HEADS),
    ]
    for point in report["points"]:
        cells = (
            f"{point['workers']:,}",
            f"{point['slice_workers']:,}",
            f"{point['env_steps_per_second']:,.0f}",
            f"{point['efficiency']:.2f}",
            f"{point['driver_share']:.1%}",
            f"{point['driver_us_per_fragment']:.1f}",
            f"{point['learner_share']:.1%}",
            f"{point['coordinator_share']:.1%}",
            f"{point['boundary_ms']:.1f}",
            f"{point['checkpoint_ms']:.1f}",
            f"{point['hire_ms']:.1f}",
        )
        lines.append("".join(f"{cell:>{width}}" for cell, (_, width) in zip(cells, HEADS, strict=True)))
    return "\n".join([*lines, *_sentences(report)])


def _sentences(report: dict[str, Any]) -> list[str]:
    """The knee, and how far each could go."""
    found, last = report["knee"], report["points"][-1]["workers"]
    if found is None:
        said = f"no knee up to {last:,} workers: each is at least {GOOD} as fast as one of the first point"
    else:
        said = (
            f"knee: with {found['workers']:,} workers each is less than {GOOD} as fast; "
            f"the {found['binds']} binds, which is busy {found['share']:.0%} of the time"
            f" (the driver is at boundaries and checkpoints {found['boundary_share']:.0%} of it)"
        )
    limits = report["limits"]
    busy = ", ".join(f"{name} {limits[name]:,}" for name in ("driver", "coordinator", "folding") if name in limits)
    how = "is" if report["learner_takes_in"] else "would be"
    intake = f"; a learner that checks and hashes all fragments itself {how} so from {limits['intake']:,} on"
    return [said, f"busy all the time, by their costs alone, at so many workers: {busy}{intake}"]
