"""What errors of others' code say, in one line: of missing optional dependencies, and where."""

from __future__ import annotations

import sys
import sysconfig
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from hydrahive.core.errors import HydrahiveError, how_to_install


def told(error: BaseException) -> str:
    """What an error that others raised says, in one line, and how to install what is missing."""
    install = how_to_install(error)
    return " ".join(f"{type(error).__name__}: {error}".split()) + (f"; {install}" if install else "")


def behind(parts: Iterable[Any]) -> tuple[str, ...]:
    """The modules that classes and functions come from, and those that others' modules import at their top."""
    found: dict[str, None] = {}
    for part in parts:
        part = getattr(part, "func", part)  # of a partial
        classes = part.__mro__ if isinstance(part, type) else (part,)
        names = [getattr(one, "__module__", None) or "builtins" for one in classes]
        module = None if names[0].startswith("hydrahive.") else sys.modules.get(names[0])
        inside = [] if module is None else list(vars(module).values())
        used = (one.__name__ if isinstance(one, ModuleType) else getattr(one, "__module__", None) for one in inside)
        found |= dict.fromkeys([*names, *(one for one in used if isinstance(one, str))])
    return tuple(found)


def told_where(error: BaseException) -> str:
    """What an error says, in one line, with the innermost place of its way that is neither ours nor Python's own.

    Our own errors say themselves what is wrong where.
    """
    if isinstance(error, HydrahiveError):
        return str(error)
    places = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_others(frame.filename)]
    own = [frame for frame in places if "site-packages" not in frame.filename] or places
    return told(error) + (f" ({own[-1].filename}:{own[-1].lineno})" if own else "")


@contextmanager
def failures_in_a_line() -> Iterator[None]:
    """Turn whatever an environment raises in the block into one line.

    Raises:
        HydrahiveError: Instead; our own errors come through as they are.
    """
    try:
        yield
    except HydrahiveError:
        raise
    except (Exception, SystemExit) as error:
        raise HydrahiveError(told_where(error)) from error


def _is_others(filename: str) -> bool:
    path, ours = Path(filename), Path(__file__).parents[1]
    is_pythons = path.is_relative_to(sysconfig.get_path("stdlib")) and "site-packages" not in filename
    return path.is_absolute() and not is_pythons and not path.is_relative_to(ours)
