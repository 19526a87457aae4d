"""Observations that stack an environment's last frames, kept as each frame once."""

from __future__ import annotations

import numpy as np


def stack_rows(ended: np.ndarray, stack: int) -> np.ndarray:
    """Where each observation's frames lie among a fragment's frames.

    Args:
        ended: `[T, B]` bool, where an episode ended; the next row's stack begins anew.
        stack: Frames in an observation, `S`.

    Returns:
        `[T + 1, B, S]` int64, rows of `[T + S, B, ...]` frames, the newest last; `T + S`, one behind them, where the
        episode had no frame yet.
    """
    steps, columns = ended.shape
    times = np.arange(steps + 1)[:, None]
    began = np.zeros((steps + 1, columns), np.int64)
    began[1:] = np.where(ended, times[1:], 0)
    began = np.maximum.accumulate(began)
    rows = times[:, :, None] + np.arange(stack)
    # The first observation's stack lies there as it was; of later episodes, only what they have shown themselves.
    missing = (rows < began[:, :, None] + stack - 1) & (began[:, :, None] > 0)
    return np.where(missing, steps + stack, rows)


def whole_observations(frames: np.ndarray, ended: np.ndarray) -> np.ndarray:
    """The observations `[T + 1, B, S, ...]` of frames `[T + S, B, ...]`; zeros where an episode had no frame yet."""
    rows = stack_rows(ended, len(frames) - len(ended))
    behind = np.concatenate([frames, np.zeros_like(frames[:1])])
    whole: np.ndarray = behind[rows, np.arange(frames.shape[1])[None, :, None]]
    return whole
