"""`hydrahive volunteer`."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from hydrahive.cli.arguments import COMMAND, command_parser, positive
from hydrahive.cli.hive.ledger import read_key
from hydrahive.core.errors import HydrahiveError, UsageError

KEY = "HYDRAHIVE_KEY"
"""Which this process has taken out of its environment, and those that it starts need."""

PART = "HYDRAHIVE_VOLUNTEER_PART"
"""Which of a volunteer's processes this one is; unset in the first."""

AGAIN_SECONDS = 10.0
"""Time after which a process that has died is begun again."""


def run(arguments: Sequence[str]) -> int:
    """Work for a gateway's runs, without Ray, until told to stop or the budget is spent."""
    given = _parser().parse_args(arguments)
    if given.hours is not None and not given.hours > 0:
        raise UsageError(f"--hours: {given.hours} is not accepted; expected a number above 0")
    key = read_key(given.key_file)
    if not key:
        raise UsageError("an account's key is needed, in $HYDRAHIVE_KEY or --key-file")
    _settle_in(given.folder)
    if given.cpus > 1 and PART not in os.environ:
        return _several(given.cpus, list(arguments), key)
    return _work(given, key, arguments)


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("volunteer", "Earn tokens: act for the trainings of a gateway, until Ctrl-C. Needs no Ray.")
    parser.add_argument("url", metavar="URL", help="the gateway, https://HOST[:PORT]")
    parser.add_argument(
        "--key-file", type=Path, metavar="FILE", help="read the account's key from it, not $HYDRAHIVE_KEY"
    )
    parser.add_argument("--run", metavar="NAME", help="work for this run only (default: whichever needs it most)")
    parser.add_argument("--cpus", type=positive, default=1, help="processes, one CPU each (default: 1)")
    parser.add_argument("--hours", type=float, help="stop after so many")
    parser.add_argument("--idle-only", action="store_true", help="work only while others leave the machine idle")
    parser.add_argument("--shown", action="store_true", help="let the gateway's page show the account's name")
    parser.add_argument("--ca", type=Path, metavar="FILE", help="trust these certificates (PEM), not the system's")
    parser.add_argument("--plain", action="store_true", help="let the key travel unencrypted, in a network of yours")
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hydrahive-volunteer",
        help="where compiled code is kept; nothing is written elsewhere (default: ~/.cache/hydrahive-volunteer)",
    )
    return parser


def _work(given: argparse.Namespace, key: str, arguments: Sequence[str]) -> int:
    """One process at work; it ends without waiting for whoever still waits for the gateway."""
    part = os.environ.get(PART)

    def say(text: str) -> None:
        if part in (None, "0"):
            print(text, file=sys.stderr, flush=True)

    from hydrahive.runtime.config.portable import ensure_pinned, is_pinned
    from hydrahive.volunteer.budget import Budget
    from hydrahive.volunteer.line import Line
    from hydrahive.volunteer.working import Working

    line = Line(given.url, key, say, given.ca, is_plain_fine=given.plain)
    budget = Budget(given.hours, idle_only=given.idle_only)

    def pinned() -> None:
        if not is_pinned():
            os.environ[KEY] = key
            ensure_pinned(*COMMAND, "volunteer", *arguments)

    working = Working(line, budget, say, pinned, given.run, is_shown=given.shown)
    told: list[int] = []

    def leave(signum: int, frame: FrameType | None) -> None:
        if told:
            os._exit(128 + signum)  # he means it
        told.append(signum)
        working.stop.set()
        line.is_over.set()

    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, leave)
    try:
        working.work()
    except HydrahiveError:
        if not told:
            raise
    say(f"left after {working.env_steps:,} env steps")
    sys.stderr.flush()
    os._exit(128 + told[0] if told and told[0] == signal.SIGINT else 0)


def _settle_in(folder: Path) -> None:
    """Keep what is written in one folder: compiled code, and files for a moment.

    Raises:
        UsageError: If that cannot be.
    """
    try:
        (folder / "tmp").mkdir(parents=True, exist_ok=True)
        probe = folder / "tmp" / f"probe-{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise UsageError(f"--folder: {folder} cannot be written: {error.strerror}") from None
    os.environ["NUMBA_CACHE_DIR"] = str(folder / "numba")
    os.environ["TMPDIR"] = str(folder / "tmp")
    os.environ.setdefault("MPLCONFIGDIR", str(folder / "matplotlib"))
    import tempfile

    tempfile.tempdir = str(folder / "tmp")


def _several(count: int, arguments: list[str], key: str) -> int:
    """One process for each CPU, begun again where it dies; all end together."""
    begun: dict[int, subprocess.Popen[bytes]] = {}
    stopping: list[int] = []

    def begin(part: int) -> None:
        environment = {**os.environ, PART: str(part), KEY: key}
        command = [sys.executable, *COMMAND, "volunteer", *arguments]
        begun[part] = subprocess.Popen(command, env=environment)  # noqa: S603  a command of ours, no shell

    def leave(signum: int, frame: FrameType | None) -> None:
        stopping.append(signum)
        for process in begun.values():
            process.send_signal(signum)

    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, leave)
    for part in range(count):
        begin(part)
    codes: dict[int, int] = {}
    while len(codes) < count:
        time.sleep(0.2)
        for part, process in list(begun.items()):
            code = process.poll()
            if code is None or part in codes:
                continue
            if code < 0 and not stopping:  # it crashed, or was killed
                time.sleep(AGAIN_SECONDS)
                begin(part)
            else:
                codes[part] = code
    return max(codes.values())
