"""How versions of action values explore: epsilon, written into the network that acts."""

from __future__ import annotations

import numpy as np
import torch

from hydrahive.algorithms.base.rule import Round
from hydrahive.algorithms.q_config import EpsilonGreedy
from hydrahive.core.state import State
from hydrahive.policies.q_network import QNetwork

CAREFUL_BELOW = 1e-4
"""Epsilon from which on detours may be made."""


def finished(round_: Round) -> int:
    """Episodes that ended in the round."""
    return sum(int((fragment.terminated | fragment.truncated).sum()) for fragment in round_.fragments)


class Exploring:
    """Follows a run's env steps and finished episodes."""

    def __init__(self, how: EpsilonGreedy, network: QNetwork) -> None:
        """Have version 0 explore."""
        self.how, self._network, self._episodes = how, network, 0
        self._write(0, stagnant=False)

    def after(self, round_: Round) -> float:
        """Write down how the next version explores; its epsilon."""
        self._episodes += finished(round_)
        stagnant = round_.sample is not None and round_.sample.stagnant
        return self._write(round_.env_steps + round_.valid_rows, stagnant=stagnant)

    def state(self) -> State:
        """The counted episodes."""
        return {"episodes": np.array([self._episodes], np.int64)}

    def restore(self, state: State) -> None:
        """Continue to count; the network has its epsilon among its weights."""
        self._episodes = int(state["episodes"][0])

    def _write(self, env_steps: int, *, stagnant: bool) -> float:
        epsilon = self.how.epsilon(env_steps, self._episodes)
        careful = self.how.careful and stagnant and epsilon < CAREFUL_BELOW
        self._network.exploration.copy_(torch.tensor([epsilon, float(careful)]))
        return epsilon
