"""A game of turns for four, of whom one after the other dies before it is his turn; masks are told on one's turn only."""

import numpy as np
from gymnasium import spaces
from pettingzoo import AECEnv


class Dying(AECEnv):
    metadata = {"name": "dying_v0", "is_parallelizable": False}

    def __init__(self):
        self.possible_agents = [f"a{i}" for i in range(4)]
        self.render_mode = None

    def observation_space(self, agent):
        return spaces.Dict(
            {"observation": spaces.Box(0, 99, (2,), np.float32), "action_mask": spaces.Box(0, 1, (3,), np.int8)}
        )

    def action_space(self, agent):
        return spaces.Discrete(3)

    def reset(self, seed=None, options=None):
        self.agents = self.possible_agents[:]
        self.moves = 0
        for name, value in (
            ("rewards", 0),
            ("_cumulative_rewards", 0),
            ("terminations", False),
            ("truncations", False),
        ):
            setattr(self, name, dict.fromkeys(self.agents, value))
        self.infos = {agent: {} for agent in self.agents}
        self.agent_selection = self.agents[0]

    def after(self, agent):
        """Whose turn it is then, dead or not."""
        first = self.possible_agents.index(agent) + 1
        order = self.possible_agents[first:] + self.possible_agents[:first]
        return next((one for one in order if one in self.agents), agent)

    def observe(self, agent):
        mask = np.zeros(3, np.int8)
        if agent == self.agent_selection:
            mask[1 + self.moves % 2] = 1
        return {
            "observation": np.array([self.moves, self.possible_agents.index(agent)], np.float32),
            "action_mask": mask,
        }

    def step(self, action):
        agent = self.agent_selection
        if self.terminations[agent]:
            self._was_dead_step(action)
            self.agent_selection = self.after(agent)
            return
        assert self.observe(agent)["action_mask"][action], f"{agent} may not take {action} in move {self.moves}"
        self.moves += 1
        self.rewards = dict.fromkeys(self.agents, 0)
        living = [one for one in self.agents if not self.terminations[one]]
        if self.moves % 3 == 0:
            victim = living[(living.index(agent) + 1) % len(living)]
            self.terminations[victim] = True
            self.rewards[victim] = -1
            living.remove(victim)
        if len(living) == 1:
            self.terminations[living[0]] = True
            self.rewards[living[0]] = 1
        self._accumulate_rewards()
        self.agent_selection = self.after(agent)


def env():
    return Dying()
