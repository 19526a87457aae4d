"""The parts of a round that gradient steps are taken on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, pairwise

import numpy as np
import torch

from hydrahive.algorithms.batch import Batch, stack
from hydrahive.algorithms.rule import Round
from hydrahive.core.sequences import Sequences


@dataclass(frozen=True)
class Minibatch:
    """What a gradient step learns from.

    Attributes:
        slices: Whole columns of the round, in order; can be gone through as often as it was cut for.
        fresh_rows: Env steps among them.
        replayed: Sequences beside them.
    """

    slices: Iterable[Batch]
    fresh_rows: int
    replayed: tuple[Sequences, ...]

    @property
    def replayed_rows(self) -> int:
        """Frames of the sequences."""
        return sum(sequences.frames for sequences in self.replayed)


def cut(round_: Round, count: int, slices: int, device: torch.device, *, kept: bool) -> Iterator[Minibatch]:
    """Cut a round, and the sequences replayed with it, into parts that are as equal as whole columns allow.

    Args:
        round_: What an update learns from.
        count: How many parts; those of too few columns come without any.
        slices: Batches in a part.
        device: Where the batches go.
        kept: Whether a part is gone through more than once, and so stays in memory; otherwise each must be gone
            through before the next is asked for.
    """
    columns = np.concatenate([fragment.valid.sum(axis=0) for fragment in round_.fragments])
    edges = [len(columns) * i // count for i in range(count + 1)]
    replayed = round_.sample.batches if round_.sample else ()
    batches = stack(round_.fragments, slices * count, device)
    for i, (low, high) in enumerate(pairwise(edges)):
        own = islice(batches, slices)
        parts = replayed if count == 1 else tuple(sequences.part(i, count) for sequences in replayed)
        yield Minibatch(
            slices=list(own) if kept else own,
            fresh_rows=int(columns[low:high].sum()),
            replayed=tuple(part for part in parts if part.frames),
        )
