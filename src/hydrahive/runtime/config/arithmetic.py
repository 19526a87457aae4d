"""What this process's operators make of fixed numbers: two processes that differ in it compute other bytes.

Environment variables, processors and libraries choose among kernels that round differently, and no list of them is
whole. So the operators that runs are made of are tried, in a few milliseconds.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from hydrahive.core.machine import gains_by_bfloat16

SHAPES = ((64, 89, 256), (1024, 256, 256), (96, 256, 4), (512, 256, 1), (32, 4, 64), (7, 33, 65))
"""Rows, inputs and outputs of the products that are tried: what acts, what learns, heads, and odd ones."""

SHOWN = 8
"""Characters of the digest."""


@cache
def arithmetic_digest(precision: str, *, numpy_products: bool) -> str:
    """A short digest of what one thread computes.

    Args:
        precision: Of a run's config.
        numpy_products: Whether to try numpy's products of matrices, too, which only others' environments use.
    """
    one_blas_thread()
    threads, products = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("highest" if precision == "highest" else "medium")
    hasher = hashlib.sha256()
    try:
        is_cast = precision == "bfloat16" and gains_by_bfloat16("cpu")
        with torch.autocast("cpu", torch.bfloat16, enabled=is_cast):
            for tensor in _of_torch():
                hasher.update(tensor.detach().float().contiguous().numpy().tobytes())
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(products)
    for array in [*_of_numpy(), *(_products() if numpy_products else ())]:
        hasher.update(np.ascontiguousarray(array).tobytes())
    return hasher.hexdigest()[:SHOWN]


@cache
def one_blas_thread() -> None:
    """Have numpy's BLAS compute with one thread, as in a worker of Ray's: with another number, products differ."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # for libraries that are still to be loaded
    threadpool_limits(limits=1, user_api="blas")


def _numbers(*shape: int) -> np.ndarray:
    """Float32 numbers from -1 to 1, the same on every machine."""
    count = math.prod(shape)
    drawn = np.arange(1, count + 1, dtype=np.int64) * 2_654_435_761 % 1_000_003
    return (drawn.astype(np.float64) / 500_001.5 - 1.0).astype(np.float32).reshape(shape)


def _tensor(*shape: int) -> Tensor:
    """The same in torch's own memory, so that no kernel meets another alignment."""
    tensor = torch.empty(shape)
    tensor.copy_(torch.from_numpy(_numbers(*shape)))
    return tensor


def _of_torch() -> Iterator[Tensor]:
    """Products and their gradients, a convolution, a memory core, and functions of single numbers."""
    for rows, inputs, outputs in SHAPES:
        of = [_tensor(rows, inputs), _tensor(outputs, inputs), _tensor(outputs)]
        for tensor in of:
            tensor.requires_grad_()
        y = nn.functional.linear(*of)
        torch.autograd.backward((y * _tensor(rows, outputs)).sum())
        yield y
        yield from (tensor.grad for tensor in of if tensor.grad is not None)
    picture, kernel = _tensor(2, 4, 36, 36), _tensor(16, 4, 8, 8)
    for channels_last in (False, True):
        layout = torch.channels_last if channels_last else torch.contiguous_format
        yield nn.functional.conv2d(picture.to(memory_format=layout), kernel, stride=4)
    with torch.no_grad():
        core = nn.LSTM(48, 32)
        for parameter in core.parameters():
            parameter.copy_(_tensor(*parameter.shape) / 8)
        yield core(_tensor(3, 16, 48))[0]
        yield from torch.linalg.qr(_tensor(128, 64))  # initial weights are orthogonal
        x = _tensor(2048) * 8
        yield from (x.exp(), x.tanh(), x.sigmoid(), (x.abs() + 1e-3).log(), (x.abs() + 1e-3).rsqrt(), x.erf(), x.sin())
        yield from (x.view(64, 32).log_softmax(-1), x.view(64, 32).sum(0), x.sum(), torch.linalg.vector_norm(x))
        yield torch.tensor([1e-40, 3e-39]) * torch.tensor([1.0, 0.5])  # denormals may be taken for zeros


def _of_numpy() -> Iterator[np.ndarray]:
    """Functions that environments and draws are made of, and libm's, which Numba calls."""
    for x in (_numbers(1024) * 8, _numbers(1024).astype(np.float64) * 8):
        positive = np.abs(x) + x.dtype.type(1e-3)
        yield from (np.exp(x), np.log(positive), np.sqrt(positive), np.tanh(x), np.sin(x), np.cos(x), np.arctan2(x, 1))
        yield from (np.power(positive, x.dtype.type(0.3)), np.log1p(positive), np.expm1(x))
        yield from (x.sum(), x.mean(), (x * x).sum(), np.hypot(x, positive))
        yield np.array([1e-310, 1e-40]).astype(x.dtype) * x.dtype.type(0.5)
    some = _numbers(64).tolist()
    yield np.array([f(5 * one) for one in some for f in (math.exp, math.sin, math.cos, math.tanh, math.atan)])
    yield np.array([math.log(abs(one) + 1e-3) for one in some] + [math.pow(abs(one), 0.3) for one in some])


def _products() -> Iterator[np.ndarray]:
    """Products of matrices and vectors in numpy's BLAS."""
    for dtype in (np.float32, np.float64):
        square: Any = _numbers(96, 96).astype(dtype)
        vector: Any = _numbers(96).astype(dtype)
        yield from (square @ square, square @ vector, np.dot(vector, vector), np.linalg.inv(square[:8, :8]))
