"""Fragments and replayed sequences for the learner, in tensors that torch owns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from hydrahive.core.fragment import Fragment
from hydrahive.core.frames import stack_rows
from hydrahive.core.replayed import Sequences
from hydrahive.policies.agent import Agent


@dataclass(frozen=True)
class Batch:
    """Some columns of a round, or replayed sequences; the fields are `Fragment`'s, stacked along `B` in shard order."""

    observations: Tensor  # [T + 1, B, ...]
    actions: Tensor  # [T, B, ...]
    behaviour: Tensor  # [T, B, P]
    rewards: Tensor  # [T, B]
    terminated: Tensor  # [T, B]
    truncated: Tensor  # [T, B]
    valid: Tensor  # [T, B]
    cut_rows: Tensor  # [K, 2], sorted by column, then by step
    cut_observations: Tensor  # [K, ...]
    memory: Tensor  # [B, M]

    @property
    def ended(self) -> Tensor:
        """`[T, B]`, terminated or truncated."""
        return self.terminated | self.truncated


def of_columns(batch: Batch, columns: Tensor) -> Batch:
    """Some columns of a batch, `[N]` int64, in the order given."""
    place = torch.full((batch.rewards.shape[1],), -1, dtype=torch.int64, device=columns.device)
    place[columns] = torch.arange(len(columns), device=columns.device)
    inside = place[batch.cut_rows[:, 1]] >= 0 if len(batch.cut_rows) else torch.empty(0, dtype=torch.bool)
    rows = batch.cut_rows[inside]
    return Batch(
        observations=batch.observations[:, columns],
        actions=batch.actions[:, columns],
        behaviour=batch.behaviour[:, columns],
        rewards=batch.rewards[:, columns],
        terminated=batch.terminated[:, columns],
        truncated=batch.truncated[:, columns],
        valid=batch.valid[:, columns],
        cut_rows=torch.stack([rows[:, 0], place[rows[:, 1]]], dim=1),
        cut_observations=batch.cut_observations[inside],
        memory=batch.memory[columns],
    )


STACKED = ("observations", "actions", "behaviour", "rewards", "terminated", "truncated", "valid")


def clipped(rewards: Tensor, limit: float | None) -> Tensor:
    """Rewards as they are learned from: none beyond `limit` on either side of 0."""
    return rewards if limit is None else rewards.clamp(-limit, limit)


def edges(columns: int, parts: int) -> list[tuple[int, int]]:
    """Where parts of so many columns, or sequences, begin and end; they differ by at most one."""
    return list(pairwise(columns * i // parts for i in range(parts + 1)))


def stack(fragments: Sequence[Fragment], slices: int, device: torch.device) -> Iterator[Batch]:
    """All columns of fragments side by side, cut into so many slices; see `stacked`."""
    return stacked(fragments, edges(sum(fragment.actions.shape[1] for fragment in fragments), slices), device)


def stacked(fragments: Sequence[Fragment], spans: Iterable[tuple[int, int]], device: torch.device) -> Iterator[Batch]:
    """Stack fragments side by side, in the order given, and take slices of whole columns.

    Arrays are always copied: memory that another process or numpy owns may be aligned differently, which
    changes the bytes that some operators give. A GPU fetches each slice from pinned memory, in which it is put
    together, while it computes on the one before.

    Args:
        fragments: All of the same length `T`.
        spans: The slices' first columns, and those behind their last.
        device: Where the tensors go.
    """
    on_cpu = device.type == "cpu"
    parts = (_slice(fragments, low, high, pinned=not on_cpu) for low, high in spans)
    fetched = parts if on_cpu else _fetched(parts, device)
    return (_batch(fields) for fields in fetched)


def _slice(fragments: Sequence[Fragment], low: int, high: int, *, pinned: bool) -> dict[str, Tensor]:
    """The fields of a batch of some columns; stacked frames come once each, with the `rows` that observations show."""
    assert low < high, "every slice has a column"
    first = fragments[0]
    fields: dict[str, Tensor] = {}
    for name in STACKED:
        array: np.ndarray = getattr(first, name)
        # Behind stacked frames, one more that shows nothing.
        nothing = int(name == "observations" and first.stack > 1)
        shape = (array.shape[0] + nothing, high - low, *array.shape[2:])
        fields[name] = torch.empty(shape, dtype=torch.from_numpy(np.empty(0, array.dtype)).dtype, pin_memory=pinned)
    rows, observations, memories = [], [], []
    start = 0
    for fragment in fragments:
        width = fragment.actions.shape[1]
        left, right = max(low, start), min(high, start + width)
        if left < right:
            for name in STACKED:
                array = getattr(fragment, name)
                target = fields[name].numpy()[: len(array), left - low : right - low]
                np.copyto(target, array[:, left - start : right - start])
            column = fragment.cut_rows[:, 1] + start
            inside = (column >= left) & (column < right)
            rows.append(np.stack([fragment.cut_rows[inside, 0], column[inside] - low], axis=1))
            observations.append(fragment.cut_observations[inside])
            memories.append(fragment.memory[left - start : right - start])
        start += width
    fields["cut_rows"] = torch.tensor(np.concatenate(rows), dtype=torch.int64)
    fields["cut_observations"] = torch.tensor(np.concatenate(observations))
    fields["memory"] = torch.tensor(np.concatenate(memories))
    if first.stack > 1:
        fields["observations"][-1] = 0
        ended = (fields["terminated"] | fields["truncated"]).numpy()
        fields["rows"] = torch.from_numpy(stack_rows(ended, first.stack))
    return fields


def _batch(fields: dict[str, Tensor]) -> Batch:
    rows = fields.pop("rows", None)
    if rows is None:
        return Batch(**fields)
    frames = fields["observations"]
    columns = torch.arange(frames.shape[1], device=frames.device)[None, :, None]
    return Batch(**{**fields, "observations": frames[rows, columns]})


def _fetched(parts: Iterable[dict[str, Tensor]], device: torch.device) -> Iterator[dict[str, Tensor]]:
    """Each part on a GPU; the next is on its way, from pinned memory, before one is given out."""
    copying = _copying_stream(device)
    ahead: dict[str, Tensor] | None = None
    for part in parts:
        with torch.cuda.stream(copying):
            coming = {name: tensor.pin_memory().to(device, non_blocking=True) for name, tensor in part.items()}
        if ahead is not None:
            yield ahead
        torch.cuda.current_stream(device).wait_stream(copying)
        for tensor in coming.values():  # whose memory is not to be used again before those who compute are done
            tensor.record_stream(torch.cuda.current_stream(device))
        ahead = coming
    if ahead is not None:
        yield ahead


@cache
def _copying_stream(device: torch.device) -> torch.cuda.Stream:
    """One for the process: memory that was copied into on a stream is used again on that stream only."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def replayed(sequences: Sequences, network: Agent, device: torch.device) -> Batch:
    """Replayed sequences as a batch for `network`, whose memory before them it warms up on the frames before.

    Where a sequence leads to stands in the last row of observations. An episode that was truncated within it led to the
    row behind its end.
    """
    steps = len(sequences.actions)
    observations = torch.tensor(sequences.observations).to(device)
    before = len(observations) - steps - 1
    memory = torch.tensor(sequences.memory).to(device)
    burn_in = torch.tensor(sequences.burn_in).to(device)
    actions = torch.tensor(sequences.actions).to(device)
    cut_rows = torch.from_numpy(np.argwhere(sequences.truncated.T)[:, ::-1].copy()).to(device)
    return Batch(
        observations=observations[before:],
        actions=actions,
        behaviour=torch.tensor(sequences.behaviour).to(device),
        rewards=torch.tensor(sequences.rewards).to(device),
        terminated=torch.tensor(sequences.terminated).to(device),
        truncated=torch.tensor(sequences.truncated).to(device),
        valid=torch.tensor(sequences.valid).to(device),
        cut_rows=cut_rows,
        cut_observations=observations[before + 1 + cut_rows[:, 0], cut_rows[:, 1]],
        memory=warmed_up(network, observations[:before], burn_in, memory),
    )


@torch.no_grad()
def warmed_up(network: Agent, observations: Tensor, burn_in: Tensor, memory: Tensor) -> Tensor:
    """The memory `[S, M]` after the last `burn_in` `[S]` rows of `observations` `[K, S, ...]` (R2D2, section 3)."""
    if network.core is None or not len(observations):
        return memory
    features = network.encode(observations.flatten(0, 1)).view(*observations.shape[:2], -1)
    for k, row in enumerate(features):
        _, after = network.core(row.unsqueeze(0), memory)
        is_inside = (burn_in >= len(observations) - k).unsqueeze(1)
        memory = torch.where(is_inside, after.float(), memory)
    return memory
