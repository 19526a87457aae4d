"""Hiding a process's memory and environment from other processes of the same user."""

from __future__ import annotations

import ctypes
import sys

PR_SET_DUMPABLE = 4
"""Of prctl(2): a process that cannot be dumped has a /proc folder that only root reads, and nobody can trace it."""


def hide_from_others() -> bool:
    """Hide this process, where the system can; whether it could."""
    if sys.platform != "linux":
        return False
    try:
        done: int = ctypes.CDLL(None, use_errno=True).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    except (OSError, AttributeError):
        return False
    return done == 0
