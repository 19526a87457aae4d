"""Whether an environment's snapshots hold all of it: taken in the middle of episodes, and behind their ends."""

from __future__ import annotations

import time

from hydrahive.core.state import SnapshotKind, State
from hydrahive.envs.vector import SnapshotVectorEnv
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.inspect.envs.probe import (
    Noted,
    Player,
    WrongError,
    alike,
    first_difference,
    outlives_a_reset,
    seed_for,
    types_beyond_checkpoints,
    vector,
)

BEFORE, AFTER, SECONDS = 60, 240, 5.0
"""Steps before a snapshot is taken, steps for which what is restored must go on alike, and how long at most."""

END_STEPS, END_SECONDS = 20_000, 10.0
"""For which an end is waited for."""


def in_the_middle(config: RunConfig) -> str:
    """What is restored goes on as what the snapshot was taken of."""
    kind = config.env.snapshot_kind
    if kind == SnapshotKind.RESTARTED:
        _refuse_what_outlives_a_reset(config)
        return "restarted: none are taken; episodes are cut at each boundary"
    with vector(config) as env, vector(config) as other:
        state, again = _played(config, env), _played(config, other)
        _refuse_odd(state, again)
        after = _refuse_lossy(config, env, state)
        size = sum(array.nbytes for array in state.values()) / env.num_envs
    return f"{kind.value}: alike for {after} steps after a restore; {size:,.0f} bytes an environment"


def behind_ends(config: RunConfig) -> str:
    """The same, taken right behind an episode's end."""
    if config.env.snapshot_kind == SnapshotKind.RESTARTED:
        return "none are taken"
    with vector(config) as env:
        player, steps, began = Player(env, 3), 0, time.perf_counter()
        player.begin(seed_for(config))
        while not player.ends.any():
            if steps >= END_STEPS or time.perf_counter() - began > END_SECONDS:
                return Noted(f"no episode has ended within {steps:,} steps, so that none was tried")
            player.step()
            steps += 1
        after = _refuse_lossy(config, env, env.snapshot())
    return f"alike for {after} steps after a restore of what was taken at an end, in step {steps:,}"


def _played(config: RunConfig, env: SnapshotVectorEnv) -> State:
    player = Player(env, 0)
    player.begin(seed_for(config))
    player.steps(BEFORE)
    return env.snapshot()


def _refuse_odd(state: State, again: State) -> None:
    for name, array in state.items():
        if name not in again or not alike(array, again[name]):
            raise WrongError(
                f"the same seed and actions leave another state behind (in {name!r}), as a clock in it does"
            )
    odd = types_beyond_checkpoints(state)
    if odd:
        raise WrongError(f"a snapshot holds arrays of {', '.join(odd)}, which a checkpoint cannot")


def _refuse_lossy(config: RunConfig, env: SnapshotVectorEnv, state: State) -> int:
    kind = config.env.snapshot_kind
    with vector(config) as first, vector(config) as second:
        first.restore(state)
        if kind == SnapshotKind.REBUILT:  # which says that two restored ones are alike
            second.restore(state)
        mine, theirs = Player(second if kind == SnapshotKind.REBUILT else env, 1), Player(first, 1)
        began = time.perf_counter()
        for step in range(AFTER):
            if time.perf_counter() - began > SECONDS:
                return step
            if first_difference([mine.step()], [theirs.step()]) is not None:
                who = "two restored ones differ" if kind == SnapshotKind.REBUILT else "the restored one differs"
                raise WrongError(f"declared {kind.value}, but {who} in step {step} after the snapshot")
    return AFTER


def _refuse_what_outlives_a_reset(config: RunConfig) -> None:
    """Whoever goes on and whoever takes over begin anew with one seed, and must play alike."""
    with vector(config) as used, vector(config) as fresh:
        _played(config, used)
        step = outlives_a_reset(config, used, fresh, AFTER, SECONDS)
    if step is not None:
        raise WrongError(f"a reset with a seed does not begin anew: one that has played differs from step {step} on")
