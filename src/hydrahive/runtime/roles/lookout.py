"""Pictures of environments while they are simulated: an output of a fragment beside its bytes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hydrahive.core.watched import Frame, Wish
from hydrahive.envs.vector import SnapshotVectorEnv
from hydrahive.runtime.config.run_config import RunConfig

MOST_IN_A_ROW = 32
"""Frames of one fragment at most: they are shown one after the other, and what comes late is no longer live."""

MOST_PIXELS = 160
"""Width and height of a picture at most: no terminal shows more."""

IMAGE_SIDE = 16
"""Numbers from 0 to 1 are an image from this width and height on."""

BAR_ROWS, BAR_LIMIT = 16, 3.0
"""Height of a bar chart of an observation, and the value that fills a bar; small ones are shown larger, by a root."""


class Lookout:
    """Takes a picture after each step of one fragment, so that one sees how its environment moves."""

    def __init__(self, wish: Wish, rows: range) -> None:
        """Look at these rows of a shard's environments: one, or those of a world's agents."""
        self.wish, self._rows = wish, rows
        self.frames: list[Frame] = []
        self._fails = False

    def see(
        self, step: int, env: SnapshotVectorEnv, observations: np.ndarray, returns: np.ndarray, lengths: np.ndarray
    ) -> None:
        """Take a picture, unless there are enough; where drawing fails there is none, and the fragment goes on."""
        if self._fails or len(self.frames) >= MOST_IN_A_ROW:
            return
        try:
            present = env.present()
            row = next((row for row in self._rows if present is None or present[row]), self._rows[0])
            picture = env.thumbnail(row)
            picture = _small(observed_picture(observations[row]) if picture is None else picture)
        except Exception:  # an environment's own drawing may fail with anything
            self._fails = True
            return
        if picture.size:
            self.frames.append(Frame(self.wish.env, step, float(returns[row]), int(lengths[row]), picture))


class Lookouts:
    """Decides whose fragments are looked at: one after the other as fast as somebody looks at what it shows."""

    def __init__(self, config: RunConfig) -> None:
        """Look at nothing yet."""
        self._group = config.env.group
        self._per_shard = config.envs_per_shard // config.env.group
        self._next: dict[int, float] = {}

    def due(self, shard: int, wishes: Sequence[Wish], now: float) -> list[Lookout]:
        """Lookouts for a shard's next fragment; `now` in seconds, as for `taken`."""
        return [
            Lookout(wish, range(first, first + self._group))
            for wish in wishes
            if wish.env // self._per_shard == shard and now >= self._next.get(wish.env, now)
            for first in [wish.env % self._per_shard * self._group]
        ]

    def taken(self, lookouts: Sequence[Lookout], now: float) -> list[Frame]:
        """What they saw; it keeps the watcher busy for a while."""
        for lookout in lookouts:
            self._next[lookout.wish.env] = now + len(lookout.frames) / lookout.wish.frames_per_second
        return [frame for lookout in lookouts for frame in lookout.frames]


def observed_picture(observation: np.ndarray) -> np.ndarray:
    """An observation as a picture: a frame as it is, planes in colours of their own, numbers as bars up and down.

    Args:
        observation: Of one environment, of any shape.

    Returns:
        `uint8 [H, W, 3]` or `[H, W]`.
    """
    array = np.asarray(observation)
    if array.ndim == 3 and array.shape[0] < min(array.shape[1:]):
        array = np.moveaxis(array, 0, -1)
    is_large = array.ndim >= 2 and min(array.shape[:2]) >= IMAGE_SIDE
    if is_large and array.dtype.kind == "f" and 0 <= array.min() <= array.max() <= 1:
        array = (array * 255).astype(np.uint8)
    if array.dtype == np.uint8 and array.ndim == 3 and array.shape[-1] == 3 and array.max(initial=0) > 16:
        return np.ascontiguousarray(array)
    if array.dtype == np.uint8 and array.ndim == 2:
        return np.ascontiguousarray(array)
    if array.ndim == 3:
        return _planes(array)
    return _bars(array.reshape(-1))


def _small(picture: np.ndarray) -> np.ndarray:
    """A picture with every n-th row and column only, where there are too many."""
    every = -(-max(picture.shape[:2], default=1) // MOST_PIXELS) or 1
    return np.ascontiguousarray(picture[::every, ::every])


def _planes(array: np.ndarray) -> np.ndarray:
    """Each place in the colour of its largest channel, dark where all are 0."""
    channels = array.shape[-1]
    hues = np.arange(channels)[:, None] / channels + np.array([0.0, 1 / 3, 2 / 3])
    colours = (127.5 * (1 + np.cos(2 * np.pi * hues))).astype(np.uint8)
    strongest = np.abs(array).argmax(-1)
    picture: np.ndarray = np.where(np.abs(array).max(-1, keepdims=True) > 0, colours[strongest], np.uint8(20))
    return picture


def _bars(values: np.ndarray) -> np.ndarray:
    """Bars up from the middle for what is positive, down for what is negative."""
    half, values = BAR_ROWS // 2, values[:MOST_PIXELS]
    shares = np.clip(np.nan_to_num(values.astype(np.float64)) / BAR_LIMIT, -1, 1)
    heights = np.sign(shares) * np.sqrt(np.abs(shares)) * half
    rows = np.arange(half)
    up, down = heights >= (half - rows)[:, None] - 0.5, -heights >= (rows + 1)[:, None] - 0.5
    picture = np.full((2 * half, len(values), 3), 20, np.uint8)
    picture[:half][up] = (46, 213, 115)
    picture[half:][down] = (238, 82, 83)
    return picture.repeat(max(1, 32 // max(len(values), 1)), axis=1)
