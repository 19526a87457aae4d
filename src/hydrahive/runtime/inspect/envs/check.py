"""All that a run expects of its environment, tried on it, one check after the other."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env

from hydrahive.envs.extras import told_where
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.inspect.envs import costs, repeats, restoring
from hydrahive.runtime.inspect.envs.probe import (
    Given,
    Noted,
    Player,
    WrongError,
    oddities,
    refuse_unfit,
    seed_for,
    vector,
)
from hydrahive.runtime.roles.env_worker import build_network

STEPS, STEP_SECONDS = 300, 5.0
"""That are held against the spaces, at most."""

END_SECONDS, END_STEPS = 10.0, 100_000
"""For which an end of every game is waited."""


@dataclass(frozen=True)
class Finding:
    """What came of one check.

    Attributes:
        check: What was tried.
        verdict: `ok`, `wrong`, or `note` for what is no fault and yet worth knowing.
        says: What was seen, in words.
    """

    check: str
    verdict: Literal["ok", "note", "wrong"]
    says: str

    @property
    def passed(self) -> bool:
        """Whether it is as a run needs it."""
        return self.verdict != "wrong"


def checked(config: RunConfig, only: Collection[str] | None = None) -> Iterator[Finding]:
    """Try the environment of a config, one check after the other; a failed one does not keep the next from being tried.

    One that cannot even be made ends the checks.

    Args:
        config: Whose environment it is.
        only: Which of the checks to make; all by default.
    """
    for name in CHECKS if only is None else only:
        finding = _tried(name, CHECKS[name], config)
        yield finding
        if name == "made" and not finding.passed:
            return


def _tried(name: str, check: Callable[[RunConfig], str], config: RunConfig) -> Finding:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            said = check(config)
    except (Exception, SystemExit) as error:
        return Finding(name, "wrong", told_where(error))
    return Finding(name, "note" if isinstance(said, Noted) else "ok", said)


def _made(config: RunConfig) -> str:
    began = time.perf_counter()
    with vector(config, config.envs_per_shard):
        took = time.perf_counter() - began
    return f"{config.envs_per_shard} environments are made and reset in {took:.2f} s"


def _spaces(config: RunConfig) -> str:
    build_network(config, torch.Generator())
    with vector(config) as env:
        masks = ", with masks of legal actions" if env.legal_actions() is not None else ""
        seen, taken = _in_words(env.single_observation_space), _in_words(env.single_action_space)
        return f"observations {seen}, actions {taken}{masks}"


def _in_words(space: Any) -> str:
    """A space without its bounds, of which there may be thousands."""
    return f"Box of {space.dtype} {list(space.shape)}" if isinstance(space, spaces.Box) else str(space)


def _single(config: RunConfig) -> str:
    if config.env.group > 1:
        return "agents that belong together; PettingZoo's own tests are for these"
    with vector(config) as env:
        if env.legal_actions() is not None:
            return "Gymnasium's checker takes no masks, so it was not asked"
    single = config.env.make_single()
    try:
        check_env(single, skip_render_check=True, skip_close_check=True)
    except AssertionError as refusal:
        raise WrongError(f"Gymnasium's checker refuses it: {' '.join(str(refusal).split())}") from None
    finally:
        single.close()
    return "Gymnasium's checker takes it"


def _steps(config: RunConfig) -> str:
    with vector(config) as env:
        player = Player(env, 0)
        refuse_unfit(env, player.begin(seed_for(config)), None)
        step, began = 0, time.perf_counter()
        while step < STEPS and time.perf_counter() - began < STEP_SECONDS:
            refuse_unfit(env, player.step(), step)
            step += 1
        return f"{env.num_envs} environments for {step} steps"


def _ends(config: RunConfig) -> str:
    with vector(config) as env:
        player, steps, began = Player(env, 3), 0, time.perf_counter()
        player.begin(seed_for(config))
        while not player.ends.all() and steps < END_STEPS and time.perf_counter() - began < END_SECONDS:
            refuse_unfit(env, player.step(), steps)
            steps += 1
        unseen = int((player.ends == 0).sum())
        if not unseen:
            return f"each of {env.num_envs} games has ended by chance within {steps:,} steps"
        seen = f"{unseen} of {env.num_envs} games have not ended in {steps:,} steps of chance each"
        return Noted(f"{seen}, so that not all was seen: is there a time limit?")


def _numbers(config: RunConfig) -> str:
    with vector(config) as env:
        player = Player(env, 4)
        given = [player.begin(seed_for(config)), *player.steps(STEPS, STEP_SECONDS)]
        said = [*env.remarks, *oddities(config, env, given), *_outside(env.single_observation_space, given)]
        rewards = np.stack([one[1] for one in given[1:]])
        low, high = min(float(one[0].min()) for one in given), max(float(one[0].max()) for one in given)
    ranges = f"observations from {low:.3g} to {high:.3g}, rewards from {rewards.min():.3g} to {rewards.max():.3g}"
    return Noted("; ".join(said)) if said else ranges


def _outside(space: Any, given: list[Given]) -> list[str]:
    """What was seen outside of the bounds that were declared."""
    if not isinstance(space, spaces.Box):
        return []
    for one in (given[0][0], *(step[0] for step in given[1:])):
        beyond = np.argwhere((one < space.low) | (one > space.high))
        if len(beyond):
            place = tuple(int(i) for i in beyond[0])
            bounds = f"{space.low[place[1:]]:.3g} to {space.high[place[1:]]:.3g}"
            return [f"observation {list(place[1:])} is {one[place]:.3g}, its space says {bounds}"]
    return []


CHECKS: dict[str, Callable[[RunConfig], str]] = {
    "made": _made,
    "spaces": _spaces,
    "single": _single,
    "steps": _steps,
    "ends": _ends,
    "numbers": _numbers,
    "seeding": repeats.seeding,
    "unseeded": repeats.unseeded,
    "second": repeats.second,
    "processes": repeats.processes,
    "autoreset": repeats.autoreset,
    "snapshots": restoring.in_the_middle,
    "behind ends": restoring.behind_ends,
    "speed": costs.speed,
    "memory": costs.memory,
    "left behind": costs.left_behind,
}
"""In the order in which they are made; each says what was seen, or raises."""
