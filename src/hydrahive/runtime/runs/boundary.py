"""Consistent cuts of a run: what it can be continued from, and what its digest is taken over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from blake3 import blake3

from hydrahive.core.fragment import FragmentSummary
from hydrahive.core.state import State, digest_of_state, hashed_bytes, nested, under
from hydrahive.runtime.config.run_config import StopConfig

RECENT_EPISODES = 100
"""Episodes that score_mean is taken over."""


@dataclass(frozen=True)
class Progress:
    """How far a run is; grows with the rounds that the learner consumes, in their order.

    Attributes:
        updates: Rounds consumed, which is also the weights version.
        env_steps: Env steps consumed.
        episodes: Episodes that ended in them.
        recent_scores: Scores of the last 100 of these, oldest first.
        score_max: Best score so far; None before the first episode's end.
    """

    updates: int = 0
    env_steps: int = 0
    episodes: int = 0
    recent_scores: tuple[float, ...] = ()
    score_max: float | None = None

    def after(self, summaries: Sequence[FragmentSummary]) -> Progress:
        """The progress once a round with these summaries, in shard order, is consumed."""
        scores = [score for summary in summaries for score in summary.scores.tolist()]
        best = max(scores, default=None)
        return Progress(
            updates=self.updates + 1,
            env_steps=self.env_steps + sum(summary.env_steps for summary in summaries),
            episodes=self.episodes + len(scores),
            recent_scores=(*self.recent_scores, *scores)[-RECENT_EPISODES:],
            score_max=max((s for s in (self.score_max, best) if s is not None), default=None),
        )

    @property
    def score_mean(self) -> float | None:
        """Mean score of the last 100 episodes; None before the first one's end."""
        return float(np.mean(self.recent_scores)) if self.recent_scores else None

    def reached(self, stop: StopConfig, seconds: float) -> bool:
        """Whether the run is finished, after so many seconds of training."""
        return (
            self.env_steps >= stop.env_steps
            or (stop.updates is not None and self.updates >= stop.updates)
            or (stop.seconds is not None and seconds >= stop.seconds)
            or (stop.score_mean is not None and self.score_mean is not None and self.score_mean >= stop.score_mean)
        )

    def as_plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)

    @staticmethod
    def from_plain(plain: dict[str, Any]) -> Progress:
        """The inverse of `as_plain`.

        Raises:
            TypeError: If it is no progress.
            KeyError: If something is missing.
        """
        scores, best = plain["recent_scores"], plain["score_max"]
        counts = [plain[name] for name in ("updates", "env_steps", "episodes")]
        numbers = [*scores, *([] if best is None else [best])] if isinstance(scores, list) else [None]
        if not all(type(count) is int and count >= 0 for count in counts):
            raise TypeError("a progress whose counts are none")
        if not all(type(number) in (int, float) for number in numbers):
            raise TypeError("a progress whose scores are no numbers")
        return replace(Progress(**plain), recent_scores=tuple(scores))


@dataclass(frozen=True)
class Block:
    """Episodes that a replay stored between two cuts; never changed, and shared by all boundaries that need it."""

    arrays: State

    @cached_property
    def digest(self) -> str:
        """BLAKE3 over the arrays, in hex: its name on disk."""
        hasher = blake3()
        for piece in hashed_bytes(sorted(self.arrays.items())):
            hasher.update(piece)
        return hasher.hexdigest()

    def is_needed_from(self, oldest: int) -> bool:
        """Whether it holds an episode that has not left: the oldest one's number is given."""
        numbers = self.arrays["numbers"]
        return len(numbers) > 0 and int(numbers[-1]) >= oldest


@dataclass(frozen=True)
class Boundary:
    """The run between two updates, all of it in this process's memory.

    Attributes:
        state: Arrays under `learner/` (weights, optimizer, counters), `shards/<i>/` (each after as many rounds
            as the learner has consumed), `versions/<v>` (flat weights that coming rounds still act with) and
            `replay/`, where there is one.
        progress: Counters and episode statistics at the cut.
        resumable: Whether the run's own cut lies here. The end of a run may lie between two cuts; an
            undisturbed longer run would not have been cut there, so it is continued from the cut before.
        blocks: The replay's stored episodes, oldest first; the digest of them all is in `replay/`.
    """

    state: State
    progress: Progress
    resumable: bool
    blocks: tuple[Block, ...] = ()

    @property
    def updates(self) -> int:
        """Updates done: where in the run the cut lies."""
        return self.progress.updates

    def learner(self) -> State:
        """The learner's part."""
        return under("learner", self.state)

    def shard(self, index: int) -> State:
        """One shard's part."""
        return self._by_shard.get(str(index), {})

    @cached_property
    def _by_shard(self) -> dict[str, State]:
        """Each shard's part, sorted out once: there may be a thousand."""
        found: dict[str, State] = {}
        for name, array in self.state.items():
            if name.startswith("shards/"):
                index, _, own = name[len("shards/") :].partition("/")
                found.setdefault(index, {})[own] = array
        return found

    def versions(self) -> dict[int, np.ndarray]:
        """The kept weights versions, as flat vectors."""
        return {int(name): weights for name, weights in under("versions", self.state).items()}

    def replay(self) -> State | None:
        """The replay's part; None without one."""
        return under("replay", self.state) or None

    def digest(self) -> str:
        """SHA-256 over weights, optimizer, counters and replay: equal digests mean equal training."""
        return digest_of_state({**self.learner(), **nested("replay", self.replay() or {})})

    def state_digest(self) -> str:
        """As `digest`, with the shards' states."""
        kept = {name: array for name, array in self.state.items() if not name.startswith("versions/")}
        return digest_of_state(kept)
