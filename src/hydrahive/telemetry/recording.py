"""Episodes as pictures."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from hydrahive.core.durable import write_whole
from hydrahive.core.errors import not_installed

LAST_FRAME_MS = 1500
"""How long the end stays in view before the picture starts over."""


SMALLEST = 240
"""Pixels that a side of an MP4 has at least; players make small ones blurred."""


def gif_of(frames: Sequence[np.ndarray], frames_per_second: float) -> bytes:
    """Frames, each `uint8 [H, W, 3]`, as an endless GIF."""
    palette = Image.fromarray(np.concatenate([frames[0], frames[-1]])).quantize(64)
    images = [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    durations = [round(1000 / frames_per_second)] * (len(images) - 1) + [LAST_FRAME_MS]
    buffer = io.BytesIO()
    images[0].save(buffer, "GIF", save_all=True, append_images=images[1:], duration=durations, loop=0, optimize=True)
    return buffer.getvalue()


def mp4_of(frames: Sequence[np.ndarray], frames_per_second: float) -> bytes:
    """Frames, each `uint8 [H, W, 3]`, as H.264, which every browser plays; small pictures enlarged, sides made even.

    Raises:
        UsageError: If the extra `video` is not installed.
    """
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise not_installed("an MP4", error) from None
    larger = max(1, SMALLEST // min(frames[0].shape[:2]))
    height, width = (side * larger + side * larger % 2 for side in frames[0].shape[:2])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recording.mp4"
        writer = imageio_ffmpeg.write_frames(
            str(path), (width, height), fps=frames_per_second, macro_block_size=1, quality=8, ffmpeg_log_level="error"
        )
        writer.send(None)
        for frame in frames:
            enlarged = frame.repeat(larger, axis=0).repeat(larger, axis=1)
            beside = ((0, height - enlarged.shape[0]), (0, width - enlarged.shape[1]), (0, 0))
            writer.send(np.ascontiguousarray(np.pad(enlarged, beside, mode="edge")))
        writer.close()
        return path.read_bytes()


def write_recording(path: Path, frames: Sequence[np.ndarray], frames_per_second: float) -> None:
    """Write frames, each `uint8 [H, W, 3]`, as an endless GIF, or as an MP4 if the name ends so.

    Raises:
        OSError: If the file cannot be written; nothing half-written is left.
        UsageError: If the extra `video` is needed and not installed.
    """
    make = mp4_of if path.suffix.lower() == ".mp4" else gif_of
    write_whole(path, make(frames, frames_per_second))
