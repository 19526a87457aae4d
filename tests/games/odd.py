"""Environments that do what Gymnasium allows and few do, or what it does not allow and some do."""

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

SEEN = spaces.Box(-10, 10, (3,), np.float32)
TAKEN = spaces.Discrete(2)


class Count(gymnasium.Env):
    """Counts its steps; an episode has five and ends cut."""

    observation_space, action_space = SEEN, TAKEN

    def __init__(self):
        self.steps = 0

    def seen(self):
        return np.full(3, self.steps, np.float32)

    def told(self):
        return {}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.seen(), self.told()

    def step(self, action):
        self.steps += 1
        return self.seen(), 1.0, False, self.steps >= 5, self.told()


class Reuses(Count):
    """Gives one array again and again."""

    def __init__(self):
        super().__init__()
        self.array = np.zeros(3, np.float32)

    def seen(self):
        self.array[:] = self.steps
        return self.array


class Chatty(Count):
    """Tells what is no number, a score of its own, numbers now and then, and keys that are no text."""

    def told(self):
        often = {"bonus": 2.0} if self.np_random.random() < 0.5 else {}
        return {"score": "3:2", "length": 99, "path": np.zeros(self.steps), "winner": None, 0: 1.0, **often}


class Forbids(Count):
    """Says once what is legal, and never again."""

    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)[0], {"action_mask": np.array([1, 0], np.int8)}


class Quits(Count):
    """Leaves the process, as a game does whose window is closed."""

    def step(self, action):
        if self.steps == 3:
            raise SystemExit(0)
        return super().step(action)


class Fails(Count):
    """Raises, in more than one line."""

    def step(self, action):
        raise RuntimeError("the first line\nthe second")


class Grows(Count):
    """Shows more numbers later on."""

    def seen(self):
        return np.zeros(3 if self.steps < 3 else 4, np.float32)


class OldSteps(Count):
    """Gives four values for a step."""

    def step(self, action):
        return self.seen(), 1.0, False, {}


class Counts(Count):
    """Shows a count that its space does not have."""

    observation_space = spaces.MultiDiscrete([3, 4])

    def seen(self):
        return np.array([self.steps, 0])


class WholeActions(Count):
    """Takes whole numbers between bounds."""

    action_space = spaces.Box(0, 4, (2,), np.int64)


class Pictures(Count):
    """Shows pictures with their colours last."""

    observation_space = spaces.Box(0, 255, (16, 20, 3), np.uint8)

    def seen(self):
        return np.full((16, 20, 3), self.steps, np.uint8)


class Lonely(Count):
    """Does not want to be one of many."""

    made = 0

    def __init__(self):
        super().__init__()
        Lonely.made += 1
        self.is_too_many = Lonely.made > 20

    def step(self, action):
        if self.is_too_many:
            raise RuntimeError("one too many")
        return super().step(action)


class Together(VectorEnv):
    """Counts' own vector, which does not say when its episodes begin anew."""

    def __init__(self, num_envs=1):
        self.num_envs, self.single_observation_space, self.single_action_space = num_envs, SEEN, TAKEN
        self.observation_space, self.action_space = batch_space(SEEN, num_envs), batch_space(TAKEN, num_envs)
        self.steps = np.zeros(num_envs, np.int64)

    def seen(self):
        return np.repeat(self.steps[:, None], 3, 1).astype(np.float32)

    def reset(self, *, seed=None, options=None):
        self.steps[:] = 0
        return self.seen(), {}

    def step(self, actions):
        self.steps = np.where(self.steps >= 5, 0, self.steps + 1)
        over = (self.steps >= 5).astype(np.int64)
        return self.seen(), (self.steps > 0).astype(np.float64), over, np.zeros_like(over), {}


class Says(Together):
    """The same, and says it."""

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}


class Writes(Together):
    """Says it where all vectors do that have no metadata of their own, as ALE's does."""

    def __init__(self, num_envs=1):
        super().__init__(num_envs)
        self.metadata["autoreset_mode"] = AutoresetMode.NEXT_STEP


class Withholds(Together):
    """Says that episodes begin anew in the same step, and keeps the last observations back."""

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}


for kind in [Reuses, Chatty, Forbids, Quits, Fails, Grows, OldSteps, Counts, WholeActions, Pictures, Lonely]:
    gymnasium.register(f"{kind.__name__}-v0", kind)
for kind in [Together, Says, Writes, Withholds]:
    gymnasium.register(f"{kind.__name__}-v0", Count, vector_entry_point=kind)
