"""Pinning the CPU instruction sets, so that more machines share a machine class; torch-free."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import metadata

from hydrahive.core.machine import become

BEYOND_AVX2 = (
    "X86_V4 AVX512_ICL AVX512_SPR",
    "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR",
)
"""Numpy's names of what it would use besides AVX2: from 2.4 on, and before."""


def _beyond_avx2() -> str:
    major, minor = (int(part) for part in metadata.version("numpy").split(".")[:2])
    return BEYOND_AVX2[0 if (major, minor) >= (2, 4) else 1]


PORTABLE_ENVIRONMENT: Mapping[str, str] = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_CBWR": "AVX2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "NPY_DISABLE_CPU_FEATURES": _beyond_avx2(),
}
"""Read by torch's libraries and by numpy when they are imported."""


def is_pinned() -> bool:
    """Whether this process was started with the variables."""
    return all(os.environ.get(name) == value for name, value in PORTABLE_ENVIRONMENT.items())


def ensure_pinned(*command: str) -> None:
    """Begin a command of Python's anew with the variables, unless this process has them.

    Numpy has been imported by the time that a config is read, and would not look at them any more.

    Args:
        *command: What follows `python`, as `-m hydrahive.cli.main train snake/vtrace`.
    """
    if is_pinned():
        return
    become(*command, **PORTABLE_ENVIRONMENT)
