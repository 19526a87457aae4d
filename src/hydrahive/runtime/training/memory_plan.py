"""How much memory a run's data in flight can take, said before it starts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from hydrahive.core.errors import UsageError
from hydrahive.core.replayed import Told
from hydrahive.policies.flat_weights import FlatWeights
from hydrahive.replay.episodes import Layout
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.roles.env_worker import build_network
from hydrahive.runtime.roles.replay import replay_layout

MOST_OF_STORE = 0.6
"""Share of the object store that a run may plan for; Ray spills to disk above four fifths."""

MOST_OF_MEMORY = 0.7
"""Share of the memory that an inline run may plan for; libraries and gradients take their part of the rest."""

MANY = 10**9
"""Episodes in a round, and env steps before one: more than any has."""

MOST_WAITING = 4
"""Boundaries that wait for their audits at most; then the run waits, too."""


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes of one round's fragments, of one weights version, and of all that can be in flight at once.

    `kept_versions` are the weights versions from which lost shards are replayed: those since the last boundary.
    `replay_bytes` are a replay's finished episodes, and those under way at most as much again; the driver keeps both a
    second time, and they pass through the object store when a run goes on from a boundary.
    """

    round_bytes: int
    version_bytes: int
    in_flight_bytes: int
    kept_versions: int
    replay_bytes: int = 0

    def refuse_above(self, object_store_bytes: int) -> None:
        """Refuse a run that would fill the object store.

        Raises:
            UsageError: Says how much is planned and how much there is.
        """
        limit = MOST_OF_STORE * object_store_bytes
        planned = self.in_flight_bytes + self.replay_bytes
        if planned > limit:
            what = "shards, envs_per_shard, fragment_length and lag"
            raise UsageError(
                f"{what}{' and replay' if self.replay_bytes else ''}: {_mib(planned)} would be in flight; "
                f"the object store of {_mib(object_store_bytes)} takes at most {_mib(limit)}"
            )

    def refuse_inline_above(self, memory_bytes: int) -> None:
        """Refuse a run in this process that would fill what memory it may use.

        Raises:
            UsageError: Says how much is planned and how much there is.
        """
        planned = self.in_flight_bytes + 2 * self.replay_bytes
        if planned > MOST_OF_MEMORY * memory_bytes:
            what = "shards, envs_per_shard, fragment_length and lag"
            raise UsageError(
                f"{what}{' and replay' if self.replay_bytes else ''}: {_mib(planned)} would be in memory; this process "
                f"may use {_mib(memory_bytes)}, of which that may be {MOST_OF_MEMORY:.0%}"
            )

    def refuse_versions_above(self, limit_mb: int) -> None:
        """Refuse a run whose weights since the last boundary would fill more than `limit_mb` MiB.

        Raises:
            UsageError: Says how much they would fill.
        """
        kept = self.kept_versions * self.version_bytes
        if kept > limit_mb * 2**20:
            raise UsageError(
                f"boundary_every and lag: the weights since the last boundary would fill {_mib(kept)}; "
                f"faults.kept_versions_mb allows {limit_mb}"
            )

    def waiting_boundaries(self, boundary_every: int, limit_mb: int) -> int:
        """How many boundaries may wait for their audits, which need the weights that led to them: at least one."""
        room = limit_mb * 2**20 / max(self.version_bytes, 1) - self.kept_versions
        return max(1, min(MOST_WAITING, int(room) // boundary_every))

    def __str__(self) -> str:
        """One line for the start of a run."""
        replay = f", {_mib(2 * self.replay_bytes)} of replay at most, twice" if self.replay_bytes else ""
        return f"{_mib(self.in_flight_bytes)} in flight at most ({_mib(self.round_bytes)} a round){replay}"


def weights_bytes(config: RunConfig) -> int:
    """Bytes of one weights version."""
    return FlatWeights(build_network(config, torch.Generator())).vector.nbytes


def memory_plan(config: RunConfig, weights_bytes: int) -> MemoryPlan:
    """What a run with this config keeps in flight: rounds being simulated, waiting and learned, and their weights."""
    if config.schedule == "rllib":  # which plans for itself
        return MemoryPlan(0, weights_bytes, 0, 0)
    layout = replay_layout(config)
    row_bytes = math.prod(layout.observation_shape) * layout.observation_dtype.itemsize // layout.stack
    memory_bytes = 4 * layout.memory
    states_every = (config.replay.keeps_memory_every if config.replay else None) or config.fragment_length
    step_bytes = row_bytes + 8 + 4 * layout.parameters + 4 + 3
    columns = config.shards * config.envs_per_shard
    of_column = config.fragment_length * step_bytes + layout.stack * row_bytes
    round_bytes = columns * (of_column + memory_bytes * (1 + config.fragment_length // states_every))
    # Rounds ahead are lag + 1; one more is held by the update under way.
    rounds, versions = config.lag + 2, config.lag + 3
    # A boundary is closed up to lag + 1 updates after it was passed; the lag's versions before it are needed too.
    kept = config.boundary_every + 2 * config.lag + 2
    in_flight = rounds * round_bytes + versions * weights_bytes
    replay_bytes = 0
    if config.replay is not None:
        replay_bytes = config.replay.stored_bytes(layout)
        # A sample for each update under way, and at each cut under way what was stored since the one before.
        cuts = 1 + (config.lag + 2) // config.boundary_every
        stored = min(config.boundary_every * round_bytes, replay_bytes)
        in_flight += rounds * _sample_bytes(config, layout) + cuts * stored
    return MemoryPlan(round_bytes, weights_bytes, in_flight, kept, replay_bytes)


def _sample_bytes(config: RunConfig, layout: Layout) -> int:
    """Of the largest sample."""
    assert config.replay is not None, "only a replay is sampled"
    draw = config.algorithm.wants(Told(MANY + config.max_steps_per_round, MANY, MANY))
    if draw is not None and draw.size is not None:
        row = layout.frame_bytes + math.prod(layout.observation_shape) * layout.observation_dtype.itemsize
        return draw.batches * draw.size * (row + layout.masks + 4 * layout.steps)
    frames, batches = (config.replayed_frames, 1) if draw is None else (None, draw.batches)
    return config.replay.drawn_rows(config.policy.memory_size, frames, batches) * layout.frame_bytes


def _mib(count: float) -> str:
    return f"{count / 2**20:,.1f} MiB"
