"""Runs on a filesystem that is not mounted here: an object store, or any other that pyarrow or fsspec knows.

A run is worked on in a local copy, the *scratch*; how it is stored says `hydrahive.runtime.runs.stored`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydrahive.core.durable import write_whole
from hydrahive.core.errors import HydrahiveError, StoredNamesError, UsageError, first_line

MARK = "storage.json"
"""The file in a scratch folder that says which storage it is a copy of."""

URI = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def is_uri(place: str) -> bool:
    """Whether a place is on a filesystem that must be spoken to, not a folder."""
    return URI.match(place) is not None


def scratch_of(uri: str) -> Path:
    """The local folder of copies of what a storage holds, made if it is not there.

    It lies in `HYDRAHIVE_SCRATCH`, else in the user's cache.
    """
    base = os.environ.get("HYDRAHIVE_SCRATCH") or Path.home() / ".cache" / "hydrahive"
    folder = Path(base).absolute() / hashlib.sha256(uri.rstrip("/").encode()).hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / MARK, json.dumps({"uri": uri.rstrip("/")}).encode(), 0o600)
    except OSError as error:
        raise UsageError(f"HYDRAHIVE_SCRATCH: cannot write to {folder}: {error.strerror or error}") from None
    return folder


def storage_of(runs: Path) -> Storage | None:
    """What a folder of runs is a scratch of; None if it is the place itself.

    Raises:
        UsageError: If there is no way to speak to that filesystem here.
    """
    mark = runs / MARK
    return Storage(json.loads(mark.read_text("utf-8"))["uri"]) if mark.is_file() else None


class Storage:
    """A folder on a filesystem that is spoken to; paths are relative to it, with `/`."""

    def __init__(self, uri: str) -> None:
        """Get ready to speak; nothing is sent yet.

        Raises:
            UsageError: If the scheme is unknown, or what it needs is not installed.
        """
        self.uri = uri
        self.shown = re.sub(r"//[^/@]*@", "//", uri)
        """As it may be told: without what opens it."""
        self._fs, self._root, self._forget = _opened(uri)

    def prove_writable(self) -> None:
        """Write a file and remove it.

        Raises:
            UsageError: If that does not work.
        """
        probe = f".writable-{os.getpid()}"
        try:
            self.write(probe, b"")
            self.remove(probe)
        except Exception as error:
            raise UsageError(f"--runs: cannot write to {self.shown}: {first_line(error)}") from None

    def names(self, folder: str = "") -> list[str]:
        """What lies directly in a folder, by name; nothing if it is not there."""
        from pyarrow import fs

        with self._readable():
            if self._forget:
                self._forget()
            found = self._fs.get_file_info(fs.FileSelector(self._path(folder), allow_not_found=True))
        return sorted(info.base_name for info in found)

    def files(self, folder: str) -> list[str]:
        """All files below a folder, as paths relative to it.

        Raises:
            StoredNamesError: If one would lie outside of it: an object store takes any name.
            HydrahiveError: If it cannot be read.
        """
        from pyarrow import fs

        root = self._path(folder)
        with self._readable():
            if self._forget:
                self._forget()
            found = self._fs.get_file_info(fs.FileSelector(root, recursive=True, allow_not_found=True))
        start = f"{root.strip('/')}/".lstrip("/")
        paths = [info.path.lstrip("/") for info in found if info.type == fs.FileType.File]
        for path in paths:
            if not path.startswith(start) or {"", ".", ".."} & set(path[len(start) :].split("/")):
                raise StoredNamesError(f"{self.shown}: holds {path!r}, which leads out of {folder!r}; nothing was read")
        return sorted(path[len(start) :] for path in paths)

    def read(self, path: str) -> bytes | None:
        """A file's bytes; None if it is not there."""
        with self._readable():
            try:
                with self._fs.open_input_stream(self._path(path)) as stream:
                    data: bytes = stream.read()
            except FileNotFoundError:
                return None
        return data

    def write(self, path: str, data: bytes, mode: int = 0o666) -> None:
        """Write a file, whole as far as this filesystem offers it; `mode` where it knows modes.

        Raises:
            OSError: If that fails.
        """
        whole = self._path(path)
        self._fs.create_dir(whole.rpartition("/")[0], recursive=True)
        if self._fs.type_name == "local":
            write_whole(Path(whole), data, mode)
            return
        with self._fs.open_output_stream(whole) as stream:
            stream.write(data)

    def remove(self, path: str) -> None:
        """Remove a file, or a folder with all that is in it, if it is there.

        Raises:
            OSError: If that fails.
        """
        from pyarrow import fs

        kind = self._fs.get_file_info(self._path(path)).type
        if kind == fs.FileType.File:
            self._fs.delete_file(self._path(path))
        elif kind == fs.FileType.Directory:
            self._fs.delete_dir(self._path(path))

    def _path(self, path: str) -> str:
        return f"{self._root}/{path}".rstrip("/") if path else self._root

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # each filesystem has its own
            raise HydrahiveError(f"cannot read from {self.shown}: {first_line(error)}") from None


def _opened(uri: str) -> tuple[Any, str, Callable[[], None] | None]:
    """A pyarrow filesystem, the path on it, and what has it forget what it has listed, if it remembers that."""
    from pyarrow import ArrowInvalid, ArrowNotImplementedError, fs

    forget: Callable[[], None] | None = None
    shown = re.sub(r"//[^/@]*@", "//", uri)
    try:
        filesystem, root = fs.FileSystem.from_uri(uri)
    except (ArrowInvalid, ArrowNotImplementedError):
        import fsspec

        try:
            spoken, root = fsspec.core.url_to_fs(uri)
        except (ValueError, ImportError) as error:
            raise UsageError(f"--runs: {shown!r} cannot be used: {first_line(error)}") from None
        filesystem, forget = fs.PyFileSystem(fs.FSSpecHandler(spoken)), spoken.invalidate_cache
    except OSError as error:
        raise UsageError(f"--runs: {shown!r} cannot be used: {first_line(error)}") from None
    return filesystem, str(root).rstrip("/"), forget
