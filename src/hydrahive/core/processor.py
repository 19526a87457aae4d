"""What the processor is and has."""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path

ONEDNN_CAPS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
"""Environment variables by which oneDNN uses less than the processor has."""

WITHOUT_BFLOAT16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI")
"""Their values that leave no unit for bfloat16."""


@cache
def cpu_fact(name: str) -> str:
    """What Linux says of the first processor; its maker counts, because libraries take other paths on others' CPUs."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == name), "unknown")


def gains_by_bfloat16(device: str) -> bool:
    """Whether a device, `cpu` or `cuda`, multiplies bfloat16 faster than float32."""
    return device != "cpu" or bool(bfloat16_units())


def bfloat16_units() -> list[str]:
    """The units with which this processor multiplies bfloat16 faster than float32; empty without one."""
    if any(os.environ.get(name, "").upper() in WITHOUT_BFLOAT16 for name in ONEDNN_CAPS):
        return []
    return [unit for unit in ("avx512_bf16", "amx_bf16") if unit in cpu_fact("flags").split()]
