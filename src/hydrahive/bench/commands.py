"""The real command as a child process, for what is measured from outside."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydrahive.core.errors import HydrahiveError

COMMAND = (sys.executable, "-m", "hydrahive.cli.main")

PATIENCE_SECONDS, LOOK_SECONDS = 120.0, 0.2
"""Longest wait for a command to be up, and time between two looks."""


@contextmanager
def running(arguments: Sequence[str], log: Path, is_up: Callable[[], bool], otherwise: str) -> Iterator[None]:
    """Have a command run until the block ends, which begins once it is up.

    Args:
        arguments: Of `hydrahive`.
        log: Where what it says goes.
        is_up: Whether it is up; asked again and again.
        otherwise: What is told, with the log's last line, should it not come up.

    Raises:
        HydrahiveError: If it does not come up.
    """
    with log.open("w") as file:
        process = subprocess.Popen([*COMMAND, *arguments], stdout=file, stderr=subprocess.STDOUT)  # noqa: S603  our own command
    try:
        end = time.monotonic() + PATIENCE_SECONDS
        while not is_up():
            if process.poll() is not None or time.monotonic() > end:
                lines = log.read_text("utf-8").splitlines()
                raise HydrahiveError(f"bench: {otherwise}: {lines[-1] if lines else 'it says nothing'}")
            time.sleep(LOOK_SECONDS)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
