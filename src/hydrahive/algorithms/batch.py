"""Fragments stacked for the learner, in tensors that torch owns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from hydrahive.core.fragment import Fragment


@dataclass(frozen=True)
class Batch:
    """Some columns (environments) of a round; the fields are `Fragment`'s, stacked along `B` in shard order."""

    observations: Tensor  # [T + 1, B, ...]
    actions: Tensor  # [T, B]
    behaviour: Tensor  # [T, B, P]
    rewards: Tensor  # [T, B]
    terminated: Tensor  # [T, B]
    truncated: Tensor  # [T, B]
    valid: Tensor  # [T, B]
    cut_rows: Tensor  # [K, 2], sorted by column, then by step
    cut_observations: Tensor  # [K, ...]


STACKED = ("observations", "actions", "behaviour", "rewards", "terminated", "truncated", "valid")


def stack(fragments: Sequence[Fragment], slices: int, device: torch.device) -> list[Batch]:
    """Stack fragments side by side, in the order given, and cut them into slices of whole columns.

    Arrays are always copied: memory that another process or numpy owns may be aligned differently, which
    changes the bytes that some operators give.

    Args:
        fragments: All of the same length `T`.
        slices: How many batches to cut; they differ by at most one column.
        device: Where the tensors go.
    """
    columns = sum(fragment.actions.shape[1] for fragment in fragments)
    edges = [columns * i // slices for i in range(slices + 1)]
    return [_slice(fragments, low, high, device) for low, high in pairwise(edges)]


def _slice(fragments: Sequence[Fragment], low: int, high: int, device: torch.device) -> Batch:
    first = fragments[0]
    fields: dict[str, Tensor] = {}
    for name in STACKED:
        array: np.ndarray = getattr(first, name)
        shape = (array.shape[0], high - low, *array.shape[2:])
        fields[name] = torch.empty(shape, dtype=torch.from_numpy(np.empty(0, array.dtype)).dtype)
    rows, observations = [], []
    start = 0
    for fragment in fragments:
        width = fragment.actions.shape[1]
        left, right = max(low, start), min(high, start + width)
        if left < right:
            for name in STACKED:
                target = fields[name].numpy()[:, left - low : right - low]
                np.copyto(target, getattr(fragment, name)[:, left - start : right - start])
            column = fragment.cut_rows[:, 1] + start
            inside = (column >= left) & (column < right)
            rows.append(np.stack([fragment.cut_rows[inside, 0], column[inside] - low], axis=1))
            observations.append(fragment.cut_observations[inside])
        start += width
    cut_rows = torch.tensor(np.concatenate(rows), dtype=torch.int64)
    cut_observations = torch.tensor(np.concatenate(observations))
    moved = {name: tensor.to(device) for name, tensor in fields.items()}
    return Batch(**moved, cut_rows=cut_rows.to(device), cut_observations=cut_observations.to(device))
