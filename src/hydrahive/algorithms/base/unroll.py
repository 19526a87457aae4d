"""A network's features along a batch's rows, and where they lead to."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hydrahive.algorithms.base.batch import Batch
from hydrahive.policies.agent import Agent
from hydrahive.policies.cores import RecurrentCore


@dataclass(frozen=True)
class Features:
    """What heads read.

    Attributes:
        rows: `[T, B, F]`, of each row.
        last: `[B, F]`, of where the last row led to; without gradient.
        cuts: `[K, F]`, of the last observations of truncated episodes; without gradient.
    """

    rows: Tensor
    last: Tensor
    cuts: Tensor

    def following(self, of_rows: Tensor, of_last: Tensor, of_cuts: Tensor, cut_rows: Tensor) -> Tensor:
        """What each row led to, `[T, B, ...]`, from a head's outputs for `rows`, `last` and `cuts`."""
        following = torch.cat([of_rows[1:], of_last.unsqueeze(0)])
        if len(cut_rows):
            following[cut_rows[:, 0], cut_rows[:, 1]] = of_cuts
        return following


def unrolled(network: Agent, batch: Batch, memory: Tensor | None = None) -> Features:
    """The features of a batch, the network's memory starting anew at each episode.

    Args:
        network: Whose features.
        batch: What it sees.
        memory: Before the first row, `[B, M]`; the batch's by default.
    """
    steps, columns = batch.rewards.shape
    rows = network.encode(batch.observations[:-1].flatten(0, 1))
    with torch.no_grad():
        last = network.encode(batch.observations[-1])
        cuts = network.encode(batch.cut_observations) if len(batch.cut_rows) else last[:0]
    rows = rows.view(steps, columns, -1)
    if network.core is None:
        return Features(rows, last, cuts)
    before = batch.memory if memory is None else memory
    return _remembered(network.core, batch, before, Features(rows, last, cuts))


def _remembered(core: RecurrentCore, batch: Batch, before: Tensor, features: Features) -> Features:
    """Run the core over all pieces of episodes side by side, which is several times faster than step by step.

    A piece is what a column holds of one episode. Where it led to, be it the last row's next observation or a
    truncated episode's last, is one more step at its end.
    """
    steps, columns, width = features.rows.shape
    device = features.rows.device
    # A shard empties the memory behind an episode's end, and behind the step in which an environment only resets.
    starts = torch.ones((steps, columns), dtype=torch.bool, device=device)
    starts[1:] = batch.ended[:-1] | ~batch.valid[:-1]
    by_column = starts.T.reshape(-1)
    piece = (by_column.cumsum(0) - 1).view(columns, steps).T  # [T, B], the pieces of a column in order
    time = torch.arange(steps, device=device).unsqueeze(1).expand(steps, columns)
    began = torch.where(starts, time, 0).cummax(0).values
    place = time - began  # [T, B], steps into the piece
    count = int(piece[-1, -1]) + 1
    longest = int(place.max()) + 2  # with the step behind its end
    laid_out = features.rows.new_zeros((longest, count, width))
    # Each row is written once, behind them where they lead to.
    laid_out = laid_out.index_put((place, piece), features.rows)
    end_place, end_piece = place[-1] + 1, piece[-1]
    laid_out = laid_out.index_put((end_place, end_piece), features.last)
    rows = batch.cut_rows
    cut_place, cut_piece = place[rows[:, 0], rows[:, 1]] + 1, piece[rows[:, 0], rows[:, 1]]
    laid_out = laid_out.index_put((cut_place, cut_piece), features.cuts)
    memory = before.new_zeros((count, before.shape[1]))
    memory[piece[0]] = before
    outputs, _ = core(laid_out, memory)
    return Features(
        outputs[place, piece], outputs[end_place, end_piece].detach(), outputs[cut_place, cut_piece].detach()
    )
