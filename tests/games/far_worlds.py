"""Worlds of PettingZoo's kind whose agents come and go as PettingZoo's tests do not have it."""

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv


class Far(ParallelEnv):
    """Two agents who count their steps; an episode has eight.

    Args:
        does: `vanishes`: b is gone after three steps without a last look; `paid late`: b is paid 5 after its end;
            `returns`: b ends and is back two steps later; `bytes`: declares bytes and gives -1; `lists`: pays in lists;
            `keeps`: pays by how often `notes` was written into; `short mask`, `entropy`; `unequal`: pays a 1 and b 3;
            `coin`: pays by a coin that is thrown for each episode, of which only `state()` tells; `leaves`: likewise,
            and `state()` raises once all have left; `no state`, `wide state`: it has none, or more than it declares.
        notes: A list that it writes into.
    """

    metadata = {"name": "far"}

    def __init__(self, does="", notes=(), render_mode=None):
        self.does, self.notes, self.render_mode = does, notes, render_mode
        self.possible_agents, self.agents, self.steps = ["a", "b"], [], 0
        self.luck = np.random.default_rng(0)

        if does != "no state":
            self.state_space = spaces.Box(-1, 10, (2,), np.float32)
        self.coin = 0

    def state(self):
        if self.does == "leaves" and not self.agents:
            raise RuntimeError("nobody is there")
        return np.array([self.coin, self.steps] + [0] * (self.does == "wide state"), np.float32)

    def observation_space(self, agent):
        kind = np.uint8 if self.does == "bytes" else np.float32
        return spaces.Box(0, 200, (2,), kind)

    def action_space(self, agent):
        return spaces.Discrete(2)

    def seen(self):
        return np.array([-1 if self.does == "bytes" and self.steps == 2 else self.steps, 1], np.float32)

    def told(self):
        mask = np.ones(1 if self.does == "short mask" else 2, np.int8)
        return {agent: {"action_mask": mask} if "mask" in self.does else {} for agent in self.agents}

    def reset(self, seed=None, options=None):
        if seed is not None or self.does == "entropy":
            self.luck = np.random.default_rng(seed)
        self.steps, self.agents, self.coin = 0, ["a", "b"], int(self.luck.choice([-1, 1]))
        if self.does == "keeps":
            self.notes.append(0)
        return dict.fromkeys(self.agents, self.seen()), self.told()

    def step(self, actions):
        self.steps += 1
        acting, over = list(self.agents), self.steps == 8
        pays = {
            "coin": self.coin,
            "leaves": self.coin,
            "keeps": len(self.notes),
            "entropy": self.luck.random(),
            "lists": [1.0],
        }.get(self.does, 1.0)
        rewards, ended = dict.fromkeys(acting, pays), dict.fromkeys(acting, over)
        if self.does == "unequal":
            rewards = {agent: 1.0 if agent == "a" else 3.0 for agent in acting}
        seen = {agent: self.seen() for agent in acting}
        if self.steps == 3 and self.does in ("vanishes", "paid late", "returns"):
            self.agents = ["a"]
            ended["b"] = self.does != "vanishes"
            if self.does == "vanishes":
                del seen["b"], ended["b"]
        if self.does == "returns" and self.steps == 5:
            self.agents, seen["b"] = ["a", "b"], self.seen()
        if self.does == "paid late" and self.steps == 6:
            rewards["b"] = 5.0
        if over:
            self.agents = []
        return seen, rewards, ended, dict.fromkeys(acting, False), self.told()


parallel_env = Far
