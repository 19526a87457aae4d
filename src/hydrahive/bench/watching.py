"""What watching a run costs it: one real run, and a real `hydrahive watch` in a terminal that comes and goes."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from hydrahive.bench.commands import COMMAND, running
from hydrahive.bench.statistics import ratio_interval
from hydrahive.core.errors import HydrahiveError
from hydrahive.telemetry.jsonl import read_rows

SETTLE_SECONDS = 5.0
"""Time of each window that is not counted: the view starts, which takes a core for some seconds, or ends."""

FIRST_ROWS = 10
"""Rows after which the run counts as under way."""

KINDS: dict[str, list[str] | None] = {"alone": None, "watched": [], "turbo": ["--turbo"]}
"""Who watches in a window: nobody, somebody, or somebody without frames."""


def bench_watching(
    config: str, overrides: Sequence[str], seconds: float, windows: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Train a run, and watch it in every other window: speeds, and the ratios to windows in which nobody does.

    Args:
        config: A YAML file or a shipped experiment.
        overrides: Dotted config keys, as for `hydrahive train`.
        seconds: Counted length of a window.
        windows: Windows of each kind.
        say: Receives progress lines.

    Raises:
        HydrahiveError: If the run or the view ends by itself.
    """
    speeds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory(prefix="hydrahive-bench-") as place, _training(config, overrides, place) as run:
        for turn in range(windows):
            for kind in list(KINDS) if turn % 2 == 0 else reversed(KINDS):
                speed = _window(run, KINDS[kind], seconds)
                say(f"window {turn + 1}/{windows}  {kind:<8} {speed:>10,.0f} steps/s")
                speeds[kind].append(speed)
    return {
        "steps_per_second": {kind: float(np.median(windows)) for kind, windows in speeds.items()},
        "ratios": {kind: ratio_interval(speeds[kind], speeds["alone"]) for kind in ("watched", "turbo")},
        "cpus": os.cpu_count(),
        "windows": speeds,
    }


@contextmanager
def _training(config: str, overrides: Sequence[str], place: str) -> Iterator[Path]:
    """A run that goes on until the block ends; its folder."""
    run = Path(place) / "run"
    options = ["--workers", "auto", "--recording", "false", "--metrics_every", "1", "--stop.env_steps", str(10**12)]
    arguments = ["train", config, "--runs", place, "--name", "run", *options, *overrides]

    def trains() -> bool:
        return len(read_rows(run / "metrics.jsonl")) >= FIRST_ROWS

    with running(arguments, Path(place) / "log", trains, "the run does not train"):
        yield run


def _window(run: Path, options: list[str] | None, seconds: float) -> float:
    """Env steps a second, by the run's own clock, while somebody watches or nobody does."""
    if options is None:
        time.sleep(SETTLE_SECONDS)
        return _speed(run, seconds)
    with _terminal(["watch", str(run), *options]):
        time.sleep(SETTLE_SECONDS)
        return _speed(run, seconds)


def _speed(run: Path, seconds: float) -> float:
    first = _newest(run)
    time.sleep(seconds)
    last = _newest(run)
    return float((last["env_steps"] - first["env_steps"]) / max(last["seconds"] - first["seconds"], 1e-9))


def _newest(run: Path) -> dict[str, Any]:
    """The newest whole row of metrics."""
    with (run / "metrics.jsonl").open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 2**16))
        whole, _, _ = file.read().rpartition(b"\n")
    row: dict[str, Any] = json.loads(whole.rpartition(b"\n")[2])
    return row


@contextmanager
def _terminal(arguments: Sequence[str]) -> Iterator[None]:
    """A command in a terminal of 80x24 whose screen is read and thrown away."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm-256color", "COLORTERM": "truecolor", "COLUMNS": "80", "LINES": "24"}
    process = subprocess.Popen(  # noqa: S603  our own command
        [*COMMAND, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
    )
    os.close(theirs)
    reader = threading.Thread(target=_drain, args=(ours, process), daemon=True)
    reader.start()
    try:
        yield
        if process.poll() is not None:
            raise HydrahiveError(f"bench: the view ended by itself with exit code {process.returncode}")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
        reader.join()
        os.close(ours)


def _drain(terminal: int, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        if select.select([terminal], [], [], 0.5)[0]:
            try:
                os.read(terminal, 2**16)
            except OSError:  # nobody writes to it any more
                return
