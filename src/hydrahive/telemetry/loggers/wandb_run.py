"""Weights and Biases."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import wandb

from hydrahive.core.sink import Clip, Row
from hydrahive.telemetry.loggers.base import About, Logger


class WandbLogger(Logger):
    """A run of wandb's for a run of ours, under its id: when it goes on, so does that one.

    Rows are logged in their order, drawn over env steps; a picture comes with the next row. As many rows as wandb knows
    already are left out when they come again.
    """

    def __init__(self, project: str, entity: str | None, mode: Any, tags: Sequence[str]) -> None:
        """Wait for a run; what each means says `hydrahive.telemetry.loggers.config.Wandb`."""
        self._where = {"project": project, "entity": entity, "mode": mode, "tags": list(tags) or None}
        self._run: Any = None
        self._beside: dict[str, Any] = {}
        self._known = 0

    def begin(self, about: About) -> None:
        """Open the run; its files lie in ours' folder."""
        self._run = wandb.init(
            **self._where,
            name=about.name,
            id=about.run_id,
            group=about.experiment or None,
            config=dict(about.config),
            dir=str(about.folder),
            resume="allow",
            settings=wandb.Settings(silent=True, disable_git=True, console="off"),
        )
        self._run.define_metric("*", step_metric="env_steps")
        self._known = int(self._run.step or 0)

    def row(self, row: Row) -> None:
        """Log it."""
        if self._known:
            self._known -= 1
            return
        self._run.log({**row, **self._beside})
        self._beside = {}

    def event(self, kind: str, text: str, facts: Mapping[str, Any]) -> None:
        """A row in the log; what happened last stands in the summary."""
        self._run.summary["last event"] = text

    def picture(self, env_steps: int, clip: Clip) -> None:
        """With the next row."""
        self._beside["picture"] = wandb.Video(io.BytesIO(clip.gif), format="gif")

    def end(self, summary: Mapping[str, Any] | None) -> None:
        """Close the run; what it came to is its summary."""
        if self._run is None:
            return
        for name, value in (summary or {}).items():
            self._run.summary[name] = value
        self._run.finish(exit_code=0 if summary else 1)
