"""Small games with masks, several choices at once, and observations in parts; each raises on what it forbids."""

import time

import gymnasium
import numpy as np
from gymnasium import spaces

CARDS = 5


class Cards(gymnasium.Env):
    """Lay down cards 0 to 4, each once; the k-th counts k times its value, so that the best order is upwards: 30.

    A random order makes 20. The mask lies in the observation, as in PettingZoo's classics.
    """

    observation_space = spaces.Dict(
        {"observation": spaces.Box(0, 1, (CARDS,), np.float32), "action_mask": spaces.MultiBinary(CARDS)}
    )
    action_space = spaces.Discrete(CARDS)

    def __init__(self):
        self.laid = np.zeros(CARDS, np.int8)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.laid[:] = 0
        return self.seen(), {}

    def seen(self):
        return {"observation": self.laid.astype(np.float32), "action_mask": 1 - self.laid}

    def step(self, action):
        if self.laid[action]:
            raise RuntimeError(f"card {action} is laid already")
        reward = float(action * self.laid.sum())
        self.laid[action] = 1
        return self.seen(), reward, bool(self.laid.all()), False, {}


class ToldCards(Cards):
    """The mask lies in the infos."""

    observation_space = spaces.Box(0, 1, (CARDS,), np.float32)

    def reset(self, *, seed=None, options=None):
        seen, _ = super().reset(seed=seed)
        return seen["observation"], {"action_mask": seen["action_mask"]}

    def step(self, action):
        seen, *rest, _ = super().step(action)
        return seen["observation"], *rest, {"action_mask": seen["action_mask"]}


class Dials(gymnasium.Env):
    """Turn two dials to what is shown, in a Dict of unlike parts; a random turn is right in 7 of 24 dials."""

    observation_space = spaces.Dict(
        {"shown": spaces.MultiDiscrete([3, 4]), "turn": spaces.Discrete(8), "noise": spaces.Box(-1, 1, (2, 2))}
    )
    action_space = spaces.MultiDiscrete([3, 4])

    def __init__(self):
        self.shown, self.turn = np.zeros(2, np.int64), 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.turn = 0
        return self.seen(), {}

    def seen(self):
        self.shown = self.np_random.integers(0, [3, 4])
        noise = self.np_random.uniform(-1, 1, (2, 2)).astype(np.float32)
        return {"shown": self.shown, "turn": self.turn, "noise": noise}

    def step(self, action):
        reward = float((np.asarray(action) == self.shown).sum())
        self.turn += 1
        over = self.turn == 8
        self.turn %= 8
        return self.seen(), reward, False, over, {}


class Secret(Dials):
    """What comes lies in a Python generator, which nothing can take out and put back."""

    def reset(self, *, seed=None, options=None):
        if seed is not None or not hasattr(self, "coming"):
            self.coming = (np.random.default_rng((seed or 0, k)).integers(0, [3, 4]) for k in range(10**9))
        return super().reset(seed=seed)

    def seen(self):
        seen = super().seen()
        self.shown = next(self.coming)
        return {**seen, "shown": self.shown}


class Slow(Dials):
    """A step takes 50 ms."""

    def step(self, action):
        time.sleep(0.05)
        return super().step(action)


class Chain(gymnasium.Env):
    """Five states in a row, whatever is done; behind the last one the episode is cut where its first one would follow.

    A state's number is its reward. The value of the first is therefore sum_s gamma^s s / (1 - gamma^5), if a cut counts as
    one, and the fifth part of it or less if it counts as an end.
    """

    observation_space = gymnasium.spaces.Box(0, 1, (5,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = 0
        return self._seen(), {}

    def step(self, action):
        reward = self.state
        self.state = (self.state + 1) % 5
        return self._seen(), reward, False, self.state == 0, {}

    def _seen(self):
        return np.eye(5, dtype=np.float32)[self.state]


class RealChain(Chain):
    """With a number for an action, which changes nothing."""

    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)


class Lock(gymnasium.Env):
    """22 digits in a row, each one of two; a wrong one leads back to the first, and only the last pays.

    By chance one in four million tries finds it; a game lasts for 66 digits.
    """

    observation_space = gymnasium.spaces.Box(0, 1, (23,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    digits = (0, 1, 1, 0, 1, 0, 0, 0, 1, 1, 0, 1, 0, 1, 1, 0, 0, 1, 0, 1, 1, 1)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = self.tried = 0
        return self._seen(), {}

    def step(self, action):
        self.tried += 1
        self.place = self.place + 1 if action == self.digits[self.place] else 0
        is_open = self.place == len(self.digits)
        return self._seen(), float(is_open), is_open, self.tried == 66, {}

    def _seen(self):
        return np.eye(23, dtype=np.float32)[self.place]


for kind in (Cards, ToldCards, Dials, Secret, Slow, Chain, RealChain, Lock):
    gymnasium.register(f"{kind.__name__}-v0", entry_point=kind)
