"""What is drawn from a replay: sequences of episodes, and what the replay says with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Sequences:
    """`S` sequences of `L` frames, each from one episode, with up to `K` frames before it to warm a memory up.

    Attributes:
        observations: `[K + L + 1, S, ...]`; the sequence begins in row `K`; the last row is where it led to, which
            means nothing where the episode terminated there.
        actions: `[L, S, ...]`, as in a fragment.
        behaviour: `[L, S, P]` float32, parameters of the distribution the actions were drawn from.
        rewards: `[L, S]` float32.
        terminated: `[L, S]` bool; a truncated episode's last observation stands in the last row instead.
        burn_in: `[S]` int64, how many of the rows before `K` belong to the sequence's episode, at most `K`.
        memory: `[S, M]` float32, the policy's stored memory before the first of these.
    """

    observations: np.ndarray
    actions: np.ndarray
    behaviour: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    burn_in: np.ndarray
    memory: np.ndarray

    @property
    def frames(self) -> int:
        """Frames to learn from."""
        return int(self.rewards.size)

    def between(self, low: int, high: int) -> Sequences:
        """The sequences from `low` on and before `high`."""
        own = slice(low, high)
        return Sequences(
            observations=self.observations[:, own],
            actions=self.actions[:, own],
            behaviour=self.behaviour[:, own],
            rewards=self.rewards[:, own],
            terminated=self.terminated[:, own],
            burn_in=self.burn_in[own],
            memory=self.memory[own],
        )


@dataclass(frozen=True)
class Sample:
    """What an update learns from besides its round.

    Attributes:
        batches: Sequences, for one gradient step each where an algorithm takes several; none before the replay is warm.
        stagnant: Whether no new best score has come for so long that acting should look around.
    """

    batches: tuple[Sequences, ...] = ()
    stagnant: bool = False


@dataclass(frozen=True)
class ReplayEvent:
    """Something that happened in a replay.

    Attributes:
        kind: A stable name, `replay_...`.
        text: A sentence for people.
        episode: How many episodes had finished.
        facts: What else is to be known.
    """

    kind: str
    text: str
    episode: int
    facts: dict[str, Any]
