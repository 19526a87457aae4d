"""The command as a fork of a process that has imported everything: a real process, spared two seconds of imports.

Forks have one seed of Python's hashes; what begins a process from scratch is not tested with them.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection

import numpy as np

IMPORTED = [
    "cli.train",
    "cli.check_env",
    "cli.tune",
    "runtime.training.train",
    "runtime.cluster.ray_fleet",
    "tuning.sweep",
]
IMPORTED += ["runtime.inspect.playing", "runtime.inspect.envs.check", "envs.gym.config", "envs.snake"]

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload([f"hydrahive.{name}" for name in IMPORTED])


def end_forks() -> None:
    """SIGKILL those that a failed test has left; Python would wait for them as it ends."""
    for one in multiprocessing.active_children():
        one.kill()


def can_fork(arguments: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Whether nothing has to be done before Python, Ray or torch are imported."""
    early = any(word.partition("=")[0] in ("--address", "--portable") for word in arguments)
    return not early and not any(os.path.exists(f"{folder}/sitecustomize.py") for folder in _folders(environment))


class Fork:
    """What `subprocess.Popen` offers, as far as the tests use it."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self.args = ["hydrahive", *arguments]
        out, child_out = _server.Pipe(duplex=False)
        err, child_err = _server.Pipe(duplex=False)
        self._process = _server.Process(
            target=_command, args=(list(arguments), dict(environment), os.getcwd(), child_out, child_err)
        )
        self._process.start()
        for one in (child_out, child_err):
            one.close()
        self.stdout, self.stderr = (os.fdopen(os.dup(one.fileno()), encoding="utf-8") for one in (out, err))
        for one in (out, err):
            one.close()
        self.pid = self._process.pid
        self._read: list[Future[str]] = []

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal, once it has been waited for or polled."""
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return self._process.exitcode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        if not self._read:
            readers = ThreadPoolExecutor(2)
            self._read = [readers.submit(one.read) for one in (self.stdout, self.stderr)]
            readers.shutdown(wait=False)
        self.wait(timeout)
        out, err = (text.result(timeout) for text in self._read)
        return out, err

    def send_signal(self, signum: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signum)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


def _folders(environment: Mapping[str, str]) -> list[str]:
    return [folder for folder in environment.get("PYTHONPATH", "").split(os.pathsep) if folder]


def _command(arguments: list[str], environment: dict[str, str], folder: str, out: Connection, err: Connection) -> None:
    from hydrahive.cli.main import main

    os.dup2(out.fileno(), 1)
    os.dup2(err.fileno(), 2)
    for one in (out, err):
        one.close()
    sys.stdout = os.fdopen(os.dup(1), "w", encoding="utf-8")
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="backslashreplace")
    np.random.seed()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path[:0] = [one for one in _folders(environment) if one not in sys.path]
    sys.argv = ["hydrahive", *arguments]
    code = 1
    try:
        code = main(arguments)
    finally:
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            if not stream.closed:
                stream.flush()
    sys.exit(code)
