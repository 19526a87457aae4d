"""Arguments that several commands share."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TextIO

from hydrahive.core.errors import HydrahiveError, UsageError

COMMAND = ("-P", "-m", "hydrahive.cli.main")
"""What follows `python` to call `hydrahive`; nothing is looked for in the current folder before its own place."""


class Parser(argparse.ArgumentParser):
    """An argparse parser whose refusals are the house's one line."""

    def error(self, message: str) -> NoReturn:
        """Refuse the arguments.

        Raises:
            UsageError: Always.
        """
        raise UsageError(f"{message} (see {self.prog} --help)")


def command_parser(name: str, description: str) -> Parser:
    """A parser for `hydrahive <name>`."""
    return Parser(prog=f"hydrahive {name}", description=description, allow_abbrev=False)


@contextmanager
def only_json() -> Iterator[TextIO]:
    """What `--json` is to be printed to, in a block in which all else that is printed, by whatever, goes to stderr.

    An environment or a library under it may print at any time, and not only through Python.
    """
    sys.stdout.flush()
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        try:
            os.dup2(2, 1)
            with redirect_stdout(sys.stderr):
                yield out
        finally:
            out.flush()
            os.dup2(out.fileno(), 1)


def add_runs(parser: argparse.ArgumentParser) -> None:
    """Add `--runs`."""
    parser.add_argument("--runs", help="folder or URI of the runs (default: $HYDRAHIVE_RUNS, else ./runs)")


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add RUN and `--runs`."""
    parser.add_argument("run", metavar="RUN", help="a run's name or folder")
    add_runs(parser)


def add_newest(parser: argparse.ArgumentParser) -> None:
    """Add `--newest`."""
    parser.add_argument(
        "--newest", action="store_true", help="take the newest checkpoint of a piloted run, not its best by validation"
    )


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Add `--trust-code`."""
    parser.add_argument(
        "--trust-code",
        action=_Trust,
        nargs=0,
        help="run the code that the run's config names though somebody else made the run; read it first",
    )


class _Trust(argparse.Action):
    """Sets what every process of the command reads."""

    def __call__(self, *given: Any, **more: Any) -> None:
        """Let the configs of others' runs name code."""
        from hydrahive.runtime.config.named_code import trust_code

        trust_code()


def writable(out: Path, *suffixes: str) -> None:
    """Refuse a file to write whose name ends otherwise, or whose folder is none.

    Raises:
        UsageError: Says what is expected.
    """
    if out.suffix.lower() not in suffixes:
        expected = " or ".join(suffixes)
        raise UsageError(f"--out: {str(out)!r} is not accepted; expected a file name that ends in {expected}")
    if not out.absolute().parent.is_dir():
        raise UsageError(f"--out: the folder {out.absolute().parent} does not exist")


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Say in one line that a file cannot be written.

    Raises:
        HydrahiveError: Instead of the block's OSError.
    """
    try:
        yield
    except OSError as error:
        raise HydrahiveError(f"--out: cannot write {out}: {error.strerror or error}") from None


def positive(text: str) -> int:
    """An integer of at least 1.

    Raises:
        argparse.ArgumentTypeError: If it is not.
    """
    return _integer(text, 1)


def natural(text: str) -> int:
    """An integer of at least 0; errors as `positive`."""
    return _integer(text, 0)


def at_most(most: int) -> Callable[[str], int]:
    """A type of integers from 1 to `most`; errors as `positive`."""
    return partial(_integer, least=1, most=most)


def _integer(text: str, least: int, most: int | None = None) -> int:
    try:
        value = int(text.replace("_", ""))
    except ValueError:
        value = least - 1
    if value < least or (most is not None and value > most):
        accepted = f"of at least {least}" if most is None else f"from {least} to {most:,}"
        raise argparse.ArgumentTypeError(f"{text!r} is not accepted; expected an integer {accepted}")
    return value


def split_config(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """Take the first argument that is not an option off: (CONFIG, the rest)."""
    for i, argument in enumerate(arguments):
        if not argument.startswith("-") and (i == 0 or not _takes_value(arguments[i - 1])):
            return argument, [*arguments[:i], *arguments[i + 1 :]]
    return None, list(arguments)


def _takes_value(option: str) -> bool:
    return option.startswith("--") and "=" not in option and option != "--help"
