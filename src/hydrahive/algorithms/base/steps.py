"""Gradient steps as algorithms want them taken, and the gradients of their slices: in order, or by several at once."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hydrahive.algorithms.base.batch import edges
from hydrahive.algorithms.base.rule import Computing
from hydrahive.algorithms.base.sharing import Done, Hands, Offered, Standing, Work, described, packed
from hydrahive.policies.flat_weights import FlatWeights


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
        loss: Of a slice: a pure function of the weights and the slice. Where it is a method of the page, or one with
            some keywords given (`functools.partial`), others may be asked for it.
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
    """Finds the gradients of steps. Whoever finds those of slices, the bytes are the same: they are summed in order.

    Attributes:
        hands: Who helps; None for nobody.
    """

    def __init__(
        self, computing: Computing, flat: Mapping[str, FlatWeights], leaves: Mapping[str, Sequence[nn.Parameter]]
    ) -> None:
        """For networks that learn.

        Args:
            computing: Where and how.
            flat: Their weights, whose gradients are to be summed.
            leaves: Likewise, as parameters.
        """
        self._computing, self._flat, self._leaves = computing, flat, leaves
        is_many = computing.at_once > 1 and computing.device.type == "cpu"
        self._pool = ThreadPoolExecutor(computing.at_once, "slice") if is_many else None
        self.hands: Hands | None = None

    def summed(self, step: Step, standing: Callable[[], Standing]) -> list[tuple[Step, Found]]:
        """Sum the gradients of a step, and of those beside it; what was found of each.

        `standing`: what they depend on besides their slices.
        """
        steps = [step]
        while (beside := steps[-1].beside) is not None:
            steps.append(beside)
        assert len({one.of for one in steps}) == len(steps), "of different networks"
        if self.hands is not None and all(described(one.loss) for one in steps):
            return self._shared(steps, self.hands, standing())
        if self._pool is None or any(one.alone for one in steps):
            return [(one, self._in_turn(one)) for one in steps]
        calls = [[partial(self._alone, one, batch) for batch in one.slices] for one in steps]
        coming = self._pool.map(_called, [call for own in calls for call in own])
        return [(one, self._folded(one, [next(coming) for _ in own])) for one, own in zip(steps, calls, strict=True)]

    def found(self, step: Step, batch: Any) -> Done:
        """A slice's gradient, for whoever asks."""
        loss, gradients = self._alone(step, batch)
        flat = self._flat[step.of]
        vector = torch.zeros_like(flat.gradient)
        for leaf, gradient in zip(self._leaves[step.of], gradients, strict=True):
            if gradient is not None:
                assert leaf.grad is not None, "all weights lie flat"
                start = leaf.grad.storage_offset() - flat.gradient.storage_offset()
                vector[start : start + leaf.numel()] = gradient.flatten()
        errors = None if loss.errors is None else loss.errors.detach().float().cpu().numpy()
        return Done(vector.cpu().numpy(), loss.sums.cpu().numpy(), errors)

    def _shared(self, steps: Sequence[Step], hands: Hands, standing: Standing) -> list[tuple[Step, Found]]:
        """Have all slices' gradients found by whoever is free, and sum them in order."""
        slices = [list(step.slices) for step in steps]
        offered: list[Offered] = []
        for step, own in zip(steps, slices, strict=True):
            size = len(self._flat[step.of].gradient)
            # A slice counts as its equal part of the step's rows.
            for batch, (low, high) in zip(own, edges(step.rows, max(len(own), 1)), strict=True):
                work = partial(_work, step, batch, high - low)
                offered.append(Offered(work, partial(self.found, step, batch), size, high - low))
        done = iter(hands.found(offered, standing))
        counts = [len(own) for own in slices]
        return [(step, self._added(step, [*islice(done, n)])) for step, n in zip(steps, counts, strict=True)]

    def _added(self, step: Step, slices: Sequence[Done]) -> Found:
        gradient = self._flat[step.of].gradient
        for one in slices:
            gradient.add_(torch.from_numpy(one.gradient).to(gradient.device))
        device = self._computing.device
        sums = torch.stack([torch.from_numpy(one.sums) for one in slices]).to(device)
        errors = [torch.from_numpy(one.errors) for one in slices if one.errors is not None]
        return sums, torch.cat(errors).to(device) if errors else None

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


def _work(step: Step, batch: Any, rows: int) -> Work:
    told = described(step.loss)
    assert told is not None, "asked before"
    name, keywords, _ = told
    return Work(name, keywords, step.of, step.rows, packed(batch), rows)


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
