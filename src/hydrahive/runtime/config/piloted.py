"""A run's pilot and its config: what may be moved, and the config that repeats what was decided without it."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

from hydrahive.core.config import require
from hydrahive.core.errors import ConfigError
from hydrahive.pilot.helm import ENTROPY, RATE
from hydrahive.pilot.pilot import Course
from hydrahive.pilot.seen import Move
from hydrahive.pilot.space import Range
from hydrahive.runtime.config.changes import in_force, refuse_fixed, value_of, with_values
from hydrahive.runtime.config.run_config import Change, RunConfig

MOST_TOGETHER = 8
"""Keys of which all ends are tried together."""


def course_of(config: RunConfig, since: int = 0) -> Course:
    """What a run's pilot knows of it, which looks after it from an update on: a fork has changes before that.

    Raises:
        ConfigError: If a key that it searches cannot change inside a run, or has no number to begin with.
    """
    pilot = config.pilot
    assert pilot is not None, "whoever asks has one"
    begin = max((change.from_update for change in config.changes), default=0)
    require(begin <= since, "changes", begin, "none ahead of a pilot, which makes them")
    config = in_force(config, begin)
    values = {key: value_of(config, key) for key in (RATE, ENTROPY) if _may_change(config, key)}
    for key, given in (pilot.search.ranges if pilot.search else {}).items():
        refuse_fixed(config, key)
        require(".init_args" not in key, "pilot.search.space", key, "its key without init_args, as pilots name it")
        value = value_of(config, key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            accepted = "a key whose value is a number to begin with: no schedule, and not null"
            raise ConfigError("pilot.search.space", key, f"{accepted} (it is {value!r})")
        if not given.low <= value <= given.high:
            accepted = f"a range with the run's own value in it, {value:g}"
            raise ConfigError(f"pilot.search.space.{key}", [given.low, given.high], accepted)
        for end in given.extremes():
            with_values(config, {key: end})
        values[key] = value
    _refuse_unfit_together(config, pilot.search.ranges if pilot.search else {})
    return Course(config.boundary_every, config.pilot_lead, config.seed, values)


def _refuse_unfit_together(config: RunConfig, ranges: Mapping[str, Range]) -> None:
    """Refuse ranges whose ends do not go together: the search would come to them in the middle of the run.

    Raises:
        ConfigError: Says which.
    """
    if len(ranges) > MOST_TOGETHER:
        return
    for ends in itertools.product(*(given.extremes() for given in ranges.values())):
        try:
            with_values(config, dict(zip(ranges, ends, strict=True)))
        except ConfigError as error:
            shown = dict(zip(ranges, ends, strict=True))
            raise ConfigError("pilot.search.space", shown, f"ranges whose ends go together ({error})") from None


def _may_change(config: RunConfig, key: str) -> bool:
    return key.partition(".")[2] in config.algorithm.changeable


def steered(config: RunConfig, moves: Sequence[Move]) -> RunConfig:
    """The config with a pilot's moves as changes."""
    changes = [Change(move.from_update, move.key, move.value) for move in moves]
    return dataclasses.replace(config, changes=[*config.changes, *changes])


def repeated(config: RunConfig, moves: Sequence[Move], updates: int) -> RunConfig:
    """What a run of so many updates was steered with, as a config without a pilot: it gives the same bytes."""
    due = [move for move in moves if move.from_update < updates]
    stop = dataclasses.replace(config.stop, updates=updates, seconds=None)
    return dataclasses.replace(steered(config, due), pilot=None, stop=stop)
