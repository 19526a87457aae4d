"""Episodes as pictures: what the policy does, drawn by its environment."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hydrahive.core.errors import HydrahiveError
from hydrahive.core.sink import Clip
from hydrahive.core.streams import derived_seed
from hydrahive.envs.extras import failures_in_a_line, told_where
from hydrahive.envs.flat import MASK
from hydrahive.envs.vector import BEGINS_ANEW, pulse
from hydrahive.policies.ensemble import Playing
from hydrahive.policies.flat_weights import FlatWeights
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.roles.env_worker import build_network
from hydrahive.runtime.roles.evaluation import Player
from hydrahive.telemetry.recording import gif_of

CLIP_FRAMES = 100
"""Frames of a picture that is taken while the run goes on."""

GAP_PIXELS = 8
"""Between two pictures that are shown side by side."""


@dataclass(frozen=True)
class Played:
    """An episode, or its beginning.

    Attributes:
        frames: Its pictures, `uint8 [H, W, 3]` each.
        frames_per_second: How many to a second.
        score: Up to its last picture.
        steps: Its length up to there.
        ended: Whether it was over then.
    """

    frames: list[np.ndarray]
    frames_per_second: float
    score: float
    steps: int
    ended: bool


@dataclass(frozen=True)
class Undrawn:
    """Why there is no picture: whatever an environment's own drawing fails with ends no run."""

    reason: str


def clip_of(config: RunConfig, weights: np.ndarray) -> Clip | Undrawn:
    """The beginning of an episode with a flat weights vector."""
    try:
        network = build_network(config, torch.Generator())
        FlatWeights(network).load(weights)
        shown = played(config, network, 0, CLIP_FRAMES)
    except (Exception, SystemExit) as error:
        return Undrawn(told_where(error))
    height, width, _ = shown.frames[0].shape
    return Clip(gif_of(shown.frames, shown.frames_per_second), width, height)


def side_by_side(left: Sequence[np.ndarray], right: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Two sequences of pictures of one size as one; the shorter stays at its last picture."""
    count = max(len(left), len(right))
    gap = np.zeros((left[0].shape[0], GAP_PIXELS, 3), np.uint8)
    return [
        np.concatenate([left[min(i, len(left) - 1)], gap, right[min(i, len(right) - 1)]], axis=1) for i in range(count)
    ]


def played(config: RunConfig, network: Playing, episode: int, max_frames: int) -> Played:
    """Play one episode, held-out number `episode`, up to `max_frames` pictures.

    Raises:
        HydrahiveError: If the environment fails, or draws none; says where.
    """
    for driver in ("SDL_VIDEODRIVER", "SDL_AUDIODRIVER"):  # Gymnasium's classics draw with SDL, here without a screen
        os.environ.setdefault(driver, "dummy")
    with failures_in_a_line(), closing(config.env.make_single(render_mode="rgb_array")) as env:
        return _played(env, config, network, episode, max_frames)


@torch.inference_mode()
def _played(env: Any, config: RunConfig, network: Playing, episode: int, max_frames: int) -> Played:
    observation, info = env.reset(seed=derived_seed(config.seed, "play", episode))
    frames = [_picture(env)]
    total, steps, ended = 0.0, 0, False
    grouped, player = config.env.group > 1, Player(config, network, episode)
    memory = torch.zeros((config.env.group, network.memory_size))
    while not ended and len(frames) < max_frames:
        batch = torch.tensor(observation if grouped else observation[None])
        scores, memory = network.step(batch, memory)
        actions = player.actions(scores, info[MASK].reshape(len(scores), -1) if MASK in info else None)
        pulse()
        observation, reward, terminated, truncated, info = env.step(actions if grouped else actions[0])
        if BEGINS_ANEW in info:
            memory = torch.zeros_like(memory)
        total, steps, ended = total + float(reward), steps + 1, terminated or truncated
        frames.append(_picture(env))
    return Played(frames, env.metadata.get("render_fps", 30), float(info.get("score", total)), steps, ended)


def _picture(env: Any) -> np.ndarray:
    drawn = np.asarray(env.render())
    if drawn.ndim != 3 or drawn.dtype != np.uint8:
        raise HydrahiveError("the environment draws no pictures of bytes, uint8 [H, W, 3], for rgb_array")
    return drawn
