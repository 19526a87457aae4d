"""Which replay a run has; torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal

from hydrahive.core.config import ReplayConfig, require, require_integer

CLASSIC_GEARS = ((4, 64), (8, 32), (16, 16), (24, 10), (32, 8), (40, 6), (48, 5), (56, 4), (64, 3))
"""ai-hydra 0.17's nine gears: (sequence length, sequences in a batch)."""


@dataclass(frozen=True)
class Ath(ReplayConfig):
    """Adaptive Temporal Horizon: gears adapt the sequences' length, buckets over temporal depth choose among them.

    Episodes are cut into chunks of the gear's length, aligned to the episode's end. An episode stands in bucket i if
    it has more than i chunks. Many episodes in the deepest buckets shift the gear up, few shift it down. The defaults
    of `depth`, `hunting` and the thresholds mend ai-hydra's; the original is `depth: absolute, hunting: true`.

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
            in each; `absolute`: chunk i stands in bucket i, and what lies deeper than the buckets is never drawn.
        hunting: Whether to shift also where the new gear would at once call for shifting back.
        status_every: Served batches between two events that tell the buckets.
    """

    maker = "hydrahive.replay.ath:AthReplay"

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
class Uniform(ReplayConfig):
    """Sequences of one length, every chunk of every episode equally likely.

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
