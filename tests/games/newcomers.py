"""Worlds whose agents are not all there from the beginning, or show other things than they say."""

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv


class Newcomers(ParallelEnv):
    """`late` joins in step 3 of 6."""

    metadata = {"name": "newcomers"}

    def __init__(self, wrong=False):
        self.possible_agents, self.agents, self.steps, self.wrong = ["early", "late"], [], 0, wrong

    def observation_space(self, agent):
        return spaces.Box(0, 99, (2,), np.float32)

    def action_space(self, agent):
        return spaces.Discrete(2)

    def seen(self):
        return {agent: np.full(1 if self.wrong and self.steps else 2, self.steps, np.float32) for agent in self.agents}

    def reset(self, seed=None, options=None):
        self.agents, self.steps = ["early"], 0
        return self.seen(), dict.fromkeys(self.agents)

    def step(self, actions):
        assert set(actions) == set(self.agents)
        self.steps += 1
        acted = list(self.agents)
        self.agents = ["early", "late"] if self.steps >= 3 else ["early"]
        over = self.steps >= 6
        seen = self.seen()
        if over:
            self.agents = []
        told = dict.fromkeys(acted, over)
        return seen, dict.fromkeys(acted, 1.0), told, dict.fromkeys(acted, False), dict.fromkeys(acted)


def parallel_env(**kwargs):
    return Newcomers(**kwargs)
