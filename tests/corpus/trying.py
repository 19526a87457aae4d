"""Tries one environment as a user would: `check-env`, and the same short run inline, on three workers, and killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

COMMAND = [sys.executable, "-m", "hydrahive.cli.main"]
HERE = Path(__file__).parents[1]

RUN = {
    "algorithm": {"class_path": "PPO", "init_args": {"minibatches": 2, "epochs": 2}},
    "policy": {"encoder": {"class_path": "Mlp", "init_args": {"hidden": [16]}}},
    "shards": 3,
    "fragment_length": 16,
    "boundary_every": 2,
    "checkpoint": {"every_boundaries": 1},
    "recording": False,
    "stop": {"updates": 16},
}
"""What is trained."""

SECONDS = 300
"""For each command."""


def config_for(kind: dict[str, Any]) -> dict[str, Any]:
    """The run's config as plain data."""
    agents = kind.get("agents", 1)
    config = {**RUN, "env": kind["env"], "envs_per_shard": 4 if agents == 1 else 2 * agents}
    if kind["env"]["init_args"].get("groups"):
        config["policy"] = {"encoder": {"class_path": "PerGroup"}}
    if "Shelf" in str(kind["env"]["init_args"].get("id")):
        config["policy"] = {"encoder": {"class_path": "Parts"}}
    return config


def tried(kind: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What came of an environment: what `check-env` says, and the digests, or the line in which it was refused."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(config_for(kind)))
    row: dict[str, Any] = {"check": _checked(path, folder)}
    code, said = _train(path, folder, "inline", "--workers", "0")
    if code:
        return {**row, "refused": said[-1] if said else "", "code": code, "lines": len(said)}
    row["inline"] = _digest(folder, "inline")
    code, said = _train(path, folder, "workers", "--workers", "3")
    row["3 workers"] = said[-1] if code else _digest(folder, "workers")
    row["killed"] = _killed(path, folder)
    return row


def _around() -> dict[str, str]:
    paths = [str(HERE / "games"), str(HERE / "poison"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "SDL_VIDEODRIVER": "dummy"}


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=SECONDS, check=False, env=_around()
    )


def _checked(path: Path, folder: Path) -> str:
    done = _run("check-env", str(path), "--json", "--patience", "120")
    if done.returncode == 2 or not done.stdout:
        return f"refused: {done.stderr.strip().splitlines()[-1]}"
    checks = json.loads(done.stdout)["checks"]
    (folder / "check.json").write_text(json.dumps(checks, indent=1))
    counts = {verdict: sum(one["verdict"] == verdict for one in checks) for verdict in ("ok", "note", "wrong")}
    return ", ".join(f"{number} {verdict}" for verdict, number in counts.items() if number)


def _train(path: Path, folder: Path, name: str, *options: str) -> tuple[int, list[str]]:
    done = _run("train", str(path), "--name", name, "--runs", str(folder / "runs"), *options)
    said = [line for line in done.stderr.splitlines() if "error" in line or "Traceback" in line]
    return done.returncode, said


def _digest(folder: Path, name: str) -> str:
    return str(json.loads((folder / "runs" / name / "summary.json").read_text())["digest"])[:12]


def _killed(path: Path, folder: Path) -> str:
    """The digest of a run that was killed after its first checkpoint, and resumed."""
    arguments = ["train", str(path), "--name", "killed", "--runs", str(folder / "runs"), "--workers", "0"]
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=_around()
    )
    kept, began = folder / "runs" / "killed" / "checkpoints", time.monotonic()
    while process.poll() is None and not list(kept.glob("*/manifest.json")) and time.monotonic() - began < SECONDS:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    was = "killed" if process.wait() == -signal.SIGKILL else "ended before it was killed"
    code, said = _train(path, folder, "killed", "--workers", "0")
    return said[-1] if code else _digest(folder, "killed") if was == "killed" else was
