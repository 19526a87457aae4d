"""Figures that a notebook shows though nobody has turned anything on for it."""

from __future__ import annotations

import io

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


class Shown(Figure):
    """A figure of matplotlib's, without pyplot and its global state."""

    def _repr_png_(self) -> bytes:
        """How a notebook shows it."""
        FigureCanvasAgg(self)
        made = io.BytesIO()
        self.savefig(made, format="png", dpi=110)
        return made.getvalue()
