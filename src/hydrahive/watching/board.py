"""A picture in a terminal: two pixels in each character, above each other."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image
from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

UPPER_HALF = "\u2580"

COLOUR_BITS = np.uint8(0xF8)
"""What is shown of a colour: with fewer colours more neighbours are alike, and fewer bytes go to the terminal."""

FEW_REGIONS = 6
"""So many lines that changed are drawn each by itself; more of them as one piece, which costs less."""


class Board(Widget):
    """Shows the newest picture it was given as large as it fits."""

    DEFAULT_CSS = "Board { width: 1fr; height: 1fr; }"

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  # Textual's own name
        """Show nothing yet."""
        super().__init__(id=id)
        self._picture: np.ndarray | None = None
        self._fitted: np.ndarray | None = None
        self._fitted_to, self._top = (0, 0), 0
        self.note = ""

    @property
    def has_picture(self) -> bool:
        """Whether it shows one."""
        return self._picture is not None

    def show(self, picture: np.ndarray | None, note: str = "") -> None:
        """Show a picture, `uint8 [H, W, 3]` or `[H, W]`, or a note where there is none; draws only what differs."""
        if picture is None:
            if self._picture is not None or self.note != note:
                self._picture, self._fitted, self.note = None, None, note
                self.refresh()
            return
        before, self._picture = self._fitted, picture
        now = self._fit(picture)
        if before is None or before.shape != now.shape:
            self.refresh()
            return
        changed = (before != now).any(axis=2)
        regions = []
        for line in range((len(now) + 1) // 2):
            columns = np.flatnonzero(changed[2 * line : 2 * line + 2].any(axis=0)).tolist()
            if columns:
                left = (self.size.width - now.shape[1]) // 2 + columns[0]
                regions.append(Region(left, self._top + line, columns[-1] - columns[0] + 1, 1))
        if len(regions) > FEW_REGIONS:
            self.refresh(Region.from_union(regions))
        elif regions:
            self.refresh(*regions)

    def _fit(self, picture: np.ndarray) -> np.ndarray:
        width, height = self.size
        pixels = self._fitted = fitted(picture, width, 2 * height) & COLOUR_BITS
        self._fitted_to, self._top = (width, height), (height - (len(pixels) + 1) // 2) // 2
        return pixels

    def render_line(self, y: int) -> Strip:
        """One line of characters, two rows of pixels."""
        width, height = self.size
        if self._picture is None:
            return _centred(self.note if y == height // 2 else "", width)
        pixels = self._fitted
        if pixels is None or self._fitted_to != (width, height):
            pixels = self._fit(self._picture)
        rows, columns = pixels.shape[:2]
        row = 2 * (y - self._top)
        if not 0 <= row < rows:
            return Strip.blank(width)
        left = (width - columns) // 2
        upper, lower = pixels[row], pixels[row + 1] if row + 1 < rows else np.zeros_like(pixels[row])
        segments = [Segment(" " * left)]
        segments += [Segment(UPPER_HALF * len(run), _style(*run[0])) for run in _runs(upper, lower)]
        return Strip(segments).adjust_cell_length(width)


def fitted(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """A picture as large as fits: each pixel as a square of pixels, or several averaged; `uint8 [h, w, 3]`."""
    if picture.ndim == 2:
        picture = np.repeat(picture[:, :, None], 3, axis=2)
    rows, columns = picture.shape[:2]
    factor = min(width / columns, height / rows)
    if factor >= 1:
        enlarged: np.ndarray = picture.repeat(int(factor), axis=0).repeat(int(factor), axis=1)
        return enlarged
    size = max(1, int(columns * factor)), max(1, int(rows * factor))
    return np.asarray(Image.fromarray(np.ascontiguousarray(picture)).resize(size, Image.Resampling.BOX))


def _runs(upper: np.ndarray, lower: np.ndarray) -> list[list[Any]]:
    """Neighbours of the same colours together, as pairs of an upper and a lower pixel."""
    runs: list[list[Any]] = []
    for pair in zip(map(tuple, upper.tolist()), map(tuple, lower.tolist()), strict=True):
        if runs and runs[-1][0] == pair:
            runs[-1].append(pair)
        else:
            runs.append([pair])
    return runs


@lru_cache(maxsize=2**14)
def _style(upper: tuple[int, int, int], lower: tuple[int, int, int]) -> Style:
    return Style(color=Color.from_rgb(*upper), bgcolor=Color.from_rgb(*lower))


def _centred(text: str, width: int) -> Strip:
    return Strip([Segment(text[:width].center(width))]).adjust_cell_length(width)
