"""Worlds of any number of agents who share their luck; nobody's actions matter."""

import os
import time

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv


class Crowd(ParallelEnv):
    """A game has three steps; each pays everybody the same random reward.

    Args:
        agents: How many there may be; 0 is nobody.
        late: Whether the first of them is not there when the first game begins.
        pictures: Whether they see pictures with their channels last.
        made: What making one does besides: `ends` ends the process, `hangs` never comes back.
    """

    metadata = {"name": "crowd"}

    def __init__(self, agents=2, late=False, pictures=False, made="", render_mode=None):
        if made == "ends":
            os._exit(0)
        if made == "hangs":
            time.sleep(1000)
        self.possible_agents = [f"agent_{i}" for i in range(agents)]
        self.late, self.pictures, self.render_mode = late, pictures, render_mode
        self.agents, self.steps, self.luck = [], 0, np.random.default_rng(0)

    def observation_space(self, agent):
        return spaces.Box(0, 255, (12, 16, 3), np.uint8) if self.pictures else spaces.Box(-1, 9, (1,), np.float32)

    def action_space(self, agent):
        return spaces.Discrete(2)

    def seen(self):
        one = self.render() if self.pictures else np.full(1, self.steps, np.float32)
        return {agent: one.copy() for agent in self.agents}

    def reset(self, seed=None, options=None):
        if seed is not None:
            self.luck = np.random.default_rng(seed)
        self.steps, self.agents = 0, self.possible_agents[1 if self.late else 0 :]
        return self.seen(), {agent: {} for agent in self.agents}

    def step(self, actions):
        self.steps += 1
        acted, over, luck = list(self.agents), self.steps == 3, float(self.luck.normal())
        seen = self.seen()
        self.agents = [] if over else self.agents
        ended, cut = dict.fromkeys(acted, over), dict.fromkeys(acted, False)
        return seen, dict.fromkeys(acted, luck), ended, cut, {agent: {} for agent in acted}

    def render(self):
        picture = np.zeros((12, 16, 3), np.uint8)
        picture[..., 1] = self.steps
        return picture


parallel_env = Crowd
