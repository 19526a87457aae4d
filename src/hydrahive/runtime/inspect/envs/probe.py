"""Playing an environment to see what it does."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from gymnasium import spaces

from hydrahive.core.config import EnvConfig
from hydrahive.core.errors import HydrahiveError
from hydrahive.core.laid_out import names_among
from hydrahive.core.state import State
from hydrahive.core.streams import derived_seed
from hydrahive.envs.vector import SnapshotVectorEnv
from hydrahive.policies.distributions import distribution_of
from hydrahive.runtime.config.run_config import RunConfig

HUGE = 1e15
"""Observations beyond this are no offset that could be subtracted."""

LARGE = 1e6
"""Observations beyond this are too large for a network that sees them as they are."""

WHOLE_BELOW = 2.0**24
"""Float32 tells no two numbers beyond this apart that differ by one."""

Given = list[np.ndarray]
"""What came of a reset: observations; or of a step: those, rewards, ends, cuts, and the last observations of ends."""


class Noted(str):
    """What is no fault of an environment and yet worth knowing."""

    __slots__ = ()


class WrongError(HydrahiveError):
    """An environment does something that a run cannot live with."""


def title_of(env: EnvConfig) -> str:
    """What an environment is called."""
    return str(getattr(env, "id", None) or getattr(env, "game", None) or type(env).__name__)


FEW = 8
"""Environments that are tried, as a rule: what goes wrong shows in so many."""


def few(config: RunConfig) -> int:
    """How many are tried: whole groups, no more than a shard has."""
    group = config.env.group
    return max(group, min(FEW, config.envs_per_shard) // group * group)


@contextmanager
def vector(config: RunConfig, num_envs: int | None = None) -> Iterator[SnapshotVectorEnv]:
    """A vector of a few environments, or of so many, closed behind the block whatever happens in it."""
    env: SnapshotVectorEnv = config.env.make_vector(num_envs or few(config))
    try:
        yield env
    finally:
        env.close()


def seed_for(config: RunConfig, purpose: str = "check") -> int:
    """What vectors are reset with here; no run's own."""
    return derived_seed(config.seed, purpose)


class Player:
    """Steps a vector with random actions that depend on nothing but a seed and what is legal.

    Attributes:
        ends: How many episodes of each environment have ended, `[num_envs]`.
    """

    def __init__(self, env: SnapshotVectorEnv, seed: int) -> None:
        """Play `env`; who plays another one with the same seed does the same there."""
        self.env = env
        self.ends = np.zeros(env.num_envs, np.int64)
        self._random = np.random.default_rng(seed)
        self._distribution = distribution_of(env.single_action_space)

    def begin(self, seed: int | None) -> Given:
        """Reset all."""
        return [np.array(self.env.reset(seed=seed)[0])]

    def step(self) -> Given:
        """Step all once."""
        noise = self._distribution.noise(self._random, (self.env.num_envs,))
        actions = self._distribution.random(noise, self.env.legal_actions())
        return self.step_with(self._distribution.for_env(actions))

    def step_with(self, actions: np.ndarray) -> Given:
        """Step all once, with these."""
        observations, rewards, terminated, truncated, infos = self.env.step(actions)
        last = infos.get("final_obs")
        ended = np.asarray(terminated) | np.asarray(truncated)
        self.ends += ended
        lasts = [] if last is None or not ended.any() else [np.stack([np.asarray(one) for one in last[ended]])]
        return [np.array(observations), np.array(rewards), np.array(terminated), np.array(truncated), *lasts]

    def steps(self, count: int, seconds: float = np.inf) -> list[Given]:
        """Step up to `count` times, at least once, and no longer than so many seconds."""
        given, began = [self.step()], time.perf_counter()
        while len(given) < count and time.perf_counter() - began < seconds:
            given.append(self.step())
        return given


def refuse_unfit(env: SnapshotVectorEnv, given: Given, step: int | None) -> None:
    """Hold what a reset (no `step`), or a step, gave against the vector's spaces.

    Raises:
        WrongError: Says what is other than declared, or not finite.
    """
    space, count = env.single_observation_space, env.num_envs
    when = "reset's observations" if step is None else f"observations in step {step}"
    _expect(given[0], (count, *_shape(space)), space.dtype, when)
    for name, array in zip(("rewards", "terminations", "truncations"), given[1:4], strict=False):
        _expect(array, (count,), None, f"{name} in step {step}")
    for name, array in zip((when, f"rewards in step {step}"), given[:2], strict=False):
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise WrongError(f"gives {name} that are not finite; expected numbers")
    if given[0].dtype == np.float64 and np.abs(given[0]).max(initial=0.0) > np.finfo(np.float32).max:
        largest = np.abs(given[0]).max()
        raise WrongError(f"gives {when} of {largest:.3g}; expected what float32 holds, in which policies compute")


def _shape(space: Any) -> tuple[int, ...]:
    return tuple(space.shape)


def _expect(array: np.ndarray, shape: tuple[int, ...], dtype: Any, what: str) -> None:
    if array.shape != shape:
        raise WrongError(f"gives {what} of shape {list(array.shape)}; expected {list(shape)}")
    if dtype is not None and array.dtype != dtype:
        raise WrongError(f"gives {what} of {array.dtype}; expected {dtype}, as its space says")


def first_difference(mine: Sequence[Given], theirs: Sequence[Given]) -> int | None:
    """The first step at which two stories part; None if they are alike as far as both go."""
    for step, (left, right) in enumerate(zip(mine, theirs, strict=False)):  # a slow one was stepped less often
        if len(left) != len(right) or not all(map(alike, left, right)):
            return step
    return None


def alike(mine: np.ndarray, theirs: np.ndarray) -> bool:
    """Whether two arrays are the same to the byte."""
    return mine.shape == theirs.shape and mine.tobytes() == theirs.tobytes()


def outlives_a_reset(
    config: RunConfig, used: SnapshotVectorEnv, fresh: SnapshotVectorEnv, count: int, seconds: float
) -> int | None:
    """The first step at which one that has played differs from a fresh one, both reset with one seed; None if none."""
    runs = []
    for env in (used, fresh):
        player = Player(env, 1)
        runs.append([player.begin(seed_for(config, "anew")), *player.steps(count, seconds)])
    return first_difference(*runs)


def types_beyond_checkpoints(state: State) -> list[str]:
    """The types of a snapshot's arrays that a checkpoint does not hold."""
    return sorted({str(array.dtype) for array in state.values() if array.dtype.kind not in "biuf"})


def oddities(config: RunConfig, env: SnapshotVectorEnv, seen: Sequence[Given]) -> list[str]:
    """What is no fault and yet worth a sentence: how large the numbers are that it shows."""
    said: list[str] = []
    space = env.single_observation_space
    observations = [given[0] for given in seen]
    if observations[0].dtype.kind != "f":
        return said
    apart = names_among(space) if isinstance(space, spaces.Box) else []
    counted = [np.delete(one, apart, axis=-1) if apart else one for one in observations]
    largest = max(float(np.abs(one).max(initial=0.0)) for one in counted)
    if WHOLE_BELOW < largest < HUGE:
        gap = float(np.spacing(np.float32(largest)))
        held = f"observations are as large as {largest:.3g}, which float32, in which policies compute, holds in steps "
        said.append(f"{held}of {gap:.3g}: subtract what is always in them in a wrapper{_scaled(config)}")
    elif largest > LARGE and not config.policy.normalize:
        said.append(f"observations are as large as {largest:.3g}: policy.normalize: true scales them")
    return said


def _scaled(config: RunConfig) -> str:
    return "" if config.policy.normalize else "; policy.normalize: true scales what is large"
