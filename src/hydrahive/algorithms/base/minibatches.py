"""The parts of a round that gradient steps are taken on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch

from hydrahive.algorithms.base.batch import Batch, edges, stacked
from hydrahive.algorithms.base.rule import Round
from hydrahive.core.replayed import Sequences


@dataclass(frozen=True)
class Minibatch:
    """What a gradient step learns from.

    Attributes:
        index: Of the part of the round that it is.
        slices: Whole columns of the round, in order.
        fresh_rows: Env steps among them.
        replayed: Sequences beside them.
    """

    index: int
    slices: Iterable[Batch]
    fresh_rows: int
    replayed: tuple[Sequences, ...]

    @property
    def replayed_rows(self) -> int:
        """Frames of the sequences."""
        return sum(sequences.frames for sequences in self.replayed)


def cut(
    round_: Round, count: int, order: Sequence[int], slices: int, device: torch.device, first: int = 0
) -> Iterator[Minibatch]:
    """Cut a round, and the sequences replayed with it, into parts that are as equal as whole columns allow.

    A part's slices must be gone through before the next part is asked for: a GPU fetches them on the way.

    Args:
        round_: What an update learns from.
        count: How many parts; with `slices`, at most as many as there are columns.
        order: The parts that are wanted, in order, as often as they are. Of several, those that hold nothing to learn
            from are left out.
        slices: Batches in a part.
        device: Where the batches go.
        first: Part that the first share of replayed sequences goes to, the next share to the next part: where there
            are fewer sequences than parts, it should not always be the same parts that have one.
    """
    rows = np.concatenate([fragment.valid.sum(axis=0) for fragment in round_.fragments])
    spans = edges(len(rows), slices * count)
    own = [spans[i * slices : (i + 1) * slices] for i in range(count)]
    fresh = [int(rows[part[0][0] : part[-1][1]].sum()) for part in own]
    batches = round_.sample.batches if round_.sample else ()
    shares: list[list[Sequences]] = [[] for _ in range(count)]
    for sequences in batches:
        for k, (low, high) in enumerate(edges(len(sequences.burn_in), count)):
            shares[(first + k) % count] += [sequences.between(low, high)] if low < high else []
    wanted = [i for i in order if fresh[i] or shares[i]]
    fetched = stacked(round_.fragments, [span for i in wanted for span in own[i]], device)
    for i in wanted:
        yield Minibatch(i, islice(fetched, slices), fresh[i], tuple(shares[i]))
