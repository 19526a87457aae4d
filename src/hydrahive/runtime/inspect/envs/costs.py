"""What an environment costs: time by its parts, memory, and what it leaves behind."""

from __future__ import annotations

import gc
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
import psutil
import torch

from hydrahive.core.state import SnapshotKind
from hydrahive.runtime.config.machine_class import prepare_torch
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.inspect.envs.probe import Noted, Player, WrongError, seed_for, vector
from hydrahive.runtime.roles.env_worker import WORKER_THREADS, build_network

SPEED_SECONDS = 1.0

OURS = "hydrahive-check-"
"""What the names of a check's own temporary folders begin with."""

ROUNDS = 3
"""Of making and closing, to see what gathers."""

RAY_NODE = "raylet"
"""The process that starts a node's Ray workers, where one runs in this process' Ray."""

SETTLE_SECONDS = 2.0
"""That what was closed has to be gone."""


def speed(config: RunConfig) -> str:
    """How fast it is stepped, and how long its parts take."""
    making, env = _timed(lambda: config.env.make_vector(config.envs_per_shard))
    try:
        player, steps = Player(env, 0), 0
        begin, _ = _timed(lambda: player.begin(seed_for(config)))
        began = time.perf_counter()
        while time.perf_counter() - began < SPEED_SECONDS:
            player.step()
            steps += env.num_envs
        rate = steps / (time.perf_counter() - began)
        parts = [f"{making * 1e3:.1f} ms to make {env.num_envs}", f"{begin * 1e3:.1f} ms to reset"]
        parts.append(f"{_acting(config, player) * 1e6:.0f} us for the policy to act in all")
        if config.env.snapshot_kind != SnapshotKind.RESTARTED:
            taking, state = _timed(env.snapshot)
            restoring, _ = _timed(lambda: env.restore(state))
            parts.append(f"{taking * 1e3:.1f} ms for a snapshot, {restoring * 1e3:.1f} ms to restore it")
    finally:
        env.close()
    step = f"{1e6 / rate:,.3g} us each"
    return f"{rate:,.0f} env steps/s in one process, {env.num_envs} at a time ({step}); {', '.join(parts)}"


Made = TypeVar("Made")


def _timed(make: Callable[[], Made]) -> tuple[float, Made]:
    began = time.perf_counter()
    made = make()
    return time.perf_counter() - began, made


def _acting(config: RunConfig, player: Player) -> float:
    """Seconds that the policy takes to score one observation of each environment."""
    prepare_torch(config, WORKER_THREADS)
    network = build_network(config, torch.Generator().manual_seed(0))
    seen = torch.from_numpy(np.ascontiguousarray(player.step()[0]))
    memory = torch.zeros(len(seen), network.memory_size)
    with torch.inference_mode():
        took = [_timed(lambda: network.step(seen, memory))[0] for _ in range(10)]
    return float(np.median(took))


def memory(config: RunConfig) -> str:
    """What one game more takes, in this process and in those that it starts."""
    games = config.envs_per_shard
    with vector(config):  # loads what all share
        gc.collect()
        before = _resident()
        with vector(config, games) as more:
            Player(more, 0).begin(seed_for(config))
            taken = max(0, _resident() - before) / more.num_envs
    if taken < 10_000:
        return "under 10 kB a game"
    return f"about {taken / 1e6:,.2f} MB a game"


def _resident() -> int:
    total = 0
    for process in (psutil.Process(), *_started()):
        try:
            total += process.memory_info().rss
        except psutil.Error:
            continue
    return total


def _started() -> Iterator[psutil.Process]:
    """What this process started, and what that started; not by a Ray node, whose workers come and go anyway."""
    waiting = psutil.Process().children()
    while waiting:
        process = waiting.pop()
        try:
            if process.name() == RAY_NODE:
                continue
            waiting += process.children()
        except psutil.Error:
            continue
        yield process


def left_behind(config: RunConfig) -> str:
    """Processes, threads, open files, and files that are still there when all was closed."""
    here = set(os.listdir())
    with _own_temporary() as temporary:
        before = _open()
        for _ in range(ROUNDS):
            with vector(config) as env:
                player = Player(env, 0)
                player.begin(seed_for(config))
                player.steps(5)
        left = _settled(before)
        ours = {name for name in os.listdir() if name.startswith(OURS)}  # another check's, where this is /tmp
        new = [*(set(os.listdir()) - here - ours), *(str(temporary / name) for name in os.listdir(temporary))]
    if any(left.values()):
        said = ", ".join(f"{len(names)} {kind} ({sorted(names)[0]})" for kind, names in left.items() if names)
        raise WrongError(f"made and closed {ROUNDS} times, it leaves behind {said}: its close() must end them")
    if new:
        return Noted(f"it writes files, as {sorted(new)[0]}: nobody removes them")
    return f"made and closed {ROUNDS} times, it leaves nothing behind"


@contextmanager
def _own_temporary() -> Iterator[Path]:
    """A folder for temporary files that nobody else writes into meanwhile."""
    before, named = tempfile.tempdir, os.environ.get("TMPDIR")
    with tempfile.TemporaryDirectory(prefix=OURS) as folder:
        tempfile.tempdir = os.environ["TMPDIR"] = folder
        try:
            yield Path(folder)
        finally:
            tempfile.tempdir = before
            if named is None:
                del os.environ["TMPDIR"]
            else:
                os.environ["TMPDIR"] = named


def _open() -> dict[str, dict[object, str]]:
    """What is open now, by kind: processes, threads, files; each with its name, which may change while it is open."""
    gc.collect()
    return {
        "processes": {child: _named(child) for child in _started()},
        "threads": {thread.ident: f"{thread.name}, {thread.ident}" for thread in threading.enumerate()},
        "open files": {file.path: file.path for file in psutil.Process().open_files()},
    }


def _named(process: psutil.Process) -> str:
    try:
        return f"{process.name()}, {process.pid}"
    except psutil.Error:
        return f"process {process.pid}"


def _settled(before: dict[str, dict[object, str]]) -> dict[str, list[str]]:
    """The names of what more is open than before, once what is ending has had its time."""
    began = time.perf_counter()
    while True:
        left = {
            kind: [name for one, name in named.items() if one not in before[kind]] for kind, named in _open().items()
        }
        if not any(left.values()) or time.perf_counter() - began > SETTLE_SECONDS:
            return left
        time.sleep(0.1)
