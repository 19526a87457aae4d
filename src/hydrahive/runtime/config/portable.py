"""Pinning the CPU instruction sets, so that more machines share a machine class; torch-free."""

from __future__ import annotations

import os
from collections.abc import Mapping

PORTABLE_ENVIRONMENT: Mapping[str, str] = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_CBWR": "AVX2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
}
"""Read by torch's libraries when they are imported."""


def pin_portable() -> None:
    """Pin this process and its children; before torch is imported."""
    os.environ.update(PORTABLE_ENVIRONMENT)
