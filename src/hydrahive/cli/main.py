"""The entry point of `hydrahive`; each command is a module that is imported when it is called."""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydrahive import __version__
from hydrahive.cli.arguments import COMMAND
from hydrahive.core.errors import (
    HydrahiveError,
    UsageError,
    first_line,
    how_to_install,
    is_out_of_memory,
    not_installed,
)
from hydrahive.core.interrupts import Interrupted, listen_early, look_early
from hydrahive.core.machine import begin_again, settle
from hydrahive.runtime.cluster.address import introduce

COMMANDS = {
    "train": "train an experiment, or continue a run",
    "evaluate": "play a trained policy on held-out seeds",
    "play": "record an episode of a trained policy as a GIF or MP4",
    "snapshot": "write a run's scores as tables and plots",
    "report": "write a run as one page: recording, curves, recoveries, tokens",
    "compare": "tell what tells runs apart: bytes, config, scores",
    "plot": "draw curves of runs, with intervals over their seeds",
    "export": "write a trained policy as ONNX, or for torch",
    "digest": "print the digest and machine class of a run",
    "runs": "list runs, or compare some",
    "watch": "show a run in the terminal while it is trained",
    "pause": "have a live run wait",
    "continue": "have a paused run go on",
    "stop": "end a live run; the same train command resumes it",
    "ledger": "show and check who computed what, and what it earned",
    "worker": "have this machine join a cluster, and earn for an account",
    "drain": "hand this machine's shards over before its node ends",
    "check-env": "try what a run expects of its environment",
    "serve": "answer with trained policies over HTTP, for tokens",
    "gateway": "let volunteers work for a cluster over HTTPS",
    "volunteer": "earn tokens: work for a gateway, without Ray",
    "query": "ask a server for actions, an episode, or the balance",
    "tune": "search for values: tune run, tune replay, tune report",
    "bench": "measure speed: bench sim, bench replay, bench train",
}

MODULES = {
    "check-env": "check_env",
    **{
        name: f"runs.{name}"
        for name in ("evaluate", "play", "snapshot", "report", "compare", "plot", "export", "digest", "watch")
    },
    **{name: f"hive.{name}" for name in ("ledger", "worker", "drain", "serve", "query", "gateway", "volunteer")},
    "runs": "runs.listing",
    **dict.fromkeys(("pause", "continue", "stop"), "runs.control"),
}
"""Commands whose module is not named like them; `control` is given the command as its first argument."""

WITH_RAY = {"serve": "serve", "gateway": "serve", "tune": "tune"}
"""Commands whose extra brings Ray and more."""

READ_CONFIGS = frozenset(
    {"train", "evaluate", "play", "snapshot", "report", "export", "watch", "serve", "tune", "check-env", "bench"}
)
"""Commands that build what configs name, which may lie in the current folder; the others import nothing from there."""

USAGE = """usage: hydrahive COMMAND ...

Distributed reinforcement learning on Ray, reproducible to the byte.

commands:
{commands}

`hydrahive COMMAND --help` explains a command. `hydrahive --version` prints the version.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code: 0 done, 1 failed, 2 unusable arguments, 130/143 interrupted."""
    if arguments is None:
        begin_again(*COMMAND, *sys.argv[1:])
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    settle(finds_places=arguments[:1] != ["volunteer"])
    for stream in (sys.stdout, sys.stderr):  # whatever the locale knows, nothing that is said ends a command
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        listing = "\n".join(f"  {name:<10} {what}" for name, what in COMMANDS.items())
        print(USAGE.format(commands=listing), end="")
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(f"hydrahive {__version__}")
        return 0
    if arguments[0] not in COMMANDS:
        return _fail(f"unknown command {arguments[0]!r}; known: {', '.join(COMMANDS)}", 2)
    if arguments[0] in ("train", "tune"):
        listen_early()
    introduce(arguments)
    # The current folder, whose modules `python -m` and Ray's workers would find, too.
    if arguments[0] in READ_CONFIGS and "" not in sys.path:
        sys.path.append("")
    return _run(*arguments)


def _run(name: str, *arguments: str) -> int:
    module = MODULES.get(name, name)
    try:
        command = _imported(f"hydrahive.cli.{module}")
        look_early()
        code: int = command.run([name, *arguments] if module == "runs.control" else [*arguments])
        return code
    except HydrahiveError as error:
        return _fail(str(error), error.exit_code)
    except ImportError as error:
        if how_to_install(error) is None:
            raise
        missing = str(not_installed(name, error)).replace("hydrahive[ray]", f"hydrahive[{WITH_RAY.get(name, 'ray')}]")
        return _fail(missing, UsageError.exit_code)
    except (KeyboardInterrupt, Interrupted) as interrupted:
        name = str(interrupted) or "SIGINT"
        print(f"hydrahive: stopped by {name}", file=sys.stderr)
        return getattr(interrupted, "exit_code", 130)
    except BrokenPipeError:
        # The reader of our output, such as `head`, has gone; that is its right.
        sys.stderr.close()
        return 0
    except OSError as error:
        return _fail(f"{error.filename or 'output'}: {error.strerror or error}", 1)
    except (MemoryError, RuntimeError) as error:  # torch says so by a RuntimeError
        if not is_out_of_memory(error):
            raise
        return _fail(f"not enough memory: {first_line(error)}", 1)


def _imported(module: str) -> Any:
    """A command's module.

    Raises:
        HydrahiveError: If a file on the way in stands where a package or a module of Python's should.
    """
    try:
        return importlib.import_module(module)
    except (ImportError, AttributeError) as error:
        shadow = _shadow()
        if shadow is None:
            raise
        what = f"{type(error).__name__}: {first_line(error)}"
        raise HydrahiveError(f"{shadow} stands in the way of a module of that name ({what}): rename it") from None


def _shadow() -> Path | None:
    """A file of the user's that has the name of a module of Python's, or of a package that we need."""
    needed = {"numpy", "torch", "ray", "gymnasium", "numba", "yaml", "pyarrow", "optuna", "pettingzoo", "grpc"}
    for place in dict.fromkeys(sys.path):
        folder = Path(place or ".").absolute()
        if "site-packages" in folder.parts or not folder.is_dir() or folder == Path(os.__file__).parent:
            continue
        for name in sorted(sys.stdlib_module_names | needed):
            found = folder / f"{name}.py"
            if found.is_file() and not found.is_relative_to(sys.base_prefix):
                return found
    return None


def _fail(message: str, code: int) -> int:
    print(f"hydrahive: error: {' '.join(message.split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
