"""What a run tells while it is trained, handed to a Python program's functions; and a progress bar for notebooks."""

from __future__ import annotations

import copy
import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

from hydrahive.core.sink import Clip, Row

Heard = Callable[[dict[str, Any]], object]
"""Is called with what is told; what it returns means nothing."""

EVALUATION = "evaluation_"


class Callbacks:
    """Hands copies of rows, events and evaluations on; an error of a function ends the run as any other does."""

    def __init__(
        self, on_row: Heard | None = None, on_event: Heard | None = None, on_evaluation: Heard | None = None
    ) -> None:
        """For those of the functions that there are."""
        self._on_row, self._on_event, self._on_evaluation = on_row, on_event, on_evaluation

    def row(self, row: Row) -> None:
        """Tell of a row, and of what an evaluation found."""
        if self._on_row:
            self._on_row(dict(row))
        found = {name.removeprefix(EVALUATION): value for name, value in row.items() if name.startswith(EVALUATION)}
        if self._on_evaluation and found:
            counters = {name: row[name] for name in ("updates", "env_steps", "seconds") if name in row}
            self._on_evaluation({**counters, **found})

    def episodes(self, facts: Mapping[str, object]) -> None:
        """They are in the run's files."""

    def clip(self, env_steps: int, clip: Clip) -> None:
        """Pictures are for TensorBoard."""

    def event(self, kind: str, text: str, **fields: object) -> None:
        """Tell of an event."""
        if self._on_event:
            self._on_event({"kind": kind, "text": text, **copy.deepcopy(fields)})

    def close(self) -> None:
        """Nothing is held back."""


def in_a_notebook() -> bool:
    """Whether this process is a notebook's kernel."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


class Bar:
    """A progress bar below a notebook's cell, with the newest score; events stand above it."""

    def __init__(self, target_steps: int) -> None:
        """Towards so many env steps."""
        shown: Any = importlib.import_module("IPython.display")
        self._target, self._html = target_steps, shown.HTML
        self._shown = shown.display(shown.HTML("starting"), display_id=True)

    def row(self, row: Row) -> None:
        """Move on."""
        steps, score = row.get("env_steps"), row.get("score_mean")
        if "steps_per_second" not in row or not isinstance(steps, int):
            return
        told = "" if score is None else f", score {score:.2f}"
        bar = f'<progress value="{min(steps, self._target)}" max="{self._target}" style="width: 20em"></progress>'
        self._shown.update(self._html(f"{bar} {steps:,} env steps, {row['steps_per_second']:,.0f} a second{told}"))

    def episodes(self, facts: Mapping[str, object]) -> None:
        """Scores are in the bar."""

    def clip(self, env_steps: int, clip: Clip) -> None:
        """Pictures are for TensorBoard."""

    def event(self, kind: str, text: str, **fields: object) -> None:
        """Say it."""
        if kind != "replay_buckets":
            print(text)

    def close(self) -> None:
        """It stays as it is."""
