"""The checkpoint that whoever looks at a run is shown: a pilot's best where there is one, else the newest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors

from hydrahive.core.durable import read_json
from hydrahive.core.errors import CheckpointError, UsageError
from hydrahive.core.state import nested
from hydrahive.runtime.runs.checkpoints import Checkpoint
from hydrahive.runtime.runs.run_folder import RunFolder

BEST, AVERAGE, REPETITION = "best.json", "average.safetensors", "piloted.yaml"
"""Files of a piloted run: which policy is its best; weights that are, if no boundary's own are; and the config that
gives the same bytes without a pilot."""


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


def shown_checkpoint(folder: RunFolder, *, newest: bool = False) -> Checkpoint:
    """A run's best checkpoint where a pilot has found one, else its newest; `newest`: that in any case.

    An average's weights stand in the place of those of the best boundary among those that it was taken from.

    Raises:
        UsageError: If there is none.
    """
    best = None if newest else read_json(folder.path / BEST)
    if best is None:
        return newest_checkpoint(folder)
    try:
        found = folder.checkpoints().at(int(best["updates"]))
        if found is None:
            raise CheckpointError("it is gone")
        return _averaged(folder, found) if best["averaged"] else found
    except (CheckpointError, OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        text = f"run {folder.name!r}: the best checkpoint cannot be used ({error}); --newest takes the newest"
        raise UsageError(text) from None


def _averaged(folder: RunFolder, best: Checkpoint) -> Checkpoint:
    weights: dict[str, Any] = dict(load_tensors((folder.path / AVERAGE).read_bytes()))
    state = {**best.boundary.state, **nested("learner/weights", weights)}
    boundary = replace(best.boundary, state=state, resumable=False)
    return replace(best, boundary=boundary, digest=boundary.digest(), state_digest=boundary.state_digest())
