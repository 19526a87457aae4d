"""Trains a small run inline and takes down the digest of every part of its state after every update."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hydrahive.core.state import State, digest_of_state
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.fleet.inline import InlineFleet
from hydrahive.runtime.schedule.schedules import schedule_of

SHOWN = 16
"""Characters of a digest that are kept of each update."""

Golden = dict[str, Any]


def recorded(config: RunConfig) -> Golden:
    """What a run's bytes are: its machine class, its digests, and those of each part after each update."""
    fleet = InlineFleet(config, "golden", "cpu")
    updates: list[dict[str, str]] = []
    boundary = None
    for update in schedule_of(config, fleet, None).updates():
        state = dict(fleet.get(fleet.learner_state()))
        if config.replay:
            replay = fleet.get(fleet.replay_state(len(updates)))
            state |= {f"replay/{name}": array for name, array in replay.items() if name.startswith("state/")}
        updates.append(_by_part(state))
        boundary = update.boundary or boundary
    assert boundary is not None, "a run ends at a boundary"
    shards = {name: array for name, array in boundary.state.items() if name.startswith("shards/")}
    return {
        "machine_class": fleet.machine_class(),
        "digest": boundary.digest(),
        "state_digest": boundary.state_digest(),
        "shards": digest_of_state(shards)[:SHOWN],
        "updates": updates,
    }


def came_to(config: RunConfig) -> Golden:
    """What a longer run comes to: its digest and counters, and its scores at each row of metrics, by env steps."""
    fleet = InlineFleet(config, "golden", "cpu")
    scores: dict[str, list[float | None]] = {}
    boundary = None
    for update in schedule_of(config, fleet, None).updates():
        progress, boundary = update.progress, update.boundary or boundary
        if progress.updates % config.metrics_every == 0 or update.boundary:
            scores[str(progress.env_steps)] = [progress.score_mean, progress.score_max]
    assert boundary is not None, "a run ends at a boundary"
    at = boundary.progress
    return {
        "machine_class": fleet.machine_class(),
        "digest": boundary.digest(),
        "env_steps": at.env_steps,
        "updates": at.updates,
        "episodes": at.episodes,
        "scores": scores,
    }


def _by_part(state: State) -> dict[str, str]:
    """The digests of weights, optimizer, counters, replay and whatever else there is."""
    parts: dict[str, State] = {}
    for name, array in state.items():
        parts.setdefault(name.partition("/")[0], {})[name] = array
    return {part: digest_of_state(arrays)[:SHOWN] for part, arrays in parts.items()}


def difference(kept: Golden, now: Golden) -> str:
    """Where two recordings of a run part first, in words; empty if they are equal."""
    for number, (before, after) in enumerate(zip(kept["updates"], now["updates"], strict=False), 1):
        parts = [part for part in sorted({*before, *after}) if before.get(part) != after.get(part)]
        if parts:
            return f"update {number} is the first that differs, in: {', '.join(parts)}"
    if len(kept["updates"]) != len(now["updates"]):
        return f"{len(now['updates'])} updates in place of {len(kept['updates'])}"
    if kept["shards"] != now["shards"]:
        return "every update is the same; the shards (environments, memories) at the end are not"
    same = all(kept[name] == now[name] for name in ("digest", "state_digest"))
    return "" if same else "every part is the same, and the digest over them is not: how it is taken has changed"


def golden_path(folder: Path, machine_class: str) -> Path:
    """The file that the digests of a machine class lie in, whatever its runs' threads and precision."""
    processor, torch_build, *_ = machine_class.split("/")
    return folder / f"{processor}_{torch_build}.json"


def read_golden(path: Path) -> Golden | None:
    """What is kept for a machine class; None where nothing is."""
    if not path.is_file():
        return None
    kept: Golden = json.loads(path.read_text())
    return kept


def as_text(golden: Golden) -> str:
    """JSON with a line for each update, so that a change shows where it begins."""
    runs = golden.get("runs", {})
    plain = json.dumps({**golden, "runs": {name: "@" + name for name in runs}}, indent=1, sort_keys=True)
    for name, run in runs.items():
        head = json.dumps({key: value for key, value in run.items() if key != "updates"}, sort_keys=True)
        updates = ",\n   ".join(json.dumps(update, sort_keys=True) for update in run["updates"])
        plain = plain.replace(json.dumps("@" + name), f'{head[:-1]}, "updates": [\n   {updates}\n  ]}}')
    return plain + "\n"
