"""What is wanted and drawn of a replay: sequences of episodes, or single steps; what is said with them, and of them."""

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
        terminated: `[L, S]` bool.
        truncated: `[L, S]` bool; where that led to, the episode's last observation, stands in the row behind.
        valid: `[L, S]` bool; False behind the end of an episode that is shorter than the sequence.
        burn_in: `[S]` int64, how many of the rows before `K` belong to the sequence's episode, at most `K`.
        memory: `[S, M]` float32, the policy's stored memory before the first of these.
    """

    observations: np.ndarray
    actions: np.ndarray
    behaviour: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    valid: np.ndarray
    burn_in: np.ndarray
    memory: np.ndarray

    @property
    def frames(self) -> int:
        """Frames to learn from."""
        return int(self.valid.sum())

    def between(self, low: int, high: int) -> Sequences:
        """The sequences from `low` on and before `high`."""
        own = slice(low, high)
        return Sequences(
            observations=self.observations[:, own],
            actions=self.actions[:, own],
            behaviour=self.behaviour[:, own],
            rewards=self.rewards[:, own],
            terminated=self.terminated[:, own],
            truncated=self.truncated[:, own],
            valid=self.valid[:, own],
            burn_in=self.burn_in[own],
            memory=self.memory[own],
        )


@dataclass(frozen=True)
class Transitions:
    """`S` env steps, each with what came of it within `N` steps of its episode.

    Attributes:
        keys: `[S]` int64, the rows' names, which a `Judgement` tells them by.
        observations: `[S, ...]`, before the step.
        actions: `[S, ...]`, as in a fragment.
        rewards: `[N, S]` float32; 0 behind an episode's end.
        steps: `[S]` int64, env steps from `observations` to `following`, 1 to `N`.
        terminated: `[S]` bool, whether the episode terminated within them; `following` then means nothing.
        following: `[S, ...]`, where they led to; of a truncated episode its last observation.
        legal: `[S, A]` bool, which actions are legal there; `[S, 0]` where all always are. Nobody says it of a
            truncated episode's last observation: all are.
        probabilities: `[S]` float64, with which each was drawn.
        rows: How many rows could have been drawn.
    """

    keys: np.ndarray
    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    steps: np.ndarray
    terminated: np.ndarray
    following: np.ndarray
    legal: np.ndarray
    probabilities: np.ndarray
    rows: int

    @property
    def frames(self) -> int:
        """Env steps to learn from."""
        return len(self.keys)


@dataclass(frozen=True)
class Judgement:
    """What an update found of the rows that it learned from.

    Attributes:
        keys: `[K]` int64, as `Transitions` names them, in the order of the gradient steps.
        errors: `[K]` float32, how far off each was, at least 0.
    """

    keys: np.ndarray
    errors: np.ndarray


@dataclass(frozen=True)
class Told:
    """What an algorithm is told when it is asked what it wants of the replay.

    Attributes:
        env_steps: That the replay has taken.
        before: Likewise, before the newest round.
        finished: Episodes that ended in the newest round.
    """

    env_steps: int
    before: int
    finished: int


@dataclass(frozen=True)
class Draw:
    """What an update wants of the replay.

    Attributes:
        batches: How many, for one gradient step each.
        size: Rows, or sequences, in each; None for as many as the replay says.
    """

    batches: int
    size: int | None = None


@dataclass(frozen=True)
class Sample:
    """What an update learns from besides its round.

    Attributes:
        batches: Sequences, for one gradient step each where an algorithm takes several; none before the replay is warm.
        stagnant: Whether no new best score has come for so long that acting should look around.
        transitions: Single steps instead of sequences, likewise, where the replay keeps rows.
    """

    batches: tuple[Sequences, ...] = ()
    stagnant: bool = False
    transitions: tuple[Transitions, ...] = ()


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
