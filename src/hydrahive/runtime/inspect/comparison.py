"""Runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from hydrahive.core.errors import HydrahiveError, one_line
from hydrahive.runtime.config.plain import flat
from hydrahive.runtime.runs.run_folder import RunFolder
from hydrahive.telemetry.jsonl import read_rows

DIGEST_SHOWN = 12
"""Characters of a digest in a table; enough to tell runs apart."""


def facts_of(folder: RunFolder) -> dict[str, Any]:
    """The facts of a run that a table of runs shows, from its summary or, while it is unfinished, its last row."""
    summary = folder.read_summary()
    rows = [row for row in read_rows(folder.metrics) if "loss" in row]
    last: dict[str, Any] = summary or (rows[-1] if rows else {})
    return {
        "run": folder.name,
        "state": "finished" if summary else "unfinished",
        "env_steps": last.get("env_steps", 0),
        "seconds": last.get("seconds"),
        "steps_per_second": last.get("steps_per_second"),
        "episodes": last.get("episodes", 0),
        "score_mean": last.get("score_mean"),
        "score_max": last.get("score_max"),
        "workers": last.get("workers"),
        "digest": str(summary["digest"])[:DIGEST_SHOWN] if summary and "digest" in summary else None,
    }


def written_config(folder: RunFolder) -> dict[str, Any]:
    """A run's config as it is written, by dotted keys; nothing that it names is imported.

    Raises:
        HydrahiveError: If it cannot be read.
    """
    try:
        return dict(flat(yaml.safe_load((folder.path / "config.yaml").read_text("utf-8"))))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise HydrahiveError(f"run {folder.name!r}: its config.yaml cannot be read: {one_line(error)}") from None


def config_differences(folders: Sequence[RunFolder]) -> list[list[Any]]:
    """The config keys in which runs differ: rows of (key, value of each run)."""
    configs = [written_config(folder) for folder in folders]
    keys = dict.fromkeys(key for config in configs for key in config)
    rows = [[key, *(config.get(key) for config in configs)] for key in keys]
    return [row for row in rows if any(value != row[1] for value in row[2:])]
