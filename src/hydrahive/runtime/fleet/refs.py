"""What a fleet hands out and says: references, what there is, events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NewType, Protocol

Ref = NewType("Ref", object)
"""A value that may still be in the making; only the fleet that gave it can open it."""


@dataclass(frozen=True)
class Stock:
    """What is there once all calls made so far have been carried out or have failed.

    Attributes:
        version: The learner's.
        replay_position: Rounds that the replay has taken; None without one.
        positions: Next round of each shard, by the worker that holds it.
        suspects: Fragments, as (shard, round), at which a worker hung until it was given up.
    """

    version: int
    positions: Mapping[int, Mapping[int, int]]
    suspects: Sequence[tuple[int, int]] = ()
    replay_position: int | None = None


class Listener(Protocol):
    """Is told what happens to a fleet's members."""

    def __call__(self, kind: str, text: str, **fields: object) -> None:
        """Take an event: a stable kind, a sentence for people, and the facts."""


def nobody(kind: str, text: str, **fields: object) -> None:
    """Listen to nothing."""
