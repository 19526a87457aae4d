"""Gradient steps as algorithms want them taken, and the gradients of their slices: in order, or several at once."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hydrahive.algorithms.base.rule import Computing


@dataclass(frozen=True)
class Loss:
    """What a slice adds to a gradient step.

    Attributes:
        value: To be made smaller: a sum over the slice's rows, with gradient.
        sums: Figures, sums over its rows likewise, float64 `[F]`; without gradient.
        errors: `[N]`, how far off each row was, where a replay is to hear of it.
    """

    value: Tensor
    sums: Tensor
    errors: Tensor | None = None


@dataclass(frozen=True)
class Step:
    """A gradient step that an algorithm wants taken.

    Attributes:
        slices: What it is taken on, in order: batches, or whatever else `loss` takes.
        loss: Of a slice: a pure function of the weights and the slice.
        rows: Over which the gradient is a mean.
        learning_rate: The optimizer's step size.
        of: Which of the other networks it moves; empty for the one that acts.
        alone: Whether its slices are gone through one by one, as where the loss changes a network for a while.
        beside: A step of another network, from the weights as both are before; their gradients are found at once.
    """

    slices: Iterable[Any]
    loss: Callable[[Any], Loss]
    rows: int
    learning_rate: float
    of: str = ""
    alone: bool = False
    beside: Step | None = None


@dataclass(frozen=True)
class Taken:
    """What came of a gradient step.

    Attributes:
        sums: Of each slice's figures, float64 `[S, F]`.
        norm: The gradient's Euclidean length before it was clipped.
        errors: Of its rows in the slices' order, where the loss tells them.
        beside: What came of the step beside it.
    """

    sums: Tensor
    norm: float
    errors: Tensor | None = None
    beside: Taken | None = None


Story = Generator[Step, Taken, dict[str, float]]
"""An update: its gradient steps, what came of each, and in the end its figures."""

Found = tuple[Tensor, Tensor | None]
"""Of a step's slices: their figures' sums, and how far off their rows were."""


class Gradients:
    """Finds the gradients of steps. One by one or at once, their bytes are the same: they are summed in order."""

    def __init__(self, computing: Computing, leaves: Mapping[str, Sequence[nn.Parameter]]) -> None:
        """For networks that learn; `leaves` are their weights, whose gradients are to be summed into their `grad`."""
        self._computing, self._leaves = computing, leaves
        is_many = computing.at_once > 1 and computing.device.type == "cpu"
        self._pool = ThreadPoolExecutor(computing.at_once, "slice") if is_many else None

    def summed(self, step: Step) -> list[tuple[Step, Found]]:
        """Sum the gradients of a step, and of those beside it; what was found of each."""
        steps = [step]
        while (beside := steps[-1].beside) is not None:
            steps.append(beside)
        assert len({one.of for one in steps}) == len(steps), "of different networks"
        if self._pool is None or any(one.alone for one in steps):
            return [(one, self._in_turn(one)) for one in steps]
        calls = [[partial(self._alone, one, batch) for batch in one.slices] for one in steps]
        coming = self._pool.map(_called, [call for own in calls for call in own])
        return [(one, self._folded(one, [next(coming) for _ in own])) for one, own in zip(steps, calls, strict=True)]

    def _in_turn(self, step: Step) -> Found:
        """Slice by slice, each asked for when its turn comes."""
        sums, errors = [], []
        for batch in step.slices:
            with self._computing.precision():
                loss = step.loss(batch)
                # Others that learn are left as they are, though the loss may lead through them.
                inputs = list(self._leaves[step.of]) if len(self._leaves) > 1 else None
                torch.autograd.backward(loss.value / step.rows, inputs=inputs)
            sums.append(loss.sums)
            errors += [] if loss.errors is None else [loss.errors.detach()]
        return torch.stack(sums), torch.cat(errors) if errors else None

    def _alone(self, step: Step, batch: Any) -> tuple[Loss, tuple[Tensor | None, ...]]:
        """A slice's loss and gradients, which nobody else sees yet."""
        with self._computing.precision():
            loss = step.loss(batch)
            return loss, torch.autograd.grad(loss.value / step.rows, self._leaves[step.of], allow_unused=True)

    def _folded(self, step: Step, slices: Sequence[tuple[Loss, tuple[Tensor | None, ...]]]) -> Found:
        for _, gradients in slices:
            for leaf, gradient in zip(self._leaves[step.of], gradients, strict=True):
                if gradient is not None:
                    assert leaf.grad is not None, "all weights lie flat"
                    leaf.grad.add_(gradient)
        errors = [loss.errors.detach() for loss, _ in slices if loss.errors is not None]
        return torch.stack([loss.sums for loss, _ in slices]), torch.cat(errors) if errors else None


def _called(call: Callable[[], Any]) -> Any:
    return call()


def summed(values: Sequence[Tensor]) -> Tensor:
    """Figures of a slice as `Loss.sums` holds them."""
    with torch.no_grad():
        return torch.stack([value.double() for value in values])


def means(names: Sequence[str], taken: Sequence[Taken], rows: Sequence[int]) -> dict[str, float]:
    """Each figure's mean over the rows of each gradient step, and over the steps."""
    each = [(one.sums.sum(0) / count).tolist() for one, count in zip(taken, rows, strict=True)]
    return dict(zip(names, np.mean(each, axis=0).tolist(), strict=True)) if each else {}
