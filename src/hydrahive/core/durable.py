"""Writing that is either done or has not happened: temporary name, fsync, rename."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

TEMPORARY_SUFFIX = ".partial"
"""What unfinished files and folders end with; a crash may leave them, nobody reads them."""

LEFT_SECONDS = 600.0
"""An unfinished file that is older than this is nobody's any more."""


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_synced(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Write a new file, made with this mode less the process's mask, and wait until it is on the disk."""
    with open(path, "xb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, mode)) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_whole(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Put `data` at `path` such that a reader sees the old file or the new one, never a part; `mode`: as above.

    Of several that write at once, in this process or another, the last one's stays.
    """
    with _partial(path) as partial:
        write_synced(partial, data, mode)
        partial.replace(path)
    sync_folder(path.parent)


def replace_file(path: Path, data: bytes) -> None:
    """Put `data` at `path`, whole, but without waiting for the disk: for what no crash must find again."""
    with _partial(path) as partial:
        with open(partial, "xb") as file:
            file.write(data)
        partial.replace(path)


@contextmanager
def _partial(path: Path) -> Iterator[Path]:
    """A name beside `path` that nobody else has, and nobody can have guessed; nothing is left there."""
    partial = path.with_name(f"{path.name}.{secrets.token_hex(8)}{TEMPORARY_SUFFIX}")
    try:
        yield partial
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def sweep(folder: Path, older_than_s: float = LEFT_SECONDS) -> None:
    """Remove the unfinished files that crashes have left in a folder."""
    for left in folder.glob(f"*{TEMPORARY_SUFFIX}"):
        with suppress(OSError):
            if left.is_file() and time.time() - left.lstat().st_mtime > older_than_s:
                left.unlink()


def read_json(path: Path) -> dict[str, Any] | None:
    """A small file of JSON that can be done without; None if it is missing or damaged."""
    try:
        plain = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return plain if isinstance(plain, dict) else None


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Fill a folder under a temporary name; it appears at `path` when the block ends well, or not at all.

    The files inside must be written with `write_synced`.
    """
    partial = path.with_name(path.name + TEMPORARY_SUFFIX)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        sync_folder(partial)
        if path.exists():
            shutil.rmtree(path)
        partial.rename(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    sync_folder(path.parent)
