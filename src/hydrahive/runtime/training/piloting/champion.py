"""What a piloted run gives to whoever plays it: its best boundary, or an average that was found to be better."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save as save_tensors

from hydrahive.core.durable import write_whole
from hydrahive.core.state import State, under
from hydrahive.pilot.best import Champions
from hydrahive.pilot.seen import Validation
from hydrahive.policies.flat_weights import FlatWeights
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.roles.env_worker import build_network
from hydrahive.runtime.runs.checkpoints import Checkpoint
from hydrahive.runtime.runs.newest import AVERAGE, BEST
from hydrahive.runtime.runs.run_folder import RunFolder


def flat_weights(config: RunConfig, learner: State) -> np.ndarray:
    """A learner's weights as the flat vector that acts."""
    weights = FlatWeights(build_network(config, torch.Generator()))
    weights.load_named(weights.vector, under("weights", learner))
    vector: np.ndarray = weights.vector.numpy().copy()
    return vector


def averaged(learners: Sequence[State]) -> State:
    """The mean of several learners' weights, by name (Izmailov et al. 2018); what counts is taken from the first."""
    named = [under("weights", learner) for learner in learners]
    mean: State = {}
    for name, first in named[0].items():
        if np.issubdtype(first.dtype, np.floating):
            mean[name] = np.mean([one[name].astype(np.float64) for one in named], axis=0).astype(first.dtype)
        else:
            mean[name] = first
    return mean


def tell_best(
    folder: RunFolder, best: Validation, *, of: Sequence[int] = (), finished: int | None = None, ends: str | None = None
) -> dict[str, Any]:
    """Write down which policy is the run's best.

    Args:
        folder: The run's.
        best: What it scored.
        of: The boundaries whose weights it is the average of; none if it is a boundary's own.
        finished: The update that the run ended at.
        ends: Why its pilot ended it.
    """
    told: dict[str, Any] = {"updates": best.updates, "env_steps": best.env_steps, "mean": best.mean}
    told |= {"error": best.error, "averaged": list(of), "finished": finished, "ends": ends}
    write_whole(folder.path / BEST, json.dumps(told, indent=1).encode())
    return told


def write_average(folder: RunFolder, weights: State) -> None:
    """Write an average's weights."""
    write_whole(folder.path / AVERAGE, save_tensors(weights))


def checkpoints_of(folder: RunFolder, updates: Sequence[int]) -> list[Checkpoint]:
    """The checkpoints of these boundaries that are there, in their order."""
    store = folder.checkpoints()
    return [one for one in map(store.at, updates) if one is not None]


def candidates(champions: Champions, folder: RunFolder) -> list[Checkpoint]:
    """Whose average is worth a try; fewer than two are none."""
    found = checkpoints_of(folder, [one.updates for one in champions.averaged()])
    return found if len(found) > 1 else []
