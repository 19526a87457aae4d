"""Which replay a run has; torch-free."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal

from hydrahive.core.config import ReplayConfig, require, require_integer, require_number

CLASSIC_GEARS = ((4, 64), (8, 32), (16, 16), (24, 10), (32, 8), (40, 6), (48, 5), (56, 4), (64, 3))
"""ai-hydra 0.17's nine gears: (sequence length, sequences in a batch)."""


@dataclass(frozen=True)
class SequenceConfig(ReplayConfig, ABC):
    """A memory of whole episodes that sequences are drawn from.

    Attributes:
        ratio: Replayed frames for each fresh one in an update that learns from both, 0 to 1; an algorithm that learns
            from replayed sequences only says itself how many.
        burn_in: Frames before a sequence that only warm a recurrent policy's memory up.
        states_every: Frames of an episode between two stored states of a recurrent policy, where burning in begins.
    """

    gives = "sequences"

    ratio: float = 0.5
    burn_in: int = 8
    states_every: int = 8

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        super().__post_init__()
        require_number("ratio", self.ratio, 0, 1)
        require_integer("burn_in", self.burn_in, 0, 10_000)
        require_integer("states_every", self.states_every, 1, 10_000)

    @property
    def keeps_memory_every(self) -> int:
        """As often as sequences may begin to burn in."""
        return self.states_every

    @abstractmethod
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """The batches that may be drawn: (frames of a sequence, sequences)."""

    def frames_beside(self, fresh: int) -> int:
        """By the ratio."""
        return int(self.ratio * fresh)

    def drawn_rows(self, memory: int, frames: int | None, batches: int) -> int:
        """With each sequence's next observation, and what a memory is warmed up on."""
        before = self.burn_in + self.states_every - 1 if memory else 0
        if frames is not None:
            return max(max(1, frames // length) * (before + length + 1) for length, _ in self.shapes())
        return batches * max(count * (before + length + 1) for length, count in self.shapes())

    def stored_bytes(self, layout: Any) -> int:
        """Of whole observations, and of the stored memories."""
        frame: int = layout.frame_bytes + 4 * layout.memory // self.states_every
        return self.capacity * frame


@dataclass(frozen=True)
class Ath(SequenceConfig):
    """Adaptive Temporal Horizon: gears adapt the sequences' length, buckets over temporal depth choose among them.

    Episodes are cut into chunks of the gear's length, aligned to the episode's end; the first one overlaps the next, or
    is filled up, where the length does not fit. An episode stands in bucket i if it has more than i chunks. Many
    episodes in the deepest buckets shift the gear up, few shift it down. The defaults of `depth`, `hunting` and the
    thresholds mend ai-hydra's; the original is `depth: absolute, hunting: true`.

    Attributes:
        gears: `formula` (gear g has sequences of 2 g + 2), `classic` (ai-hydra's nine), or a table of
            [sequence length, sequences in a batch], the first gear first.
        max_gear: The formula's top gear.
        max_training_frames: Frames of a batch by the formula.
        buckets: How many depths are told apart.
        up_threshold: More episodes than this in the three deepest buckets shift up.
        down_threshold: Fewer episodes than this in them shift down.
        cooldown: Finished episodes after a shift that must be exceeded before the next one.
        record_restarts_cooldown: Whether a new best score starts the cooldown again.
        stagnation_episodes: Episodes without a new best score that raise an alert, which shifts down when the cooldown
            is over, unless there was an upshift within as many episodes; null for never.
        reset_episodes: Episodes without a new best score after which the gear is 1 again; n + 1 times as many after n
            such resets; null for never.
        depth: `relative`: every chunk of an episode can be drawn, an episode of more chunks than buckets has several
            in each; `absolute`: chunk i stands in bucket i, and what lies deeper than the buckets, or before the first
            whole chunk, is never drawn.
        hunting: Whether to shift also where the new gear would at once call for shifting back.
        status_every: Served batches between two events that tell the buckets.
    """

    maker = "hydrahive.replay.ath:AthReplay"
    needs_scores = True

    gears: Literal["formula", "classic"] | list[list[int]] = "formula"
    max_gear: int = 26
    max_training_frames: int = 512
    buckets: int = 20
    up_threshold: int = 150
    down_threshold: int = 50
    cooldown: int = 200
    record_restarts_cooldown: bool = True
    stagnation_episodes: int | None = 300
    reset_episodes: int | None = 500
    depth: Literal["relative", "absolute"] = "relative"
    hunting: bool = False
    status_every: int = 10

    deepest: ClassVar[int] = 3
    """Buckets whose episodes decide about the gear."""

    def __post_init__(self) -> None:
        """Refuse tables with zeros, thresholds out of order, and a capacity without room."""
        super().__post_init__()
        require_integer("max_gear", self.max_gear, 1, 10_000)
        require_integer("max_training_frames", self.max_training_frames, 1)
        require_integer("buckets", self.buckets, self.deepest, 10_000)
        require_integer("up_threshold", self.up_threshold, 0)
        in_order = 0 <= self.down_threshold <= self.up_threshold
        accepted = f"an integer from 0 to up_threshold, which is {self.up_threshold}"
        require(in_order, "down_threshold", self.down_threshold, accepted)
        require_integer("cooldown", self.cooldown, 0)
        require_integer("status_every", self.status_every, 1)
        for key in ("stagnation_episodes", "reset_episodes"):
            if getattr(self, key) is not None:
                require_integer(key, getattr(self, key), 1)
        if isinstance(self.gears, list):
            whole = bool(self.gears) and all(len(gear) == 2 and min(gear) >= 1 for gear in self.gears)
            require(whole, "gears", self.gears, "pairs of [sequence length, sequences in a batch], all at least 1")
            lengths = [length for length, _ in self.gears]
            grows = all(a < b for a, b in pairwise(lengths))
            require(grows, "gears", self.gears, "sequence lengths that grow from gear to gear")
        episode = self.buckets * self.table()[-1][0]
        accepted = f"at least {episode}, an episode that reaches the deepest bucket in the top gear"
        require(self.capacity >= episode, "capacity", self.capacity, accepted)
        batch = max(length * count for length, count in self.table())
        require(self.capacity >= batch, "capacity", self.capacity, f"at least {batch}, the largest batch of a gear")

    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Those of the gears."""
        return self.table()

    def table(self) -> tuple[tuple[int, int], ...]:
        """The gears, the first one first: (sequence length, sequences in a batch)."""
        if isinstance(self.gears, list):
            return tuple((length, count) for length, count in self.gears)
        if self.gears == "classic":
            return CLASSIC_GEARS
        # L_g = 2 g + 2 frames a sequence, B_g = max(1, F // L_g) sequences a batch: about F frames in any gear
        lengths = [2 * gear + 2 for gear in range(1, self.max_gear + 1)]
        return tuple((length, max(1, self.max_training_frames // length)) for length in lengths)


@dataclass(frozen=True)
class Uniform(SequenceConfig):
    """Sequences of one length, every chunk of every episode equally likely; shorter episodes are filled up.

    Attributes:
        sequence: Frames of a sequence.
        batch: Sequences in a batch.
    """

    maker = "hydrahive.replay.uniform:UniformReplay"

    sequence: int = 16
    batch: int = 32

    def __post_init__(self) -> None:
        """Refuse a capacity without room for a batch."""
        super().__post_init__()
        require_integer("sequence", self.sequence, 1)
        require_integer("batch", self.batch, 1)
        frames = self.sequence * self.batch
        require(self.capacity >= frames, "capacity", self.capacity, f"at least {frames}, one batch")

    def shapes(self) -> tuple[tuple[int, int], ...]:
        """The one that there is."""
        return ((self.sequence, self.batch),)


@dataclass(frozen=True)
class Rows(ReplayConfig):
    """Single env steps, of unfinished episodes, too: the newest of each environment, each frame kept once.

    Attributes:
        priority_exponent: How much more often a row is drawn that an update found to be further off (Schaul et al.
            2016, alpha), 0 to 1; 0 draws all alike.
        priority_epsilon: Added to how far off a row was, so that each can be drawn.
    """

    maker = "hydrahive.replay.row_replay:RowReplay"
    gives = "transitions"

    priority_exponent: float = 0.0
    priority_epsilon: float = 1e-6

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        super().__post_init__()
        require_number("priority_exponent", self.priority_exponent, 0, 1)
        require_number("priority_epsilon", self.priority_epsilon, 0, above=True)

    def stored_bytes(self, layout: Any) -> int:
        """Of frames, each once."""
        row: int = layout.row_bytes
        return self.capacity * row


@dataclass(frozen=True)
class Hindsight(Rows):
    """Rows, most of which are learned from as if another goal had been played for (Andrychowicz et al. 2017).

    Needs an environment with goals, as Gymnasium-Robotics has them: observations are a Dict with `observation`,
    `achieved_goal` and `desired_goal`, and `compute_reward(achieved_goal, desired_goal, info)` says what a goal would
    have been worth.

    Attributes:
        goals: Which ones: `future`, reached later in the row's episode; `episode`, at any time in it; `final`, at its
            end.
        relabelled: Rows with another goal for each one with its own (k of the paper).
    """

    maker = "hydrahive.replay.hindsight:HindsightReplay"
    needs_goals = True

    goals: Literal["future", "final", "episode"] = "future"
    relabelled: float = 4.0

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        super().__post_init__()
        require_number("relabelled", self.relabelled, 0, above=True)
