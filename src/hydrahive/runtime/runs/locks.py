"""Locks on files, by which one process at a time does something; also where a filesystem has none."""

from __future__ import annotations

import errno
import fcntl
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydrahive.core.errors import UsageError

LOCK_LOOK_SECONDS = 0.5
"""Time between two attempts at a lock that is waited for."""

_LOCKLESS: set[str] = set()


@contextmanager
def locked(path: Path, refusal: str, patience_s: float = 0.0) -> Iterator[None]:
    """Hold the lock on a file, which is made with its folder if it is not there.

    Raises:
        UsageError: With this refusal, if another process holds it for longer than the patience.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + patience_s
    with path.open("a+") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if not isinstance(error, BlockingIOError):
                    _tell_lockless(path.parent, error)
                    break
                if time.monotonic() >= deadline:
                    raise UsageError(refusal) from None
                time.sleep(LOCK_LOOK_SECONDS)
        yield


def _tell_lockless(folder: Path, error: OSError) -> None:
    """Say once that a filesystem has no locks; a run there is kept from a second driver by its fence only.

    Raises:
        OSError: If that is not what the error says.
    """
    if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL):
        raise error
    place = str(folder.parent)
    if place not in _LOCKLESS:
        _LOCKLESS.add(place)
        why = f"its filesystem has no locks ({error.strerror})"
        text = f"{place}: {why}: of two that train one run, the first ends itself"
        print(text, file=sys.stderr, flush=True)
