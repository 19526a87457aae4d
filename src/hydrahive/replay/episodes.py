"""What a replay stores, and how a round's episodes are told apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from hydrahive.core.fragment import Fragment, FragmentSummary


class GoalJudge(Protocol):
    """Says what goals are worth."""

    def __call__(self, achieved: np.ndarray, desired: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The reward of each, float32 `[S]`, and whether it ends the episode, bool `[S]`; of goals `[S, size]`."""


class JudgedGoals(NamedTuple):
    """Goals within observations, and what judges them."""

    achieved: slice
    desired: slice
    judge: GoalJudge


@dataclass(frozen=True)
class Layout:
    """What the replay of a run holds.

    Attributes:
        columns: Environments, of all shards.
        fragment_length: Steps of a fragment.
        observation_shape: Of one observation.
        observation_dtype: Of observations.
        parameters: Numbers that describe the distribution an action was drawn from.
        action_shape: Of one action.
        action_dtype: Of actions.
        memory: Numbers of the policy's memory; 0 without any.
        stack: Frames in an observation, of which fragments hold each once; an episode is stored as whole observations.
        masks: Choices that a mask of legal actions covers; 0 where there are no masks.
        steps: Of a transition: env steps from its observation to the one that it leads to.
        goals: Where observations tell goals, and what judges these; None for replays that do not need them.
    """

    columns: int
    fragment_length: int
    observation_shape: tuple[int, ...]
    observation_dtype: np.dtype
    parameters: int
    memory: int = 0
    action_shape: tuple[int, ...] = ()
    action_dtype: np.dtype = field(default_factory=lambda: np.dtype(np.int64))
    stack: int = 1
    masks: int = 0
    steps: int = 1
    goals: JudgedGoals | None = None

    def fields(self) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
        """What is kept of each frame."""
        return {
            "observations": (self.observation_shape, np.dtype(self.observation_dtype)),
            "actions": (self.action_shape, np.dtype(self.action_dtype)),
            "behaviour": ((self.parameters,), np.dtype(np.float32)),
            "rewards": ((), np.dtype(np.float32)),
        }

    def row_fields(self) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
        """What is kept of each row where unfinished episodes are kept, too."""
        told = {name: ((), np.dtype(np.bool_)) for name in ("terminated", "truncated", "valid")}
        shape = self.observation_shape[1:] if self.stack > 1 else self.observation_shape
        return {
            "frames": (shape, np.dtype(self.observation_dtype)),
            "actions": (self.action_shape, np.dtype(self.action_dtype)),
            "rewards": ((), np.dtype(np.float32)),
            **told,
            **({"legal": ((self.masks,), np.dtype(np.bool_))} if self.masks else {}),
        }

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame of `fields`."""
        return _bytes_of(self.fields())

    @property
    def row_bytes(self) -> int:
        """Bytes of one row of `row_fields`."""
        return _bytes_of(self.row_fields())


def _bytes_of(fields: Mapping[str, tuple[tuple[int, ...], np.dtype]]) -> int:
    return sum(int(np.prod(shape)) * dtype.itemsize for shape, dtype in fields.values())


class Episode(NamedTuple):
    """A finished episode in the store.

    Attributes:
        number: How many had finished before it.
        start: Position of its first row.
        frames: Its length.
        truncated: Whether it was cut; then one more row holds its last observation.
        states: Position of its first stored state.
        score: Its score.
    """

    number: int
    start: int
    frames: int
    truncated: bool
    states: int
    score: float

    @property
    def rows(self) -> int:
        """Rows that it takes."""
        return self.frames + self.truncated


class Chunks(NamedTuple):
    """Which sequences to draw: `S` episodes, the frame `[S]` that each begins at, and their length."""

    episodes: Sequence[Episode]
    begins: np.ndarray
    length: int


class End(NamedTuple):
    """An episode's end within a round; it `is_lost` if its agent just vanished behind it."""

    t: int
    b: int
    truncated: bool
    score: float
    is_lost: bool = False


def first_column(fragment: Fragment) -> int:
    """The first of the columns of a fragment's shard."""
    return fragment.id.shard * int(fragment.actions.shape[1])


def ends_of(fragments: Sequence[Fragment], summaries: Sequence[FragmentSummary]) -> Iterator[tuple[End, Fragment]]:
    """The episodes that ended in these fragments, by step, then by column."""
    ends = []
    for fragment, summary in zip(fragments, summaries, strict=True):
        places = np.argwhere(fragment.terminated | fragment.truncated).tolist()
        # A worker that tells of other episodes than its bytes hold is for the audit to find.
        scores = [*summary.scores.tolist(), *[0.0] * len(places)]
        for (t, b), score in zip(places, scores, strict=False):
            ends.append((End(t, b, bool(fragment.truncated[t, b]), score), fragment))
        if not fragment.valid.all():
            ended = fragment.terminated | fragment.truncated
            vanished = np.argwhere(fragment.valid[:-1] & ~ended[:-1] & ~fragment.valid[1:]).tolist()
            ends += [(End(t, b, False, 0.0, is_lost=True), fragment) for t, b in vanished]
    yield from sorted(ends, key=lambda found: (found[0].t, found[1].id.shard, found[0].b))


def with_last(rows: Mapping[str, np.ndarray], fragment: Fragment, end: End) -> dict[str, np.ndarray]:
    """A truncated episode's rows with its last observation as one more."""
    place = np.flatnonzero((fragment.cut_rows == (end.t, end.b)).all(axis=1))[0]
    one_more = {name: np.zeros((1, *array.shape[1:]), array.dtype) for name, array in rows.items()}
    one_more["observations"] = fragment.cut_observations[place : place + 1]
    return {name: np.concatenate([array, one_more[name]]) for name, array in rows.items()}
