"""What Gymnasium's environments with goals say of goals that were not played for."""

from __future__ import annotations

from typing import Any

import numpy as np

from hydrahive.core.errors import ConfigError, HydrahiveError
from hydrahive.envs.extras import told
from hydrahive.envs.flat import Flattener
from hydrahive.envs.gym.maker import Maker

TRIED_STEPS = 40
"""That an environment's words are held against what it gives."""

CLOSE = 1e-4
"""Rewards are alike up to this, relative: goals are kept as float32."""


class GymGoals:
    """An environment's own `compute_reward`, and `compute_terminated` where it has one."""

    def __init__(self, maker: Maker) -> None:
        """Make an environment, play a little, and hold what it says against what it gives.

        Raises:
            ConfigError: If it has no goals or does not say, needs more than goals for it, says something else than it
                gives, or something else the second time.
        """
        self._name = maker.name
        self._env = maker.make(disable_env_checker=True)
        try:
            goals = getattr(Flattener(self._env.observation_space).space, "goals", None)
            if goals is None:
                raise self._refused("a Dict with observation, achieved_goal and desired_goal, Boxes of one shape")
            self._shape, self._dtype = goals.shape, goals.dtype
            self._reward = self._own("compute_reward")
            if self._reward is None:
                raise self._refused("one with compute_reward(achieved_goal, desired_goal, info)")
            self._ends = self._own("compute_terminated")
            self._takes_many = False
            self._tried()
        except BaseException:
            self._env.close()
            raise

    def __call__(self, achieved: np.ndarray, desired: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What goals are worth, float32 `[S]`, and which end an episode, bool `[S]`.

        Args:
            achieved: Reached, float32 `[S, size]`.
            desired: Played for, likewise.
        """
        reached, wanted = (goals.reshape(-1, *self._shape).astype(self._dtype) for goals in (achieved, desired))
        if self._takes_many:
            rewards = np.asarray(self._reward(reached, wanted, {}), np.float32)
        else:
            rewards = np.array([self._reward(*pair, {}) for pair in zip(reached, wanted, strict=True)], np.float32)
        if self._ends is None:
            return rewards, np.zeros(len(rewards), np.bool_)
        ends = [bool(self._ends(*pair, {})) for pair in zip(reached, wanted, strict=True)]
        return rewards, np.array(ends, np.bool_)

    def _own(self, name: str) -> Any:
        try:
            found = self._env.get_wrapper_attr(name)
        except AttributeError:
            return None
        return found if callable(found) else None

    def _tried(self) -> None:
        """Play at random, and hold `compute_reward` against each step."""
        self._env.action_space.seed(0)
        seen, _ = self._env.reset(seed=0)
        reached, wanted, given, ended = [], [], [], []
        for _ in range(TRIED_STEPS):
            seen, reward, terminated, truncated, _ = self._env.step(self._env.action_space.sample())
            reached.append(np.ravel(seen["achieved_goal"]))
            wanted.append(np.ravel(seen["desired_goal"]))
            given.append(reward)
            ended.append(terminated)
            if terminated or truncated:
                seen, _ = self._env.reset()
        pairs = np.array(reached, np.float32), np.array(wanted, np.float32)
        said, ends = self._said(*pairs)
        self._refuse_unlike(said, np.array(given, np.float32), "gave in those steps")
        if self._ends is not None and (ends != np.array(ended)).any():
            raise self._refused("a compute_terminated that says of a step's goals what the step gave")
        # Of other goals, and then once more of these: who answers from what it stands at answers something else.
        mixed = pairs[0], np.roll(pairs[1], 1, axis=0)
        first, _ = self._said(*mixed)
        self._env.reset(seed=1)
        again, _ = self._said(*mixed)
        self._refuse_unlike(again, first, "said before it was reset")
        self._takes_many = True
        try:
            together = self._said(*mixed)[0]
            self._takes_many = together.shape == first.shape and bool(np.array_equal(together, first))
        except ConfigError:
            self._takes_many = False

    def _said(self, achieved: np.ndarray, desired: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        try:
            return self(achieved, desired)
        except HydrahiveError:
            raise
        except Exception as error:
            raise self._refused(f"a compute_reward that needs the two goals only ({told(error)})") from None

    def _refuse_unlike(self, said: np.ndarray, other: np.ndarray, what: str) -> None:
        unlike = np.flatnonzero(~np.isclose(said, other, rtol=CLOSE, atol=CLOSE))
        if len(unlike):
            at = int(unlike[0])
            accepted = f"a compute_reward that says the same as it {what}: {said[at]:g} is not {other[at]:g}"
            raise self._refused(accepted)

    def _refused(self, accepted: str) -> ConfigError:
        return ConfigError(
            "env.init_args.id", self._name, f"an environment with goals, for replay is Hindsight: {accepted}"
        )
