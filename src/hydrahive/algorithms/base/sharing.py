"""A slice as a unit of work: what somebody else needs to find its gradient, and what is given back.

A slice's gradient is a pure function of the weights and the slice, as a fragment is of weights and a shard's state: who
finds it never changes a byte.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from hydrahive.core.config import AlgorithmConfig
from hydrahive.core.state import State

ALIGNMENT = 64
"""Bytes: torch's own memory begins at multiples of it, and some operators' bytes depend on how far behind one."""


@dataclass(frozen=True)
class Packed:
    """A tensor on its way to another process, which makes one of the same layout in memory of torch's own.

    Attributes:
        numbers: All that lies between its first and its last number, `[extent]`.
        size: Its shape.
        stride: Numbers between neighbours along each dimension.
        ahead: Numbers between a multiple of `ALIGNMENT` and the first one.
        dtype: Torch's name.
    """

    numbers: np.ndarray
    size: tuple[int, ...]
    stride: tuple[int, ...]
    ahead: int
    dtype: str

    @staticmethod
    def of(tensor: Tensor) -> Packed:
        """A tensor as it lies in memory."""
        on_cpu = tensor.detach().cpu()
        size, stride = tuple(on_cpu.shape), on_cpu.stride()
        extent = 1 + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if on_cpu.numel() else 0
        numbers = on_cpu.as_strided((extent,), (1,), on_cpu.storage_offset())
        if numbers.dtype == torch.bfloat16:  # which numpy does not know
            numbers = numbers.view(torch.int16)
        ahead = on_cpu.data_ptr() % ALIGNMENT // on_cpu.element_size() if extent else 0
        name = str(on_cpu.dtype).removeprefix("torch.")
        return Packed(numbers.numpy(), size, stride, ahead, name)

    def tensor(self, device: torch.device) -> Tensor:
        """The tensor again, on a device."""
        dtype: torch.dtype = getattr(torch, self.dtype)
        memory = torch.empty(self.ahead + len(self.numbers), dtype=dtype)
        numbers = torch.from_numpy(self.numbers.copy())
        memory[self.ahead :] = numbers.view(dtype) if dtype == torch.bfloat16 else numbers
        return memory.as_strided(self.size, self.stride, self.ahead).to(device)


def packed(slice_: Any) -> Any:
    """A slice with its tensors, and its parts' tensors, packed."""
    return _changed(slice_, Tensor, Packed.of)


def unpacked(slice_: Any, device: torch.device) -> Any:
    """The inverse of `packed`."""
    return _changed(slice_, Packed, lambda one: one.tensor(device))


def _changed(value: Any, kind: type, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, kind):
        return change(value)
    if isinstance(value, (list, tuple)):
        return type(value)(_changed(part, kind, change) for part in value)
    if is_dataclass(value) and not isinstance(value, (type, Packed)):
        parts = {field.name: _changed(getattr(value, field.name), kind, change) for field in fields(value)}
        return type(value)(**parts)
    return value


@dataclass(frozen=True)
class Work:
    """A slice that somebody else may find the gradient of.

    Attributes:
        loss: Name of the page's method that gives its loss.
        keywords: What that takes besides the slice.
        of: Which network's gradient.
        divisor: Rows that the gradient is a mean over, those of all of its step's slices.
        slice: What it is found on, `packed`.
        rows: Of those rows, this slice's part.
    """

    loss: str
    keywords: Mapping[str, Any]
    of: str
    divisor: int
    slice: Any
    rows: int


@dataclass(frozen=True)
class Done:
    """What came of a slice.

    Attributes:
        gradient: Of the network's flat weights, `[size]` float32.
        sums: As `Loss.sums`, `[F]` float64.
        errors: As `Loss.errors`, `[N]` float32; None where the loss tells none.
    """

    gradient: np.ndarray
    sums: np.ndarray
    errors: np.ndarray | None = None

    def equals(self, other: Done) -> bool:
        """Whether both are the same, to the byte."""
        pairs = [(self.gradient, other.gradient), (self.sums, other.sums), (self.errors, other.errors)]
        return all(
            (a is None and b is None)
            or (a is not None and b is not None and a.dtype == b.dtype and a.shape == b.shape and _bytes_equal(a, b))
            for a, b in pairs
        )

    def wrong(self, size: int) -> str:
        """What in it cannot be, in words, for a network of so many numbers; empty if all can."""
        if not (_is(self.gradient, np.float32, 1) and len(self.gradient) == size):
            return f"a gradient that is no vector of {size:,} float32 numbers"
        if not _is(self.sums, np.float64, 1) or not (self.errors is None or _is(self.errors, np.float32, 1)):
            return "figures of another kind"
        if not (np.isfinite(self.gradient).all() and np.isfinite(self.sums).all()):
            return "numbers that are not finite"
        return ""


def _is(array: object, dtype: type, dimensions: int) -> bool:
    return isinstance(array, np.ndarray) and array.dtype == dtype and array.ndim == dimensions


def _bytes_equal(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.array_equal(np.ascontiguousarray(a).view(np.uint8), np.ascontiguousarray(b).view(np.uint8)))


@dataclass(frozen=True)
class Standing:
    """All that a slice's gradient depends on besides the slice.

    Attributes:
        vectors: Flat weights of each network, by name; of the same number, the same bytes.
        returns: State of the returns' statistics; empty where rewards are not scaled.
        gradient_steps: Taken so far, by which what is random is drawn.
        config: What the update is made with.
    """

    vectors: Mapping[str, tuple[int, Callable[[], np.ndarray]]]
    returns: State
    gradient_steps: int
    config: AlgorithmConfig


@dataclass(frozen=True)
class Offered:
    """A slice whose gradient is wanted.

    Attributes:
        work: Makes what somebody else needs.
        own: Finds it here.
        size: Numbers of the weights whose gradient it is.
        rows: As `Work.rows`.
    """

    work: Callable[[], Work]
    own: Callable[[], Done]
    size: int
    rows: int


class Hands(Protocol):
    """Those who find slices' gradients, the learner itself among them."""

    def found(self, offered: Sequence[Offered], standing: Standing) -> list[Done]:
        """What comes of each slice; `standing`: what all depend on besides."""


def described(loss: Callable[[Any], Any]) -> tuple[str, dict[str, Any], Any] | None:
    """A page's method that a loss is, what it is given besides a slice, and the page; None if it is something else."""
    keywords: dict[str, Any] = {}
    while isinstance(loss, partial) and not loss.args:
        keywords = {**loss.keywords, **keywords}
        loss = loss.func
    page, name = getattr(loss, "__self__", None), getattr(loss, "__name__", "")
    return (name, keywords, page) if page is not None and callable(getattr(page, name, None)) else None
