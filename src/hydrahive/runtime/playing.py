"""A run's trained policy, loaded back to be evaluated and watched."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from hydrahive.core.errors import UsageError
from hydrahive.core.state import under
from hydrahive.core.streams import derived_seed
from hydrahive.policies.flat_weights import FlatWeights
from hydrahive.policies.network import Network
from hydrahive.runtime.config import RunConfig
from hydrahive.runtime.env_worker import WORKER_THREADS, build_network
from hydrahive.runtime.machine_class import prepare_torch
from hydrahive.runtime.run_folder import RunFolder
from hydrahive.telemetry.recording import write_gif

MAX_FRAMES = 1500


def load_policy(folder: RunFolder) -> tuple[RunConfig, Network, int]:
    """The policy of a run's newest checkpoint: (config, policy, env steps it was trained for).

    Raises:
        UsageError: If the run has no checkpoint yet.
    """
    newest, _ = folder.checkpoints().newest()
    if newest is None:
        raise UsageError(f"run {folder.name!r} has no checkpoint yet")
    config = folder.config()
    prepare_torch(config, WORKER_THREADS)
    policy = build_network(config, torch.Generator())
    weights = FlatWeights(policy)
    weights.load_named(weights.vector, under("weights", newest.boundary.learner()))
    return config, policy, newest.boundary.progress.env_steps


def record_run(folder: RunFolder, out: Path, episode: int = 0, max_frames: int = MAX_FRAMES) -> tuple[float, int]:
    """Record one greedy episode of a run as a GIF: (its score, its length in env steps).

    Args:
        folder: The run.
        out: The GIF.
        episode: Which of the held-out episodes to play.
        max_frames: Frames after which the recording ends, whatever the episode does.

    Raises:
        UsageError: If the run has no checkpoint yet.
    """
    config, policy, _ = load_policy(folder)
    return record_episode(config, policy, out, episode, max_frames)


@torch.inference_mode()
def record_episode(config: RunConfig, policy: Network, out: Path, episode: int, max_frames: int) -> tuple[float, int]:
    """Play one greedy episode and write it as a GIF; see `record_run`."""
    for driver in ("SDL_VIDEODRIVER", "SDL_AUDIODRIVER"):  # Gymnasium's classics draw with SDL, here without a screen
        os.environ.setdefault(driver, "dummy")
    env = config.env.make_single(render_mode="rgb_array")
    observation, _ = env.reset(seed=derived_seed(config.seed, "play", episode))
    frames = [np.asarray(env.render())]
    total, steps, ended, info = 0.0, 0, False, {}
    grouped = config.env.group > 1
    memory = torch.zeros((config.env.group, policy.memory_size))
    while not ended and len(frames) < max_frames:
        batch = torch.tensor(observation if grouped else observation[None])
        scores, memory = policy.step(batch, memory)
        actions = policy.distribution.for_env(policy.distribution.mode(scores).numpy())
        action = actions if grouped else actions[0]
        observation, reward, terminated, truncated, info = env.step(action)
        total, steps, ended = total + float(reward), steps + 1, terminated or truncated
        frames.append(np.asarray(env.render()))
    rate = env.metadata.get("render_fps", 30)
    env.close()
    write_gif(out, frames, rate)
    return float(info.get("score", total)), steps
