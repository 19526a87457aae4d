"""The schedules by name."""

from __future__ import annotations

from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.fleet.interface import Fleet
from hydrahive.runtime.runs.boundary import Boundary
from hydrahive.runtime.schedule.dataflow import Replayed
from hydrahive.runtime.schedule.fixed_lag import FixedLag
from hydrahive.runtime.schedule.free_running import FreeRunning
from hydrahive.runtime.schedule.iterations import Iterations


def schedule_of(
    config: RunConfig, fleet: Fleet, start: Boundary | None, replayed: Replayed | None = None
) -> FixedLag | FreeRunning | Iterations:
    """The configured schedule, beginning at `start`, whose state the learner already has."""
    kinds: dict[str, type[FixedLag] | type[FreeRunning] | type[Iterations]] = {
        "fixed-lag": FixedLag,
        "free-running": FreeRunning,
        "rllib": Iterations,
    }
    return kinds[config.schedule](fleet, config, start, replayed or Replayed())
