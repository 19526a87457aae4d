"""What the processor is and has."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path


@cache
def cpu_fact(name: str) -> str:
    """What Linux says of the first processor; its maker counts, because libraries take other paths on others' CPUs."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == name), "unknown")


def bfloat16_units() -> list[str]:
    """The units with which this processor multiplies bfloat16 faster than float32; empty without one."""
    return [unit for unit in ("avx512_bf16", "amx_bf16") if unit in cpu_fact("flags").split()]
