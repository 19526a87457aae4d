"""A run's trained policy, loaded back to be evaluated and watched."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
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

GAP_PIXELS = 8
"""Between two pictures that are shown side by side."""


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


@dataclass(frozen=True)
class Played:
    """A greedy episode: its pictures, `uint8 [H, W, 3]` each, how many to a second, its score and its length."""

    frames: list[np.ndarray]
    frames_per_second: float
    score: float
    steps: int


def record_run(
    folder: RunFolder, out: Path, episode: int = 0, max_frames: int = MAX_FRAMES, *, before: bool = False
) -> tuple[float, int]:
    """Record one greedy episode of a run as a GIF: (its score, its length in env steps).

    Args:
        folder: The run.
        out: The GIF.
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
        untrained = build_network(config, torch.Generator().manual_seed(derived_seed(config.seed, "weights")))
        FlatWeights(untrained)
        frames = side_by_side(played(config, untrained, episode, max_frames).frames, frames)
    write_gif(out, frames, trained.frames_per_second)
    return trained.score, trained.steps


def side_by_side(left: Sequence[np.ndarray], right: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Two sequences of pictures of one size as one; the shorter stays at its last picture."""
    count = max(len(left), len(right))
    gap = np.zeros((left[0].shape[0], GAP_PIXELS, 3), np.uint8)
    return [
        np.concatenate([left[min(i, len(left) - 1)], gap, right[min(i, len(right) - 1)]], axis=1) for i in range(count)
    ]


@torch.inference_mode()
def played(config: RunConfig, network: Network, episode: int, max_frames: int) -> Played:
    """Play one greedy episode and keep its pictures; see `record_run`."""
    for driver in ("SDL_VIDEODRIVER", "SDL_AUDIODRIVER"):  # Gymnasium's classics draw with SDL, here without a screen
        os.environ.setdefault(driver, "dummy")
    env = config.env.make_single(render_mode="rgb_array")
    observation, _ = env.reset(seed=derived_seed(config.seed, "play", episode))
    frames = [np.asarray(env.render())]
    total, steps, ended, info = 0.0, 0, False, {}
    grouped, distribution = config.env.group > 1, network.distribution
    memory = torch.zeros((config.env.group, network.memory_size))
    while not ended and len(frames) < max_frames:
        batch = torch.tensor(observation if grouped else observation[None])
        scores, memory = network.step(batch, memory)
        actions = distribution.for_env(distribution.mode(scores).numpy())
        observation, reward, terminated, truncated, info = env.step(actions if grouped else actions[0])
        total, steps, ended = total + float(reward), steps + 1, terminated or truncated
        frames.append(np.asarray(env.render()))
    rate = env.metadata.get("render_fps", 30)
    env.close()
    return Played(frames, rate, float(info.get("score", total)), steps)
