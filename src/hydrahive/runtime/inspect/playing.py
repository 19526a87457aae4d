"""A run's trained policy, loaded back to be evaluated and watched."""

from __future__ import annotations

from pathlib import Path

import torch

from hydrahive.core.errors import HydrahiveError
from hydrahive.core.state import under
from hydrahive.core.streams import derived_seed
from hydrahive.policies.agent import Agent
from hydrahive.policies.flat_weights import FlatWeights
from hydrahive.runtime.config.machine_class import prepare_torch
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.roles.env_worker import WORKER_THREADS, build_network
from hydrahive.runtime.roles.pictures import played, side_by_side
from hydrahive.runtime.runs.checkpoints import Checkpoint
from hydrahive.runtime.runs.newest import newest_checkpoint
from hydrahive.runtime.runs.run_folder import RunFolder
from hydrahive.telemetry.recording import write_recording

MAX_FRAMES = 1500


def load_policy(folder: RunFolder) -> tuple[RunConfig, Agent, int]:
    """The policy of a run's newest checkpoint: (config, policy, env steps it was trained for).

    Raises:
        UsageError: If the run has no checkpoint yet.
    """
    newest = newest_checkpoint(folder)
    config, policy = policy_of(folder, newest)
    return config, policy, newest.boundary.progress.env_steps


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


def untrained(config: RunConfig) -> Agent:
    """The policy that a run begins with."""
    policy = build_network(config, torch.Generator().manual_seed(derived_seed(config.seed, "weights")))
    FlatWeights(policy)
    return policy


def record_run(
    folder: RunFolder, out: Path, episode: int = 0, max_frames: int = MAX_FRAMES, *, before: bool = False
) -> tuple[float, int]:
    """Record one episode of a run, as a GIF or an MP4: (its score, its length in env steps).

    Args:
        folder: The run.
        out: The file; its name's end says which.
        episode: Which of the held-out episodes to play.
        max_frames: Frames after which the recording ends, whatever the episode does.
        before: Whether to show the same episode on the left as the untrained policy plays it.

    Raises:
        UsageError: If the run has no checkpoint yet.
    """
    config, network, _ = load_policy(folder)
    trained = played(config, network, episode, max_frames)
    frames = trained.frames
    if before:
        frames = side_by_side(played(config, untrained(config), episode, max_frames).frames, frames)
    write_recording(out, frames, trained.frames_per_second)
    return trained.score, trained.steps
