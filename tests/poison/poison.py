"""Environments that fail: each counts its steps, and at a certain one does something that no environment should."""

import os
import time
from pathlib import Path

import gymnasium
import numpy as np
from gymnasium import spaces

LAST_GOOD_STEP = 40


class Poison(gymnasium.Env):
    """Nothing happens in it, until it fails."""

    observation_space = spaces.Box(-1, 1, (3,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self):
        self.steps = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(3, np.float32), {}

    def step(self, action):
        self.steps += 1
        observation = np.full(3, np.float32(action))
        if self.steps == LAST_GOOD_STEP:
            return self.fail(observation)
        return observation, 1.0, self.steps % 20 == 0, False, {}


class Raises(Poison):
    def fail(self, observation):
        raise RuntimeError("the simulator is on fire")


class Hungry(Poison):
    def fail(self, observation):
        raise MemoryError("Unable to allocate 9.00 TiB")


class NotFinite(Poison):
    def fail(self, observation):
        return observation, float("nan"), False, False, {}


class LastNotFinite(Poison):
    def fail(self, observation):
        return np.full_like(observation, np.nan), 0.0, False, True, {}


class Shape(Poison):
    def fail(self, observation):
        return np.zeros(4, np.float32), 1.0, False, False, {}


class Hangs(Poison):
    def fail(self, observation):
        time.sleep(3600)


class Remembers(Poison):
    """Its seeded reset keeps a step's count, which observations show; a fresh one begins at 0."""

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.full(3, np.float32(self.steps % 7) / 7), {}

    def fail(self, observation):
        return observation, 1.0, True, False, {}


class Dies(Poison):
    def fail(self, observation):
        os._exit(1)


class RaisesOnce(Poison):
    """Fails for the first who comes here, as a bad machine would; `POISON_MARK` names the file that remembers."""

    def fail(self, observation):
        mark = Path(os.environ["POISON_MARK"])
        if not mark.exists():
            mark.touch()
            raise RuntimeError("a bad day")
        return observation, 1.0, False, False, {}


class Moody(Poison):
    """What it shows depends on nothing that a seed knows."""

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.float32([time.perf_counter_ns() % 1000 / 1000, 0, 0]), {}

    def fail(self, observation):
        return observation, 1.0, False, False, {}


COUNTS = {}


class Forgetful(Moody):
    """Keeps something outside of itself."""

    def __init__(self):
        super().__init__()
        COUNTS[id(self)] = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.seen(), {}

    def seen(self):
        COUNTS[id(self)] += 1
        return np.float32([COUNTS[id(self)] / 1000, 0, 0])

    def step(self, action):
        _, *rest = super().step(action)
        return self.seen(), *rest


for kind in (
    Moody,
    Forgetful,
    Raises,
    Hungry,
    NotFinite,
    LastNotFinite,
    Shape,
    Hangs,
    Dies,
    Remembers,
    RaisesOnce,
    Poison,
):
    gymnasium.register(f"{kind.__name__}-v0", entry_point=kind)
