"""A run's snapshot report, put together from its folder."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch

from hydrahive import __version__
from hydrahive.core.durable import write_whole
from hydrahive.runtime.config.plain import as_plain, flat
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.roles.env_worker import build_network
from hydrahive.runtime.runs.run_folder import RunFolder
from hydrahive.telemetry.pages.snapshot import snapshot_page
from hydrahive.telemetry.snapshot import About, clock, sections, snapshot_text
from hydrahive.telemetry.story import Story, read_story


def write_snapshot(folder: RunFolder, out: Path, every: int) -> tuple[Path, Path]:
    """Write the report of a run, live or finished, as `snapshot.txt` and `snapshot.html`; gives both paths.

    Args:
        folder: The run.
        out: An existing folder.
        every: Episodes between two lines of a table over time.
    """
    story = read_story(folder.metrics, folder.events, folder.episodes)
    about = about_run(folder, story)
    parts = sections(about, story, every)
    text, page = out / "snapshot.txt", out / "snapshot.html"
    write_whole(text, snapshot_text(about, parts).encode())
    write_whole(page, snapshot_page(about, story, parts))
    return text, page


def about_run(folder: RunFolder, story: Story) -> About:
    """What a run is, besides its story."""
    config = folder.config()
    newest: dict[str, Any] = story.rows[-1] if story.rows else {}
    facts = {
        "time": time.strftime("%Y-%m-%d %H:%M:%S"),
        "hydrahive": __version__,
        "experiment": config.experiment or "-",
        "run id": folder.identity().run_id,
        "seed": str(config.seed),
        "run time": clock(float(newest.get("seconds", 0.0))),
        "episodes": f"{len(story.scores):,}",
        "env steps": f"{int(newest.get('env_steps', 0)):,}",
        "updates": f"{int(newest.get('updates', 0)):,}",
        "gradient steps": f"{int(newest.get('gradient_steps', 0)):,}",
        "best score": f"{story.scores.max():g}" if len(story.scores) else "-",
        "mean of all scores": f"{story.scores.mean():.2f}" if len(story.scores) else "-",
        "parameters": f"{_parameters(config):,}",
    }
    return About(folder.name, facts, _config_sections(config))


def _parameters(config: RunConfig) -> int:
    return sum(parameter.numel() for parameter in build_network(config, torch.Generator()).parameters())


def _config_sections(config: RunConfig) -> dict[str, dict[str, Any]]:
    """The expanded config by its first keys; what stands alone is of the run."""
    found: dict[str, dict[str, Any]] = {"run": {}}
    for key, value in flat(as_plain(config)):
        first, _, rest = key.partition(".")
        name = rest.replace("init_args.", "") if rest else first
        shown = json.dumps(value) if isinstance(value, list) else value
        found.setdefault(first if rest else "run", {})[name] = shown
    return found
