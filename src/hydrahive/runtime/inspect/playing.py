"""A run's trained policy, loaded back to be evaluated and watched."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from hydrahive.core.durable import read_json
from hydrahive.core.errors import HydrahiveError, UsageError
from hydrahive.core.state import under
from hydrahive.core.streams import derived_seed
from hydrahive.policies.agent import Agent
from hydrahive.policies.ensemble import Ensemble
from hydrahive.policies.flat_weights import FlatWeights
from hydrahive.runtime.config.machine_class import prepare_torch
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.roles.env_worker import WORKER_THREADS, build_network
from hydrahive.runtime.roles.pictures import played, side_by_side
from hydrahive.runtime.runs.checkpoints import Checkpoint
from hydrahive.runtime.runs.newest import BEST, shown_checkpoint
from hydrahive.runtime.runs.run_folder import RunFolder
from hydrahive.telemetry.recording import write_recording

MAX_FRAMES = 1500


def load_policy(folder: RunFolder, *, newest: bool = False) -> tuple[RunConfig, Agent, int]:
    """The policy of the checkpoint that a run shows: (config, policy, env steps it was trained for).

    `newest`: of its newest one, though its pilot has found a better one.

    Raises:
        UsageError: If the run has no checkpoint yet.
    """
    shown = shown_checkpoint(folder, newest=newest)
    config, policy = policy_of(folder, shown)
    return config, policy, shown.boundary.progress.env_steps


def policy_of(folder: RunFolder, checkpoint: Checkpoint) -> tuple[RunConfig, Agent]:
    """The policy of one of a run's checkpoints, and the run's config.

    Raises:
        HydrahiveError: If they do not belong together.
    """
    config = folder.config()
    prepare_torch(config, WORKER_THREADS)
    policy = build_network(config, torch.Generator())
    weights = FlatWeights(policy)
    try:
        weights.load_named(weights.vector, under("weights", checkpoint.boundary.learner()))
    except ValueError as error:
        raise HydrahiveError(f"run {folder.name!r}: its config.yaml describes another network ({error})") from None
    return config, policy


def load_ensemble(folders: Sequence[RunFolder], *, newest: bool = False) -> tuple[RunConfig, Ensemble, int]:
    """Several runs' policies as one, each weighted by its validation: (the first's config, policy, env steps of all).

    Raises:
        UsageError: If one has no checkpoint, or they do not act in one environment.
    """
    loaded = [load_policy(folder, newest=newest) for folder in folders]
    config = loaded[0][0]
    for folder, (other, _, _) in zip(folders, loaded, strict=True):
        if other.env != config.env or other.precision != config.precision:
            raise UsageError(f"--ensemble: run {folder.name!r} is of another environment than {folders[0].name!r}")
    prepare_torch(config, WORKER_THREADS)
    policy = Ensemble([one for _, one, _ in loaded], [weight for _, weight in ensemble_weights(folders)])
    return config, policy, sum(steps for *_, steps in loaded)


def ensemble_weights(folders: Sequence[RunFolder]) -> list[tuple[str, float]]:
    """What each run counts in an ensemble, by name: from a half for the worst validation score to 1 for the best.

    Where one has no pilot, whose validations those are, all count alike.
    """
    told = [read_json(folder.path / BEST) for folder in folders]
    scores = [float(one["mean"]) for one in told if one is not None]
    if len(scores) < len(folders) or max(scores) == min(scores):
        return [(folder.name, 1.0) for folder in folders]
    low, high = min(scores), max(scores)
    return [
        (folder.name, 0.5 + 0.5 * (score - low) / (high - low)) for folder, score in zip(folders, scores, strict=True)
    ]


def untrained(config: RunConfig) -> Agent:
    """The policy that a run begins with."""
    policy = build_network(config, torch.Generator().manual_seed(derived_seed(config.seed, "weights")))
    FlatWeights(policy)
    return policy


def record_run(
    folder: RunFolder,
    out: Path,
    episode: int = 0,
    max_frames: int = MAX_FRAMES,
    *,
    before: bool = False,
    newest: bool = False,
) -> tuple[float, int]:
    """Record one episode of a run, as a GIF or an MP4: (its score, its length in env steps).

    Args:
        folder: The run.
        out: The file; its name's end says which.
        episode: Which of the held-out episodes to play.
        max_frames: Frames after which the recording ends, whatever the episode does.
        before: Whether to show the same episode on the left as the untrained policy plays it.
        newest: Whether to show the newest policy though the run's pilot has found a better one.

    Raises:
        UsageError: If the run has no checkpoint yet.
    """
    config, network, _ = load_policy(folder, newest=newest)
    trained = played(config, network, episode, max_frames)
    frames = trained.frames
    if before:
        frames = side_by_side(played(config, untrained(config), episode, max_frames).frames, frames)
    write_recording(out, frames, trained.frames_per_second)
    return trained.score, trained.steps
