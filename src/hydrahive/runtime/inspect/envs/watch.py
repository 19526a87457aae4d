"""An environment's checks in a process of their own, for an environment may hang or bring its process down."""

from __future__ import annotations

import faulthandler
import multiprocessing
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from hydrahive.core.errors import HydrahiveError
from hydrahive.runtime.config.parsing import load_run_config
from hydrahive.runtime.inspect.envs.check import CHECKS, Finding, checked

BEGIN_SECONDS, WRITE_SECONDS = 60, 2
"""What the child may need to begin, and beside each check to write down where it is."""

FRAME = re.compile(r'File "(.+)", line (\d+) in (\S+)')
"""Of a traceback that `faulthandler` writes, the innermost first."""


def watched(path: Path, overrides: Sequence[str], seconds: float) -> Iterator[Finding]:
    """The findings of `checked`; a check of which nothing is heard for so long, or whose process dies, ends them.

    The config is read there, too: reading it may already import and make the environment.

    Args:
        path: Of the config.
        overrides: `--key value` options.
        seconds: Patience.

    Raises:
        HydrahiveError: What reading the config raises.
    """
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe(duplex=False)
    with tempfile.TemporaryDirectory(prefix="hydrahive-check-") as folder:
        trace = Path(folder) / "trace"
        process = context.Process(target=_check, args=(path, overrides, seconds, trace, theirs), daemon=True)
        process.start()
        theirs.close()
        name = "made"
        try:
            if mine.poll(BEGIN_SECONDS):
                mine.recv()  # the process has begun
            for name in CHECKS:
                if not mine.poll(seconds + WRITE_SECONDS):
                    yield Finding(name, "wrong", f"hangs: nothing came of it for {seconds:g} s{_where(trace)}")
                    return
                heard: Finding | HydrahiveError = mine.recv()
                if isinstance(heard, HydrahiveError):
                    raise heard
                yield heard
                if name == "made" and not heard.passed:
                    return
        except EOFError:
            process.join()
            yield Finding(name, "wrong", f"brings its process down (exit code {process.exitcode}){_where(trace)}")
        finally:
            process.kill()
            process.join()


def _check(path: Path, overrides: Sequence[str], seconds: float, trace: Path, tell: Connection) -> None:
    with trace.open("w") as file:
        faulthandler.enable(file)
        # Repeated, because the first may come while something is still being compiled or imported.
        faulthandler.dump_traceback_later(seconds, repeat=True, file=file)
        tell.send(None)
        try:
            config = load_run_config(path, overrides)
        except HydrahiveError as refusal:
            tell.send(refusal)
            return
        for finding in checked(config):
            tell.send(finding)
            faulthandler.dump_traceback_later(seconds, repeat=True, file=file)  # anew for the next one
        faulthandler.cancel_dump_traceback_later()
        faulthandler.disable()
    tell.close()
    sys.stdout.flush()


def _where(trace: Path) -> str:
    """The line that a process was at, of the environment's own code if it was in it."""
    text = trace.read_text("utf-8") if trace.exists() else ""
    main = text.rpartition("most recent call first")[2]
    frames = FRAME.findall(main)
    outside = [frame for frame in frames if "site-packages" not in frame[0] and "/hydrahive/" not in frame[0]]
    if not frames:
        return ""
    file, line, function = (outside or frames)[0]
    return f", in {function} ({file}:{line})"
