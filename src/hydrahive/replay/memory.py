"""Whole episodes, and sequences drawn from them: what all replays share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from blake3 import blake3

from hydrahive.core.fragment import Fragment, FragmentSummary
from hydrahive.core.replayed import Draw, Judgement, ReplayEvent, Sample, Sequences
from hydrahive.core.state import State, as_json_array, from_json_array, hashed_bytes, nested, under
from hydrahive.replay.config import SequenceConfig
from hydrahive.replay.episodes import Chunks, End, Episode, Layout, ends_of, first_column, with_last
from hydrahive.replay.ring import Ring
from hydrahive.replay.unfinished import Unfinished

MARKS = 200
"""Moments that are remembered: more than there can be cuts of a run under way."""


@dataclass
class _Counters:
    """How far the store is."""

    finished: int = 0
    finished_in_round: int = 0
    served: int = 0
    is_warm: bool = False
    is_full: bool = False
    is_starved: bool = False
    chain: str = ""


class SequenceReplay:
    """Stores the episodes of all columns and draws sequences from those that have finished.

    Which sequences, and how long, is for subclasses to say: they hear of each episode that is stored and that leaves,
    and choose chunks. What is drawn depends on the stored episodes and the generator only, not on where they lie.
    """

    def __init__(self, config: SequenceConfig, layout: Layout) -> None:
        """Lay out the memory of `config.capacity` frames."""
        self.config, self.layout = config, layout
        self._ring = Ring(config.capacity, layout.fields())
        state_fields = {"states": ((layout.memory,), np.dtype(np.float32))}
        self._states = Ring(config.capacity // config.states_every + 1 if layout.memory else 1, state_fields)
        self._unfinished = Unfinished(layout.columns, layout.fragment_length, layout.fields())
        self._waiting_states: list[list[np.ndarray]] = [[] for _ in range(layout.columns)]
        self._episodes: dict[int, Episode] = {}
        self._counters = _Counters()
        self._marks: dict[str, int] = {}
        self._events: list[ReplayEvent] = []

    # What subclasses say.

    def _added(self, episode: Episode) -> None:
        """An episode is stored."""

    def _left(self, episode: Episode) -> None:
        """An episode has left."""

    def _judged(self, score: float) -> None:
        """An episode has finished, and is stored unless it is too long."""

    def _batch(self) -> tuple[int, int]:
        """Length of a sequence, and how many make a batch."""
        raise NotImplementedError

    def _available(self) -> int:
        """How many choices there are; a batch of more sequences than that is not drawn."""
        raise NotImplementedError

    def _chosen(self, count: int, generator: np.random.Generator) -> Chunks:
        """Choose so many sequences."""
        raise NotImplementedError

    def _rule_state(self) -> dict[str, Any]:
        """What the rule keeps besides the episodes, as plain data."""
        return {}

    def _restore_rule(self, plain: dict[str, Any]) -> None:
        """Continue from `_rule_state`'s data; the episodes are there."""

    @property
    def stagnant(self) -> bool:
        """Whether acting should look around."""
        return False

    def figures(self) -> dict[str, float]:
        """Numbers for a row of metrics."""
        length, count = self._batch()
        return {
            "replay_frames": self.frames,
            "replay_unfinished_frames": self.unfinished_frames,
            "replay_episodes": len(self._episodes),
            "replay_sequence": length,
            "replay_batch": count,
        }

    # What all replays do.

    @property
    def sequence(self) -> int:
        """Frames of a sequence."""
        return self._batch()[0]

    @property
    def frames(self) -> int:
        """Rows of finished episodes in the store."""
        return self._ring.head - next(iter(self._episodes.values())).start if self._episodes else 0

    @property
    def unfinished_frames(self) -> int:
        """Rows of episodes that have not finished."""
        return self._unfinished.rows

    @property
    def finished_in_round(self) -> int:
        """Episodes that finished in the newest round."""
        return self._counters.finished_in_round

    @property
    def nbytes(self) -> int:
        """Memory of all frames and states."""
        waiting = sum(state.nbytes for column in self._waiting_states for state in column)
        return self._ring.nbytes + self._states.nbytes + self._unfinished.nbytes + waiting

    def insert(self, fragments: Sequence[Fragment], summaries: Sequence[FragmentSummary]) -> None:
        """Take a round; its episodes finish in the order of their steps, then of their columns."""
        self._counters.finished_in_round = 0
        # Episodes under way take as much as finished ones at most: one without an end must not fill the machine.
        for column in self._unfinished.give_up_beyond(self.config.capacity):
            self._waiting_states[column].clear()
        for fragment in fragments:
            self._begin_page(fragment)
        for end, fragment in ends_of(fragments, summaries):
            if end.is_lost:
                self._lose(end, fragment)
            else:
                self._finish(end, fragment)
        self._unfinished.settle(range(self.layout.columns))

    def serve(self, batches: int) -> None:
        """Note that so many batches will be drawn from the present state; tells when the replay becomes warm."""
        if batches and not self._counters.is_warm:
            self._counters.is_warm = True
            length, count = self._batch()
            self._tell("replay_warm", f"warm, {self._available():,} choices", sequence=length, batch=count)
        self._counters.served += batches
        self._counters.is_starved = False

    def starve(self) -> None:
        """Note that nothing can be drawn; tells it of a replay that could."""
        if self._counters.is_warm and not self._counters.is_starved:
            self._counters.is_starved = True
            length, count = self._batch()
            text = f"{self._available():,} choices are too few for {count} sequences of {length}: nothing is replayed"
            self._tell("replay_starved", text, sequence=length, batch=count)

    def judge(self, judgement: Judgement | None) -> None:
        """Nothing here depends on how an update found what it learned from."""

    def can_draw(self, draw: Draw | None = None) -> bool:
        """Whether a batch can be drawn; by default of as many sequences as the rule says."""
        wanted = self._batch()[1] if draw is None or draw.size is None else draw.size
        return 0 < wanted <= self._available()

    def sample(self, generator: np.random.Generator, draw: Draw) -> Sample:
        """Draw batches one after the other."""
        return Sample(tuple(self.draw(generator, draw.size) for _ in range(draw.batches)), self.stagnant)

    def draw(self, generator: np.random.Generator, count: int | None = None) -> Sequences:
        """Draw a batch; see `can_draw`."""
        return self._gathered(self._chosen(self._batch()[1] if count is None else count, generator))

    def take_events(self) -> list[ReplayEvent]:
        """What has happened since the last call."""
        events, self._events = self._events, []
        return events

    def mark(self, name: str) -> None:
        """Remember this moment, for `block_since`; older marks are forgotten."""
        newest = dict(list(self._marks.items())[-MARKS:])
        self._marks = {**newest, name: self._counters.finished}

    def block_since(self, mark: str) -> State:
        """The stored episodes that have finished since a mark: rows, states, and what they are."""
        first = self._marks[mark]
        episodes = [episode for number, episode in self._episodes.items() if number >= first]
        start, states = (episodes[0].start, episodes[0].states) if episodes else (self._ring.head, self._states.head)
        return {
            **nested("rows", self._ring.between(start, self._ring.head)),
            **nested("states", self._states.between(states, self._states.head)),
            "numbers": np.array([episode.number for episode in episodes], np.int64),
            "frames": np.array([episode.frames for episode in episodes], np.int64),
            "truncated": np.array([episode.truncated for episode in episodes], np.bool_),
            "scores": np.array([episode.score for episode in episodes], np.float64),
        }

    def state(self) -> State:
        """All but the stored episodes, whose digest is in it."""
        waiting = [np.stack(column) for column in self._waiting_states if column]
        nothing = np.zeros((0, self.layout.memory), np.float32)
        return {
            "counters": as_json_array(vars(self._counters)),
            "oldest": np.array([next(iter(self._episodes), self._counters.finished)], np.int64),
            "rule": as_json_array(self._rule_state()),
            **nested("unfinished", self._unfinished.state()),
            "waiting_states": np.concatenate([nothing, *waiting]),
            "waiting_counts": np.array([len(column) for column in self._waiting_states], np.int64),
        }

    def restore(self, state: State, blocks: Sequence[State], mark: str) -> None:
        """Fill an empty replay from `state` and the blocks up to it; `mark` names this moment."""
        assert not self._episodes, "only an empty replay is filled"
        counters: Any = from_json_array(state["counters"])
        self._events = []
        for block in blocks:
            self._refill(block, int(state["oldest"][0]))
        self._counters = _Counters(**counters)
        self.mark(mark)
        self._unfinished.restore(under("unfinished", state))
        rows = iter(state["waiting_states"])
        self._waiting_states = [[next(rows) for _ in range(count)] for count in state["waiting_counts"].tolist()]
        plain: Any = from_json_array(state["rule"])
        self._restore_rule(plain)

    def _refill(self, block: Mapping[str, np.ndarray], oldest: int) -> None:
        """Store a block's episodes that have not left again."""
        rows, states = under("rows", dict(block)), under("states", dict(block))
        facts = zip(*(block[name].tolist() for name in ("numbers", "frames", "truncated", "scores")), strict=True)
        row = state = 0
        for number, frames, truncated, score in facts:
            row_end = row + frames + truncated
            state_end = state + self._states_of(frames)
            if number >= oldest:
                mine = {name: array[row:row_end] for name, array in rows.items()}
                self._store(number, frames, truncated, score, mine, states["states"][state:state_end])
            row, state = row_end, state_end

    def _begin_page(self, fragment: Fragment) -> None:
        first, steps = first_column(fragment), len(fragment.actions)
        rows = {name: getattr(fragment, name)[:steps] for name in self.layout.fields() if name != "observations"}
        rows["observations"] = fragment.whole_observations()[:steps]
        self._unfinished.add(first, rows)
        for b in np.flatnonzero(~fragment.valid[0]).tolist():
            if self._unfinished.leave(first + b):
                self._waiting_states[first + b].clear()
            self._unfinished.skip(first + b, _next_played(fragment, 0, b))
        for (_, b), state in zip(fragment.state_rows.tolist(), fragment.states, strict=True):
            self._waiting_states[first + b].append(state.copy())

    def _finish(self, end: End, fragment: Fragment) -> None:
        """Store an episode that has ended, and let the rule judge it."""
        rows, lost, states = self._taken(end, fragment)
        frames = len(rows["actions"]) + lost
        if end.truncated:
            rows = with_last(rows, fragment, end)
        number = self._counters.finished
        self._counters.finished += 1
        self._counters.finished_in_round += 1
        if lost or frames + end.truncated > self.config.capacity:
            self._tell("replay_too_long", f"an episode of {frames:,} frames is too long for replay.capacity, not kept")
        elif len(states) == self._states_of(frames):  # else somebody made them up, which is for the audit to find
            self._make_room(frames + end.truncated)
            self._link(end, rows, states)
            self._store(number, frames, end.truncated, end.score, rows, states)
        self._judged(end.score)

    def _lose(self, end: End, fragment: Fragment) -> None:
        """Forget an episode whose agent vanished without an end: nobody knows where its last step led to."""
        self._taken(end, fragment)

    def _taken(self, end: End, fragment: Fragment) -> tuple[dict[str, np.ndarray], int, np.ndarray]:
        """Take out an episode's rows and states; and how many of its rows were given up."""
        column = first_column(fragment) + end.b
        rows, lost = self._unfinished.take(column, end.t)
        self._unfinished.skip(column, _next_played(fragment, end.t + 1, end.b))
        waiting = self._waiting_states[column]
        later = int(((fragment.state_rows[:, 0] > end.t) & (fragment.state_rows[:, 1] == end.b)).sum())
        mine = waiting[: len(waiting) - later]
        del waiting[: len(mine)]
        return rows, lost, np.array(mine, np.float32).reshape(len(mine), self.layout.memory)

    def _states_of(self, frames: int) -> int:
        """Stored states of an episode of so many frames: one every `states_every`, but not the first, which is zero."""
        return (frames - 1) // self.config.states_every if self.layout.memory else 0

    def _make_room(self, rows: int) -> None:
        while self.frames + rows > self.config.capacity:
            if not self._counters.is_full:
                self._counters.is_full = True
                self._tell("replay_full", f"memory is full at {self.frames:,} frames, the oldest episodes leave")
            oldest = next(iter(self._episodes))
            self._left(self._episodes.pop(oldest))

    def _link(self, end: End, rows: Mapping[str, np.ndarray], states: np.ndarray) -> None:
        """Carry the digest of all episodes on: each is hashed once, with the digest of those before it."""
        hasher = blake3(f"{self._counters.chain}/{end.truncated}/{end.score!r}".encode())
        for piece in hashed_bytes([*sorted(rows.items()), ("states", states)]):
            hasher.update(piece)
        self._counters.chain = hasher.hexdigest()

    def _store(
        self,
        number: int,
        frames: int,
        truncated: bool,
        score: float,
        rows: Mapping[str, np.ndarray],
        states: np.ndarray,
    ) -> None:
        start, states_start = self._ring.write(rows), self._states.write({"states": states})
        episode = Episode(number, start, frames, bool(truncated), states_start, score)
        self._episodes[number] = episode
        self._added(episode)

    def _gathered(self, chunks: Chunks) -> Sequences:
        """The frames of chosen chunks, `[L, S]`, with those before them that a memory is warmed up on."""
        length, begins = chunks.length, chunks.begins
        facts = np.array([episode[1:5] for episode in chunks.episodes], np.int64).reshape(-1, 4)
        starts, frames, truncated, states = facts.T
        every = self.config.states_every
        before = self.config.burn_in + every - 1 if self.layout.memory else 0
        warm_from = np.maximum(begins - self.config.burn_in, 0) // every * every if before else begins
        # What lies outside of the episode means nothing; its nearest row stands there, so that bytes never depend on
        # what happens to lie beside it.
        place = begins + np.arange(-before, length + 1)[:, None]
        inside = np.minimum(place, frames + truncated - 1)
        positions = starts + (np.maximum(inside, 0, out=inside) if before else inside)
        learned, place = positions[before : before + length], place[before : before + length]
        ends_here = place == frames - 1
        memory = np.zeros((len(begins), self.layout.memory), np.float32)
        if self.layout.memory:
            memory = self._states.read("states", states + warm_from // every - 1)
            memory[warm_from == 0] = 0.0
        return Sequences(
            observations=self._ring.read("observations", positions),
            actions=self._ring.read("actions", learned),
            behaviour=self._ring.read("behaviour", learned),
            rewards=self._ring.read("rewards", learned),
            terminated=ends_here & (truncated == 0),
            truncated=ends_here & (truncated == 1),
            valid=place < frames,
            burn_in=begins - warm_from,
            memory=memory,
        )

    def _tell(self, kind: str, text: str, **facts: Any) -> None:
        episode = self._counters.finished
        self._events.append(ReplayEvent(kind, f"replay, episode {episode:,}: {text}", episode, facts))


def _next_played(fragment: Fragment, t: int, b: int) -> int:
    """The first row from `t` on in which somebody played; one behind the last if there is none."""
    played = np.flatnonzero(fragment.valid[t:, b])
    return t + int(played[0]) if len(played) else len(fragment.valid)
