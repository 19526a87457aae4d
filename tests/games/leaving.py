"""A PettingZoo game in which agents leave one after the other: agent k after k + 2 steps, the last one by truncation."""

import functools

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv


class Leaving(ParallelEnv):
    """Everybody sees its number and the step, and earns what it says."""

    metadata = {"name": "leaving_v0"}

    def __init__(self, agents=3, unlike=False):
        self.possible_agents = [f"agent_{k}" for k in range(agents)]
        self.unlike, self.agents, self.time = unlike, [], 0

    @functools.cache  # noqa: B019  PettingZoo asks for the same object each time
    def observation_space(self, agent):
        return spaces.Box(0, 99, (2,), np.float32)

    @functools.cache  # noqa: B019
    def action_space(self, agent):
        return spaces.Discrete(2 if self.unlike and agent == "agent_1" else 3)

    def reset(self, seed=None, options=None):
        self.agents, self.time = self.possible_agents[:], 0
        return self.seen(), {agent: {} for agent in self.agents}

    def seen(self):
        return {agent: np.float32([int(agent[6:]), self.time]) for agent in self.agents}

    def step(self, actions):
        assert set(actions) == set(self.agents), "those who are here, and nobody else"
        self.time += 1
        seen, rewards = self.seen(), {agent: float(action) for agent, action in actions.items()}
        leaving = {agent: self.time >= int(agent[6:]) + 2 for agent in self.agents}
        last = self.possible_agents[-1]
        ended = {agent: leaving[agent] and agent != last for agent in self.agents}
        cut = {agent: leaving[agent] and agent == last for agent in self.agents}
        infos = {agent: {} for agent in self.agents}
        self.agents = [agent for agent in self.agents if not leaving[agent]]
        return seen, rewards, ended, cut, infos


def parallel_env(**kwargs):
    return Leaving(**kwargs)
