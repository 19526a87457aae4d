"""The schedules by name."""

from __future__ import annotations

from hydrahive.runtime.boundary import Boundary
from hydrahive.runtime.config import RunConfig
from hydrahive.runtime.dataflow import Replayed
from hydrahive.runtime.fixed_lag import FixedLag
from hydrahive.runtime.fleet import Fleet
from hydrahive.runtime.free_running import FreeRunning


def schedule_of(
    config: RunConfig, fleet: Fleet, start: Boundary | None, replayed: Replayed | None = None
) -> FixedLag | FreeRunning:
    """The configured schedule, beginning at `start`, whose state the learner already has."""
    kinds: dict[str, type[FixedLag] | type[FreeRunning]] = {"fixed-lag": FixedLag, "free-running": FreeRunning}
    return kinds[config.schedule](fleet, config, start, replayed or Replayed())
