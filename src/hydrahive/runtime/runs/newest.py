"""The checkpoint that whoever looks at a run is shown."""

from __future__ import annotations

from hydrahive.core.errors import UsageError
from hydrahive.runtime.runs.checkpoints import Checkpoint
from hydrahive.runtime.runs.run_folder import RunFolder


def newest_checkpoint(folder: RunFolder) -> Checkpoint:
    """A run's newest checkpoint that is whole, and its own.

    Raises:
        UsageError: If there is none; says why those that are there are not taken.
    """
    newest, passed_over = folder.checkpoints().newest()
    if newest is None and passed_over:
        raise UsageError(f"run {folder.name!r} has no checkpoint that can be used: {passed_over[0]}")
    if newest is None:
        raise UsageError(f"run {folder.name!r} has no checkpoint yet")
    return newest
