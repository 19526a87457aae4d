"""The unit of work: some steps of one shard under one weights version."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hydrahive.core.frames import whole_observations
from hydrahive.core.watched import Frame

MASKED = -1e30
"""The unnormalised log-probability of an action that is not legal: never drawn, and recorded as such."""

HERE, REPLAYED, VERIFIED = "here", "replayed", "verified"
"""Of a fragment whose acting was lent to somebody who is not believed: it was computed here after all; he acted, and
the environments were stepped here; likewise, and all of it was computed here, too, and is the same."""


@dataclass(frozen=True)
class FragmentId:
    """Names one fragment for ever: whoever computes it, and however often, gets the same bytes."""

    run_id: str
    segment: int
    round: int
    shard: int


@dataclass(frozen=True)
class Fragment:
    """What one shard saw, did and got during `T` steps of its `B` environments.

    Attributes:
        id: Which fragment this is.
        version: The weights version that acted.
        observations: `[T + 1, B, ...]`, raw; row `T` is where the next fragment begins. Where observations are the last
            `S` frames, `[T + S, B, ...]`, each frame once (`hydrahive.core.frames` lays them out).
        actions: `[T, B]` int64, or `[T, B, D]` float32, as the policy drew them.
        behaviour: `[T, B, P]` float32, parameters of the distribution the actions were drawn from.
        rewards: `[T, B]` float32.
        terminated: `[T, B]` bool, the episode ended by the environment's own rules.
        truncated: `[T, B]` bool, the episode was cut by a limit; its value is bootstrapped.
        valid: `[T, B]` bool; False marks the reset row of an environment that resets on the step
            after an episode's end. Such rows are neither learned from, nor counted, nor paid.
        cut_rows: `[K, 2]` int32, the (t, b) of each truncation, in order.
        cut_observations: `[K, ...]`, the last observation of each truncated episode.
        memory: `[B, M]` float32, the policy's memory before the first step; `M` is 0 without any.
        state_rows: `[S, 2]` int32, the (t, b) whose memory a replay wants, in order.
        states: `[S, M]` float32, the memory before each of these steps.
    """

    id: FragmentId
    version: int
    observations: np.ndarray
    actions: np.ndarray
    behaviour: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    valid: np.ndarray
    cut_rows: np.ndarray
    cut_observations: np.ndarray
    memory: np.ndarray
    state_rows: np.ndarray
    states: np.ndarray

    @property
    def stack(self) -> int:
        """Frames in an observation; 1 where observations are not stacks of frames."""
        return len(self.observations) - len(self.actions)

    def whole_observations(self) -> np.ndarray:
        """The observations, `[T + 1, B, ...]`, whether or not they stack frames."""
        if self.stack == 1:
            return self.observations
        return whole_observations(self.observations, self.terminated | self.truncated)

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays, which is what travels."""
        return sum(value.nbytes for value in vars(self).values() if isinstance(value, np.ndarray))


@dataclass(frozen=True)
class FragmentSummary:
    """The few numbers of a fragment that the Trainer itself reads.

    Attributes:
        shard: Whose fragment it is.
        env_steps: Valid rows.
        scores: `[E]` float64, scores of the episodes that ended, ordered by step, then environment.
        lengths: `[E]` int64, their lengths in env steps.
        seconds: Time the fragment took, for display only.
        facts: What the environment tells of the episodes besides their scores, `[E]` float64 each, by name.
        detours: What careful exploration did (`hydrahive.policies.exploration.DETOUR_COUNTS`), int64; empty without.
        frames: Pictures for whoever watches; nothing is computed from them.
        remarks: What is odd about the environment, in sentences for people.
        lent: Who acted, where that may be somebody else than who tells it: `HERE`, `REPLAYED` or `VERIFIED`.
    """

    shard: int
    env_steps: int
    scores: np.ndarray
    lengths: np.ndarray
    seconds: float
    detours: np.ndarray
    facts: dict[str, np.ndarray] = field(default_factory=dict)
    frames: tuple[Frame, ...] = ()
    remarks: tuple[str, ...] = ()
    lent: str = ""
