"""Episodes as pictures."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from hydrahive.core.durable import write_whole

LAST_FRAME_MS = 1500
"""How long the end stays in view before the picture starts over."""


def gif_of(frames: Sequence[np.ndarray], frames_per_second: float) -> bytes:
    """Frames, each `uint8 [H, W, 3]`, as an endless GIF."""
    palette = Image.fromarray(np.concatenate([frames[0], frames[-1]])).quantize(64)
    images = [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    durations = [round(1000 / frames_per_second)] * (len(images) - 1) + [LAST_FRAME_MS]
    buffer = io.BytesIO()
    images[0].save(buffer, "GIF", save_all=True, append_images=images[1:], duration=durations, loop=0, optimize=True)
    return buffer.getvalue()


def write_gif(path: Path, frames: Sequence[np.ndarray], frames_per_second: float) -> None:
    """Write frames, each `uint8 [H, W, 3]`, as an endless GIF.

    Raises:
        OSError: If the file cannot be written; nothing half-written is left.
    """
    write_whole(path, gif_of(frames, frames_per_second))
