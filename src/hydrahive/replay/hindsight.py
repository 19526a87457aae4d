"""A memory of single steps that learns from what was reached instead of what was wanted (Andrychowicz et al. 2017)."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np

from hydrahive.core.replayed import Transitions
from hydrahive.replay.config import Hindsight
from hydrahive.replay.episodes import JudgedGoals, Layout
from hydrahive.replay.row_replay import RowReplay
from hydrahive.replay.rows import Places

GOING_ON = -1
"""The last step of an episode that has not ended."""


class HindsightReplay(RowReplay):
    """Rows as they were, and more of them with a goal that their episode reached."""

    def __init__(self, config: Hindsight, layout: Layout) -> None:
        """Begin empty."""
        super().__init__(config, layout)
        assert layout.goals is not None, "whoever lays it out has looked for goals"
        self._goals: JudgedGoals = layout.goals
        shape = self._rows.size, layout.columns
        self._first = np.zeros(shape, np.int64)
        """Of each row, the first step of its episode."""
        self._last = np.full(shape, GOING_ON, np.int64)
        """Of each row, the last step of its episode."""

    @property
    def nbytes(self) -> int:
        """With where episodes begin and end."""
        return super().nbytes + self._first.nbytes + self._last.nbytes

    def _weigh(self, start: int) -> None:
        """See where episodes begin and end, too."""
        rows, size = self._rows, self._rows.size
        for time in range(start, rows.time):
            at, before = time % size, (time - 1) % size
            valid = rows.read("valid", at)
            goes_on = valid & rows.read("valid", before) & ~rows.ended(before) & (time > 0)
            self._first[at] = np.where(goes_on, self._first[before], time)
            self._last[at] = GOING_ON
            stops = rows.ended(at) & valid
            vanished = ~valid & rows.read("valid", before) & ~rows.ended(before) & (time > 0)
            for column in np.flatnonzero(stops | vanished).tolist():
                last = time if stops[column] else time - 1
                begun = max(int(self._first[last % size, column]), rows.oldest)
                self._last[np.arange(begun, last + 1) % size, column] = last
        super()._weigh(start)

    def learned_from(self, generator: np.random.Generator, drawn: Transitions) -> Transitions:
        """Rows of which `k` in `k + 1` have another goal, where one was reached."""
        config, rows = cast(Hindsight, self.config), self._rows
        places = rows.places(drawn.keys)
        at = places.times % rows.size, places.columns
        chance, among = generator.random((2, len(drawn.keys)))
        last, is_over = self._last[at], self._last[at] != GOING_ON
        last = np.where(is_over, last, rows.time - 1)
        is_cut = is_over & rows.read("truncated", last)[np.arange(len(last)), places.columns]
        # Observations behind the row: those of the episode, and its very last where it was cut.
        end = last + is_cut
        chosen = (chance < config.relabelled / (config.relabelled + 1)) & (end > places.times) & ~drawn.terminated
        begin = {"future": places.times + 1, "final": end}.get(config.goals)
        begin = np.maximum(self._first[at], rows.oldest) if begin is None else begin
        step = begin + ((end + 1 - begin) * among).astype(np.int64)
        own = np.flatnonzero(chosen)
        reached = rows.seen_at(Places(step[own], places.columns[own]), (step > last)[own])
        goals = reached[:, self._goals.achieved]
        return self._for_goals(drawn, own, Places(*(part[own] for part in places)), goals)

    def _for_goals(self, drawn: Transitions, own: np.ndarray, places: Places, goals: np.ndarray) -> Transitions:
        """The same transitions, some of them, `own` `[K]`, as if played for other goals `[K, size]`."""
        steps, rewards = drawn.steps.copy(), drawn.rewards.copy()
        terminated, going = drawn.terminated.copy(), np.ones(len(own), np.bool_)
        nowhere = np.zeros(len(own), np.bool_)
        for k in range(self.layout.steps):
            going &= drawn.steps[own] > k
            reached = self._rows.seen_at(Places(places.times + k + 1, places.columns), nowhere)
            is_end = (drawn.steps[own] == k + 1)[:, None]
            reached = np.where(is_end, drawn.following[own], reached)[:, self._goals.achieved]
            worth, ends = self._goals.judge(reached, goals)
            rewards[k, own] = np.where(going, worth, 0)
            ended = going & ends
            terminated[own[ended]], steps[own[ended]] = True, k + 1
            going &= ~ended
        observations, following = drawn.observations.copy(), drawn.following.copy()
        observations[own, self._goals.desired] = goals
        following[own, self._goals.desired] = goals
        return replace(
            drawn, observations=observations, following=following, rewards=rewards, steps=steps, terminated=terminated
        )
