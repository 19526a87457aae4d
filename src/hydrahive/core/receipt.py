"""What is kept of a fragment once it is consumed: enough to pay for it, and to check it later by computing it again.

Digests of fragments are BLAKE3: SHA-256, at a third of the speed, cost the learner 3% of its time. Where nobody audits
a worker, they leave out what it showed, nine tenths of the bytes and of the time: that follows from the actions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from blake3 import blake3

from hydrahive.core.fragment import Fragment, FragmentId, FragmentSummary
from hydrahive.core.state import hashed_bytes

SEEN = ("observations", "actions", "rewards", "terminated", "truncated", "valid", "cut_rows", "cut_observations")
"""What the environments made of the actions, and the actions; known without the policy."""

SHOWN = ("observations", "cut_observations")
"""What of that is looked at only where somebody may have made it up."""

ACTED = ("behaviour", "memory", "state_rows", "states")
"""What the policy said and remembered."""


@dataclass(frozen=True)
class Consumed:
    """What the learner says of a fragment whose bytes it has consumed.

    Attributes:
        id: The fragment's.
        env_steps: Valid rows in it.
        seen: Digest of what the environments showed and of the actions; without `SHOWN` where nobody asks.
        acted: Digest of what the policy said, and of the version that it acted with.
        actions: The actions, from which the environments' part can be computed again; None where nobody asks.
    """

    id: FragmentId
    env_steps: int
    seen: str
    acted: str
    actions: np.ndarray | None = None

    @property
    def digest(self) -> str:
        """BLAKE3 over both parts, in hex."""
        return blake3(f"{self.seen}/{self.acted}".encode()).hexdigest()


@dataclass(frozen=True)
class Receipt:
    """The consumer's word that a worker's bytes were learned from.

    Attributes:
        segment: Which part of the run; a new one begins where the run was taken back.
        round: The fragment's round.
        shard: Its shard.
        at_update: The version that it was learned in; under a fixed lag the round.
        worker: Whose bytes they were.
        env_steps: Valid rows.
        digest: BLAKE3 of the bytes that were consumed, in hex.
    """

    segment: int
    round: int
    shard: int
    at_update: int
    worker: str
    env_steps: int
    digest: str


@dataclass(frozen=True)
class SliceReceipt:
    """The learner's word that it has taken slices' gradients from a worker, between two checkpoints.

    Attributes:
        worker: Whose they were.
        rows: Rows of gradient steps in them: an equal part of each step's rows a slice.
        checked: Of those, how many the learner has found the gradients of itself, too.
    """

    worker: str
    rows: int
    checked: int


def seen_digest(fragment: Fragment, *, whole: bool) -> str:
    """The digest of what the environments showed and of the actions; with `SHOWN` if it is to be `whole`."""
    return _digest((name, getattr(fragment, name)) for name in SEEN if whole or name not in SHOWN)


def acted_digest(fragment: Fragment) -> str:
    """The digest of what the policy said, and of its version."""
    named = [(name, getattr(fragment, name)) for name in ACTED]
    return _digest([("version", np.array([fragment.version], np.int64)), *named])


def told_digest(summary: FragmentSummary) -> str:
    """The digest of what a worker says of a fragment besides its bytes: env steps, and the episodes that ended."""
    steps = np.array([summary.env_steps], np.int64)
    return _digest([("env_steps", steps), ("scores", summary.scores), ("lengths", summary.lengths)])


def consumed(fragment: Fragment, *, keep_actions: bool) -> Consumed:
    """What is to be said of a fragment that is being consumed; `keep_actions`: somebody may audit it."""
    steps = int(fragment.valid.sum())
    actions = fragment.actions.copy() if keep_actions else None
    return Consumed(fragment.id, steps, seen_digest(fragment, whole=keep_actions), acted_digest(fragment), actions)


def _digest(named_arrays: Iterable[tuple[str, np.ndarray]]) -> str:
    hasher = blake3()
    for piece in hashed_bytes(named_arrays):
        hasher.update(piece)
    return hasher.hexdigest()
