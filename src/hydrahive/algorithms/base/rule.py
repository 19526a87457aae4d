"""What the learner asks of an algorithm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from hydrahive.algorithms.base.sharing import Done, Hands, Standing, Work
from hydrahive.core.config import AlgorithmConfig
from hydrahive.core.fragment import Fragment
from hydrahive.core.machine import gains_by_bfloat16
from hydrahive.core.replayed import Judgement, Sample
from hydrahive.core.state import State
from hydrahive.policies.flat_weights import FlatWeights


@dataclass(frozen=True)
class Computing:
    """Where and how a rule computes.

    Attributes:
        device: Of the weights.
        slices: Parts that a round's gradient is summed from, in order.
        autocast: Whether layers compute in bfloat16 where that is faster.
        at_once: Slices, of one gradient step or of some that go together, that are computed at a time.
    """

    device: torch.device
    slices: int = 1
    autocast: bool = False
    at_once: int = 1

    def precision(self) -> torch.autocast:
        """The context that layers run in."""
        return torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.autocast and gains_by_bfloat16(self.device.type)
        )


@dataclass(frozen=True)
class Round:
    """What an update learns from.

    Attributes:
        fragments: One of each shard, in shard order.
        sample: What the replay gives with it; None without a replay.
        env_steps: Of the run, before this round; schedules read it.
    """

    fragments: Sequence[Fragment]
    sample: Sample | None
    env_steps: int

    @property
    def columns(self) -> int:
        """Environments in it."""
        return sum(fragment.actions.shape[1] for fragment in self.fragments)

    @property
    def valid_rows(self) -> int:
        """Env steps in it."""
        return sum(int(fragment.valid.sum()) for fragment in self.fragments)


class Rule(Protocol):
    """Turns rounds into new weights."""

    weights: FlatWeights

    @property
    def config(self) -> AlgorithmConfig:
        """What the next update is made with."""

    def change(self, config: AlgorithmConfig) -> None:
        """Learn with other values of what is `changeable` from the next update on; weights and moments stay."""

    @property
    def gradient_steps(self) -> int:
        """Taken so far."""

    def learn(self, round_: Round) -> dict[str, float]:
        """Make the next version and give the update's figures; `loss` among them unless there was nothing to learn.

        What the update was made with (`learning_rate`, `discount`, `entropy_cost`) is told as it was used.

        Raises:
            DivergedError: If a gradient is not finite.
        """

    def help_from(self, hands: Hands | None) -> None:
        """Have these help with slices' gradients from now on; they change no byte."""

    def find(self, standing: Standing, work: Work) -> Done:
        """A slice's gradient, for a learner that stands elsewhere."""

    def judgement(self) -> Judgement | None:
        """What the last update found of replayed rows; None if nothing."""

    def state(self) -> State:
        """Weights, optimizer, and all else that the next update depends on, as named arrays."""

    def restore(self, state: State, gradient_steps: int) -> None:
        """Continue from `state` after so many gradient steps."""

    def load_weights(self, state: State) -> None:
        """Begin version 0 with the weights of `state`."""
