"""What a run expects of its environment, tried on it: shapes, seeds, determinism, snapshots, and speed."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env

from hydrahive.core.errors import HydrahiveError
from hydrahive.core.state import SnapshotKind, State
from hydrahive.core.streams import derived_seed
from hydrahive.envs.extras import told_where
from hydrahive.envs.vector import SnapshotVectorEnv
from hydrahive.policies.distributions import distribution_of
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.roles.env_worker import build_network

BEFORE, AFTER = 60, 240
"""Steps before a snapshot is taken, and steps for which what is restored must go on alike."""

SPEED_SECONDS = 1.0


@dataclass(frozen=True)
class Finding:
    """What came of one check.

    Attributes:
        check: What was tried.
        passed: Whether it is as a run needs it.
        says: What was seen, in words.
    """

    check: str
    passed: bool
    says: str


class WrongError(HydrahiveError):
    """An environment does something that a run cannot live with."""


def checked(config: RunConfig) -> Iterator[Finding]:
    """Try the environment of a config, one check after the other; a failed one does not keep the next from being tried.

    One that cannot even be made ends the checks.
    """
    for name, check in CHECKS.items():
        finding = _tried(name, check, config)
        yield finding
        if name == "made" and not finding.passed:
            return


def _tried(name: str, check: Callable[[RunConfig], str], config: RunConfig) -> Finding:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Finding(name, True, check(config))
    except (Exception, SystemExit) as error:
        return Finding(name, False, told_where(error))


def _vector(config: RunConfig) -> SnapshotVectorEnv:
    env: SnapshotVectorEnv = config.env.make_vector(config.envs_per_shard)
    return env


def _made(config: RunConfig) -> str:
    _vector(config).close()
    return f"{config.envs_per_shard} environments are made and reset"


def _spaces(config: RunConfig) -> str:
    env = _vector(config)
    build_network(config, torch.Generator())
    masks = ", with masks of legal actions" if env.legal_actions() is not None else ""
    seen, taken = _in_words(env.single_observation_space), _in_words(env.single_action_space)
    return f"observations {seen}, actions {taken}{masks}"


def _in_words(space: Any) -> str:
    """A space without its bounds, of which there may be thousands."""
    return f"Box of {space.dtype} {list(space.shape)}" if isinstance(space, spaces.Box) else str(space)


def _single(config: RunConfig) -> str:
    if config.env.group > 1:
        return "agents that belong together; PettingZoo's own tests are for these"
    env = config.env.make_single()
    if _vector(config).legal_actions() is not None:
        return "Gymnasium's checker takes no masks, so it was not asked"
    try:
        check_env(env, skip_render_check=True, skip_close_check=True)
    except AssertionError as refusal:
        raise WrongError(f"Gymnasium's checker refuses it: {' '.join(str(refusal).split())}") from None
    return "Gymnasium's checker takes it"


class _Player:
    """Steps a vector with random actions that only depend on a seed and on what is legal."""

    def __init__(self, env: SnapshotVectorEnv, seed: int) -> None:
        self.env = env
        self._random = np.random.default_rng(seed)
        self._distribution = distribution_of(env.single_action_space)

    def step(self) -> list[np.ndarray]:
        noise = self._distribution.noise(self._random, (self.env.num_envs,))
        actions = self._distribution.random(noise, self.env.legal_actions())
        observations, rewards, terminated, truncated, infos = self.env.step(self._distribution.for_env(actions))
        last = infos.get("final_obs")
        ended = terminated | truncated
        lasts = [] if last is None or not ended.any() else [np.stack([np.asarray(one) for one in last[ended]])]
        return [np.array(observations), np.array(rewards), np.array(terminated), np.array(truncated), *lasts]


def _steps(config: RunConfig) -> str:
    env = _vector(config)
    space, count = env.single_observation_space, env.num_envs
    first, _ = env.reset(seed=derived_seed(config.seed, "check"))
    player, episodes = _Player(env, 0), 0
    _expect(np.asarray(first), (count, *_shape(space)), space.dtype, "reset's observations")
    for step in range(BEFORE + AFTER):
        observations, rewards, terminated, truncated, *_ = player.step()
        _expect(observations, (count, *_shape(space)), space.dtype, f"observations in step {step}")
        for name, array in (("rewards", rewards), ("terminations", terminated), ("truncations", truncated)):
            _expect(array, (count,), None, f"{name} in step {step}")
        for name, array in (("observations", observations), ("rewards", rewards)):
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise WrongError(f"{name} that are not finite in step {step}")
        episodes += int((terminated | truncated).sum())
    ends = f"{episodes} episodes ended" if episodes else "no episode ended: is there a time limit?"
    return f"{count} environments for {BEFORE + AFTER} steps; {ends}"


def _shape(space: Any) -> tuple[int, ...]:
    return tuple(space.shape)


def _expect(array: np.ndarray, shape: tuple[int, ...], dtype: Any, what: str) -> None:
    if array.shape != shape:
        raise WrongError(f"{what} have shape {list(array.shape)}; expected {list(shape)}")
    if dtype is not None and array.dtype != dtype:
        raise WrongError(f"{what} are {array.dtype}; the space says {dtype}")


def _seeding(config: RunConfig) -> str:
    runs = []
    for seed in (5, 5, 6):
        env = _vector(config)
        first, _ = env.reset(seed=derived_seed(seed, "check"))
        player = _Player(env, 0)
        runs.append([[np.array(first)], *(player.step() for _ in range(BEFORE + AFTER))])
    same = _first_difference(runs[0], runs[1])
    if same is not None:
        raise WrongError(f"the same seed and actions give something else from step {same} on")
    if _first_difference(runs[0], runs[2]) is None:
        return "the same seed gives the same; another seed gives the same, too: nothing in it is random"
    return "the same seed gives the same, another seed something else"


def _first_difference(mine: list[list[np.ndarray]], theirs: list[list[np.ndarray]]) -> int | None:
    for step, (left, right) in enumerate(zip(mine, theirs, strict=True)):
        if len(left) != len(right) or not all(map(_alike, left, right)):
            return step
    return None


def _alike(mine: np.ndarray, theirs: np.ndarray) -> bool:
    return mine.shape == theirs.shape and mine.tobytes() == theirs.tobytes()


def _snapshots(config: RunConfig) -> str:
    kind = config.env.snapshot_kind
    if kind == SnapshotKind.RESTARTED:
        _refuse_what_outlives_a_reset(config)
        return "restarted: none are taken; episodes are cut at each boundary"
    env, state = _played(config)
    _, again = _played(config)
    for name, array in state.items():
        if not _alike(array, again[name]):
            raise WrongError(
                f"the same seed and actions leave another state behind (in {name!r}), as a clock in it does"
            )
    odd = sorted({str(array.dtype) for array in state.values() if array.dtype.kind not in "biuf"})
    if odd:
        raise WrongError(f"a snapshot holds arrays of {', '.join(odd)}, which a checkpoint cannot")
    others = [_vector(config) for _ in range(2 if kind == SnapshotKind.REBUILT else 1)]
    for other in others:
        other.restore(state)
    players = [_Player(one, 1) for one in (others if kind == SnapshotKind.REBUILT else [env, *others])]
    for step in range(AFTER):
        mine, theirs = (one.step() for one in players)
        if _first_difference([mine], [theirs]) is not None:
            who = "two restored ones differ" if kind == SnapshotKind.REBUILT else "the restored one differs"
            raise WrongError(f"declared {kind.value}, but {who} in step {step} after the snapshot")
    size = sum(array.nbytes for array in state.values()) / env.num_envs
    return f"{kind.value}: alike for {AFTER} steps after a restore; {size:,.0f} bytes an environment"


def _refuse_what_outlives_a_reset(config: RunConfig) -> None:
    """Whoever goes on and whoever takes over begin anew with one seed, and must play alike.

    Raises:
        WrongError: Says from which step on they do not.
    """
    (used, _), fresh = _played(config), _vector(config)
    first = [[np.array(env.reset(seed=derived_seed(config.seed, "anew"))[0])] for env in (used, fresh)]
    mine, theirs = _Player(used, 1), _Player(fresh, 1)
    runs = [[seen, *(player.step() for _ in range(AFTER))] for seen, player in zip(first, (mine, theirs), strict=True)]
    step = _first_difference(*runs)
    if step is not None:
        raise WrongError(f"a reset with a seed does not begin anew: one that has played differs from step {step} on")


def _played(config: RunConfig) -> tuple[SnapshotVectorEnv, State]:
    """A vector after some steps, and its state."""
    env = _vector(config)
    env.reset(seed=derived_seed(config.seed, "check"))
    player = _Player(env, 0)
    for _ in range(BEFORE):
        player.step()
    return env, env.snapshot()


def _speed(config: RunConfig) -> str:
    env = _vector(config)
    env.reset(seed=derived_seed(config.seed, "check"))
    player, steps, began = _Player(env, 0), 0, time.perf_counter()
    while time.perf_counter() - began < SPEED_SECONDS:
        player.step()
        steps += env.num_envs
    return f"{steps / (time.perf_counter() - began):,.0f} env steps/s in one process, {env.num_envs} at a time"


CHECKS: dict[str, Callable[[RunConfig], str]] = {
    "made": _made,
    "spaces": _spaces,
    "single": _single,
    "steps": _steps,
    "seeding": _seeding,
    "snapshots": _snapshots,
    "speed": _speed,
}
"""In the order in which they are made; each says what was seen, or raises."""
