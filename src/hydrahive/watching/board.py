"""A picture in a terminal: two pixels in each character, above each other."""

from __future__ import annotations

import numpy as np
from PIL import Image
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

UPPER_HALF = "\u2580"


class Board(Widget):
    """Shows the newest picture it was given as large as it fits."""

    DEFAULT_CSS = "Board { width: 1fr; height: 1fr; }"

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  # Textual's own name
        """Show nothing yet."""
        super().__init__(id=id)
        self._picture: np.ndarray | None = None
        self._fitted: np.ndarray | None = None
        self._fitted_to = (0, 0)
        self.note = ""

    def show(self, picture: np.ndarray | None, note: str = "") -> None:
        """Show a picture, `uint8 [H, W, 3]` or `[H, W]`, or a note where there is none."""
        self._picture, self._fitted, self.note = picture, None, note
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """One line of characters, two rows of pixels."""
        width, height = self.size
        if self._picture is None:
            return _centred(self.note if y == height // 2 else "", width)
        if self._fitted is None or self._fitted_to != (width, height):
            self._fitted, self._fitted_to = fitted(self._picture, width, 2 * height), (width, height)
        pixels = self._fitted
        rows, columns = pixels.shape[:2]
        row = 2 * (y - (height - (rows + 1) // 2) // 2)
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


def _runs(upper: np.ndarray, lower: np.ndarray) -> list[list[tuple[tuple[int, ...], tuple[int, ...]]]]:
    """Neighbours of the same colours together."""
    runs: list[list[tuple[tuple[int, ...], tuple[int, ...]]]] = []
    for pair in zip(map(tuple, upper.tolist()), map(tuple, lower.tolist()), strict=True):
        if runs and runs[-1][0] == pair:
            runs[-1].append(pair)
        else:
            runs.append([pair])
    return runs


def _style(upper: tuple[int, ...], lower: tuple[int, ...]) -> Style:
    colour, background = ("#{:02x}{:02x}{:02x}".format(*pixel) for pixel in (upper, lower))
    return Style(color=colour, bgcolor=background)


def _centred(text: str, width: int) -> Strip:
    return Strip([Segment(text[:width].center(width))]).adjust_cell_length(width)
