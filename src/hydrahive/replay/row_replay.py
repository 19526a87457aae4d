"""A memory of single steps: uniform (Lin 1992), or prioritised by how far off they were (Schaul et al. 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from blake3 import blake3

from hydrahive.core.fragment import Fragment, FragmentSummary
from hydrahive.core.replayed import Draw, Judgement, ReplayEvent, Sample, Transitions
from hydrahive.core.state import State, as_json_array, from_json_array, hashed_bytes, nested, under
from hydrahive.replay.config import Rows as Config
from hydrahive.replay.episodes import Layout
from hydrahive.replay.rows import Places, Rows
from hydrahive.replay.sum_tree import SumTree

ONE = 2**20
"""The priority 1 as an integer."""

MOST = 2**40
"""No priority is larger, so that the sum of a million times a million of them still is an int64."""


@dataclass
class _Counters:
    """How far the memory is."""

    finished: int = 0
    finished_in_round: int = 0
    is_warm: bool = False
    is_full: bool = False
    top: int = ONE
    chain: str = ""


class RowReplay:
    """The newest rows, drawn in proportion to their priorities; with an exponent of 0 all are alike."""

    stagnant = False

    def __init__(self, config: Config, layout: Layout) -> None:
        """Begin empty."""
        self.config, self.layout = config, layout
        self._rows = Rows(layout, config.capacity)
        self._tree = SumTree(self._rows.size * layout.columns)
        self._drawable = 0
        self._counters = _Counters()
        self._events: list[ReplayEvent] = []
        kind = f"priorities to the power of {config.priority_exponent:g}" if config.priority_exponent else "uniform"
        self._tell("replay_initialised", f"rows, {self._rows.size * layout.columns:,} of them, {kind}")

    @property
    def finished_in_round(self) -> int:
        """Episodes that ended in the newest round."""
        return self._counters.finished_in_round

    @property
    def frames(self) -> int:
        """Rows that are kept."""
        return (self._rows.time - self._rows.oldest) * self.layout.columns

    @property
    def unfinished_frames(self) -> int:
        """Rows of episodes that have not finished are among the others."""
        return 0

    @property
    def nbytes(self) -> int:
        """Memory of all rows and priorities."""
        return self._rows.nbytes + self._tree.nbytes

    def figures(self) -> dict[str, float]:
        """Numbers for a row of metrics."""
        return {"replay_frames": self.frames, "replay_drawable": self._drawable}

    def insert(self, fragments: Sequence[Fragment], summaries: Sequence[FragmentSummary]) -> None:
        """Take a round."""
        rows, counters = self._rows, self._counters
        counters.finished_in_round = sum(len(summary.scores) for summary in summaries)
        counters.finished += counters.finished_in_round
        start = rows.time
        taken = rows.append(fragments)
        hasher = blake3(counters.chain.encode())
        for piece in hashed_bytes(sorted(taken.items())):
            hasher.update(piece)
        counters.chain = hasher.hexdigest()
        self._weigh(start)
        if rows.oldest and not counters.is_full:
            counters.is_full = True
            self._tell("replay_full", f"memory is full at {self.frames:,} rows, the oldest leave")

    def judge(self, judgement: Judgement | None) -> None:
        """Take what an update found of the rows that it learned from; of those that have left nothing is kept."""
        if judgement is None or not self.config.priority_exponent:
            return
        kept = judgement.keys >= self._first_drawable() * self.layout.columns
        keys, errors = judgement.keys[kept], judgement.errors[kept].astype(np.float64)
        # p_i = (|delta_i| + epsilon)^alpha (Schaul et al. 2016, section 3.3)
        powers = (errors + self.config.priority_epsilon) ** self.config.priority_exponent
        priorities = np.clip(powers * ONE, 1, MOST).astype(np.int64)
        self._tree.set(self._at(self._rows.places(keys)), priorities)
        self._counters.top = max(self._counters.top, int(priorities.max(initial=0)))

    def can_draw(self, draw: Draw) -> bool:
        """Whether there are enough rows for a batch."""
        return bool(draw.batches) and self._drawable >= (draw.size or 1)

    def serve(self, batches: int) -> None:
        """Note that so many batches will be drawn; tells when the replay becomes warm."""
        if batches and not self._counters.is_warm:
            self._counters.is_warm = True
            self._tell("replay_warm", f"warm, {self._drawable:,} rows")

    def starve(self) -> None:
        """Rows never become fewer."""

    def sample(self, generator: np.random.Generator, draw: Draw) -> Sample:
        """Draw all batches at once."""
        assert draw.size is not None, "who learns from rows says how many"
        # P(i) = p_i / sum_k p_k (equation 1)
        total, count = self._tree.total, draw.batches * draw.size
        at = self._tree.find(generator.integers(0, total, count))
        places = self._placed(at)
        drawn = self._rows.transitions(places, self._tree.weights(at) / total, self._drawable)
        drawn = self.learned_from(generator, drawn)
        return Sample(transitions=tuple(_part(drawn, i * draw.size, (i + 1) * draw.size) for i in range(draw.batches)))

    def learned_from(self, generator: np.random.Generator, drawn: Transitions) -> Transitions:
        """What is learned from rows that were drawn: themselves, unless a replay makes something else of them."""
        return drawn

    def take_events(self) -> list[ReplayEvent]:
        """What has happened since the last call."""
        events, self._events = self._events, []
        return events

    def mark(self, name: str) -> None:
        """A moment's name is its round: there is nothing to remember."""

    def block_since(self, mark: str) -> State:
        """The rows since a round, that are still kept."""
        start = max(int(mark) * self.layout.fragment_length, self._rows.oldest)
        numbers = np.array([self._rows.time - 1] if self._rows.time > start else [], np.int64)
        return {**nested("rows", self._rows.between(start, self._rows.time)), "numbers": numbers}

    def state(self) -> State:
        """All but the rows, whose digest is in it."""
        state = {
            "counters": as_json_array(vars(self._counters)),
            "oldest": np.array([self._rows.oldest], np.int64),
            "time": np.array([self._rows.time], np.int64),
        }
        if self.config.priority_exponent:
            state["priorities"] = self._tree.weights(self._kept())
        return state

    def restore(self, state: State, blocks: Sequence[State], mark: str) -> None:
        """Fill an empty memory from `state` and the blocks up to it."""
        assert not self._rows.time, "only an empty replay is filled"
        time, steps = int(state["time"][0]), self.layout.fragment_length
        parts = [under("rows", dict(block)) for block in blocks]
        self._rows.time = time - sum(len(part["valid"]) for part in parts)
        for part in parts:
            for start in range(0, len(part["valid"]), steps):  # as they came: what can be drawn shows in the same order
                begun = self._rows.time
                self._rows.append_rows(_some(part, start, start + steps, begun, self.layout.columns))
                self._weigh(begun)
        assert self._rows.time == time, "the blocks end at the state"
        counters: Any = from_json_array(state["counters"])
        self._counters, self._events = _Counters(**counters), []
        if self.config.priority_exponent:
            self._set(self._kept(), state["priorities"])

    def _weigh(self, start: int) -> None:
        """Let rows be drawn whose next steps the round from `start` on has shown, and none that have left."""
        rows = self._rows
        new, gone = np.arange(start, rows.time), np.arange(rows.oldest, self._first_drawable())
        cleared = self._all_at(np.concatenate([new, gone]))
        self._set(cleared, np.zeros(len(cleared), np.int64))
        first = max(self._first_drawable(), start - self.layout.steps)
        end = rows.time - self.layout.steps
        if first < end:
            times, among = np.nonzero(rows.whole(first, end))
            at = self._at(Places(times + first, among))
            # New rows have the highest priority so far, so that each is drawn soon (algorithm 1, line 6).
            top = self._counters.top if self.config.priority_exponent else 1
            self._set(at, np.full(len(at), top, np.int64))

    def _first_drawable(self) -> int:
        """The first step whose stacked frames are all still kept."""
        return self._rows.oldest + (self.layout.stack - 1 if self._rows.oldest else 0)

    def _set(self, at: np.ndarray, weights: np.ndarray) -> None:
        """Give different places other weights."""
        if len(at):
            self._drawable += int((weights > 0).sum()) - int((self._tree.weights(at) > 0).sum())
            self._tree.set(at, weights)

    def _kept(self) -> np.ndarray:
        """Where all rows that are kept stand in the tree, in order."""
        return self._all_at(np.arange(self._rows.oldest, self._rows.time))

    def _all_at(self, times: np.ndarray) -> np.ndarray:
        """Where all columns' rows of some steps stand in the tree, step by step."""
        return self._at(Places(times[:, None], np.arange(self.layout.columns))).ravel()

    def _at(self, places: Places) -> np.ndarray:
        """Where rows stand in the tree."""
        at: np.ndarray = places.times % self._rows.size * self.layout.columns + places.columns
        return at

    def _placed(self, at: np.ndarray) -> Places:
        """The inverse of `_at`."""
        within, columns = np.divmod(at, self.layout.columns)
        first = self._rows.oldest
        return Places(first + (within - first) % self._rows.size, columns)

    def _tell(self, kind: str, text: str, **facts: Any) -> None:
        episode = self._counters.finished
        self._events.append(ReplayEvent(kind, f"replay, episode {episode:,}: {text}", episode, facts))


def _part(drawn: Transitions, low: int, high: int) -> Transitions:
    """Some of the transitions that were drawn together."""
    own = slice(low, high)
    parts = {name: value[own] for name, value in vars(drawn).items() if name not in ("rewards", "rows")}
    return Transitions(**parts, rewards=drawn.rewards[:, own], rows=drawn.rows)


def _some(rows: State, low: int, high: int, time: int, columns: int) -> State:
    """Rows `low` to `high` of a block, the first of which is step `time`, with the cuts among them."""
    cut = (rows["cut_keys"] >= time * columns) & (rows["cut_keys"] < (time + high - low) * columns)
    cuts = {name: rows[name][cut] for name in ("cut_keys", "cut_observations")}
    return {**{name: array[low:high] for name, array in rows.items() if name not in cuts}, **cuts}
