"""Made-up rounds whose frames can be told apart."""

from __future__ import annotations

import numpy as np

from hydrahive.core.fragment import Fragment, FragmentId, FragmentSummary
from hydrahive.replay.episodes import Layout

COLUMNS, STEPS = 4, 7
LAYOUT = Layout(COLUMNS, STEPS, (2,), np.dtype(np.float32), 3)


class Rounds:
    """Two shards of two environments each; a frame's observation is its column and its number there."""

    def __init__(self, seed, next_step_resets=False, memory=0, states_every=2):
        self.memory, self.states_every = memory, states_every
        self.random = np.random.default_rng(seed)
        self.next_step_resets = next_step_resets
        self.round = 0
        self.frames = [[] for _ in range(COLUMNS)]
        self.count = [0] * COLUMNS
        self.resetting = [False] * COLUMNS
        self.left = [self.length() for _ in range(COLUMNS)]
        self.ended = []  # (frames, truncated, score) in the order in which they finish

    def length(self):
        """Mostly short, now and then very long; all under way together stay below what a replay gives up."""
        return min(1 + int(self.random.exponential(self.random.choice([3, 15, 60]))), 140)

    def next(self):
        """A round: fragments, and summaries."""
        observations = np.zeros((STEPS + 1, COLUMNS, 2), np.float32)
        terminated, truncated = np.zeros((2, STEPS, COLUMNS), np.bool_)
        valid = np.ones((STEPS, COLUMNS), np.bool_)
        cuts, states = [[], []], [[], []]
        scores = [[], []]
        for t in range(STEPS):
            for column in range(COLUMNS):
                if self.resetting[column]:
                    valid[t, column], self.resetting[column] = False, False
                    observations[t, column] = (-1, -1)
                    continue
                played = len(self.frames[column])
                if self.memory and played and played % self.states_every == 0:
                    states[column // 2].append((t, column % 2, self.count[column]))
                frame = (column, self.count[column])
                self.count[column] += 1
                observations[t, column] = frame
                self.frames[column].append(frame)
                if len(self.frames[column]) < self.left[column]:
                    continue
                cut, score = bool(self.random.random() < 0.3), float(self.random.integers(0, 5 + self.round // 5))
                (truncated if cut else terminated)[t, column] = True
                if cut:
                    cuts[column // 2].append((t, column % 2, (column, -self.count[column])))
                scores[column // 2].append(score)
                self.ended.append((self.frames[column], cut, score))
                self.frames[column], self.left[column] = [], self.length()
                self.resetting[column] = self.next_step_resets
        observations[-1] = [(column, self.count[column]) for column in range(COLUMNS)]
        fragments = [
            self._fragment(shard, observations, terminated, truncated, valid, cuts[shard], states[shard])
            for shard in (0, 1)
        ]
        summaries = [
            FragmentSummary(
                shard,
                int(fragments[shard].valid.sum()),
                np.array(scores[shard]),
                np.ones(len(scores[shard]), int),
                0.0,
                np.zeros(0, np.int64),
            )
            for shard in (0, 1)
        ]
        self.round += 1
        return fragments, summaries

    def _fragment(self, shard, observations, terminated, truncated, valid, cuts, states):
        mine = slice(2 * shard, 2 * shard + 2)
        rewards = observations[:-1, mine].sum(-1)
        return Fragment(
            FragmentId("run", 0, self.round, shard),
            0,
            observations[:, mine].copy(),
            observations[:-1, mine, 1].astype(np.int64),
            np.repeat(rewards[..., None], 3, axis=-1),
            rewards,
            terminated[:, mine],
            truncated[:, mine],
            valid[:, mine],
            np.array([cut[:2] for cut in cuts], np.int32).reshape(-1, 2),
            np.array([cut[2] for cut in cuts], np.float32).reshape(-1, 2),
            np.zeros((2, self.memory), np.float32),
            np.array([state[:2] for state in states], np.int32).reshape(-1, 2),
            np.array([[state[2]] * self.memory for state in states], np.float32).reshape(len(states), self.memory),
        )
