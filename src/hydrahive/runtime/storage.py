"""Runs on a filesystem that is not mounted here: an object store, or any other that pyarrow or fsspec knows.

A run is worked on in a local copy, the *scratch*, and stored at each of its checkpoints. What is stored is the run:
when a machine begins to work on it, its scratch is made equal to it. Such filesystems cannot rename, so nothing relies
on it: a checkpoint is there once its manifest is, which is written last and removed first.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydrahive.core.durable import TEMPORARY_SUFFIX, write_whole
from hydrahive.core.errors import HydrahiveError, UsageError

MARK = "storage.json"
"""The file in a scratch folder that says which storage it is a copy of."""

FIRST = ("secret", "config.yaml", "config_changes.jsonl", "segments.json", "run.json")
"""What must be stored before any checkpoint, in this order; `run.json` makes the run exist."""

HERE_ONLY = ("lock", "copy.lock", "request.json", "state.json")
"""What is between processes of one machine."""

CHECKPOINTS, BLOCKS, MANIFEST = "checkpoints", "replay", "manifest.json"

URI = re.compile(r"[a-z][a-z0-9+.-]*://")


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
        write_whole(folder / MARK, json.dumps({"uri": uri.rstrip("/")}).encode())
    except OSError as error:
        raise UsageError(f"HYDRAHIVE_SCRATCH: cannot write to {folder}: {error.strerror or error}") from None
    return folder


def storage_of(runs: Path) -> Storage | None:
    """What a folder of runs is a scratch of; None if it is the place itself.

    Raises:
        UsageError: If there is no way to speak to that filesystem here.
    """
    mark = runs / MARK
    return Storage(json.loads(mark.read_text())["uri"]) if mark.is_file() else None


class Storage:
    """A folder on a filesystem that is spoken to; paths are relative to it, with `/`."""

    def __init__(self, uri: str) -> None:
        """Get ready to speak; nothing is sent yet.

        Raises:
            UsageError: If the scheme is unknown, or what it needs is not installed.
        """
        self.uri = uri
        self._fs, self._root = _opened(uri)

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
            raise UsageError(f"--runs: cannot write to {self.uri}: {_first_line(error)}") from None

    def names(self, folder: str = "") -> list[str]:
        """What lies directly in a folder, by name; nothing if it is not there."""
        from pyarrow import fs

        with self._readable():
            found = self._fs.get_file_info(fs.FileSelector(self._path(folder), allow_not_found=True))
        return sorted(info.base_name for info in found)

    def files(self, folder: str) -> list[str]:
        """All files below a folder, as paths relative to it."""
        from pyarrow import fs

        root = self._path(folder)
        with self._readable():
            found = self._fs.get_file_info(fs.FileSelector(root, recursive=True, allow_not_found=True))
        return sorted(info.path[len(root) :].lstrip("/") for info in found if info.type == fs.FileType.File)

    def read(self, path: str) -> bytes | None:
        """A file's bytes; None if it is not there."""
        with self._readable():
            try:
                with self._fs.open_input_stream(self._path(path)) as stream:
                    data: bytes = stream.read()
            except FileNotFoundError:
                return None
        return data

    def write(self, path: str, data: bytes) -> None:
        """Write a file, whole as far as this filesystem offers it.

        Raises:
            OSError: If that fails.
        """
        whole = self._path(path)
        self._fs.create_dir(whole.rpartition("/")[0], recursive=True)
        if self._fs.type_name != "local":
            with self._fs.open_output_stream(whole) as stream:
                stream.write(data)
            return
        with self._fs.open_output_stream(whole + TEMPORARY_SUFFIX) as stream:
            stream.write(data)
        self._fs.move(whole + TEMPORARY_SUFFIX, whole)

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
        except OSError as error:
            raise HydrahiveError(f"cannot read from {self.uri}: {_first_line(error)}") from None


class StoredRun:
    """One run in a storage, and its copy in a folder here."""

    def __init__(self, storage: Storage, name: str, folder: Path) -> None:
        """The run of this name."""
        self.storage, self._name, self._folder = storage, name, folder
        self._sent: dict[str, object] = {}

    def fetch(self, *, checkpoints: bool = True) -> None:
        """Make the copy equal to what is stored, with or without its checkpoints; nothing stored leaves no copy.

        Raises:
            HydrahiveError: If the storage cannot be read.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        stored = [path for path in self.storage.files(self._name) if not path.endswith(TEMPORARY_SUFFIX)]
        if "run.json" not in stored:
            stored = []
        inside = f"{CHECKPOINTS}/"
        if checkpoints:
            self._fetch_checkpoints([path.removeprefix(inside) for path in stored if path.startswith(inside)])
        for path in self._here():
            if path not in stored and not path.startswith(inside):
                (self._folder / path).unlink()
        for path in sorted(stored, key=lambda path: path == "run.json"):
            if not path.startswith(inside):
                self._fetch_file(path)
        self._sent = {path: self._facts(path) for path in self._here()}

    def _fetch_checkpoints(self, stored: list[str]) -> None:
        """`stored` are paths relative to the checkpoints."""
        here = self._folder / CHECKPOINTS
        complete = {path.partition("/")[0] for path in stored if path.endswith(f"/{MANIFEST}")}
        for folder in here.iterdir() if here.is_dir() else ():
            if folder.name.isdigit() and folder.name not in complete:
                shutil.rmtree(folder)
        for path in stored:
            if path.startswith(f"{BLOCKS}/") and not (here / path).is_file():  # named by their content
                self._fetch_file(f"{CHECKPOINTS}/{path}")
        for name in sorted(complete):
            manifest = self.storage.read(f"{self._name}/{CHECKPOINTS}/{name}/{MANIFEST}")
            have = here / name / MANIFEST
            if manifest is None or (have.is_file() and have.read_bytes() == manifest):
                continue
            shutil.rmtree(here / name, ignore_errors=True)
            for path in stored:
                if path.startswith(f"{name}/") and not path.endswith(f"/{MANIFEST}"):
                    self._fetch_file(f"{CHECKPOINTS}/{path}")
            write_whole(have, manifest)

    def _fetch_file(self, path: str) -> None:
        data = self.storage.read(f"{self._name}/{path}")
        if data is not None:
            target = self._folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            write_whole(target, data, 0o600 if path == "secret" else 0o666)

    def send(self) -> None:
        """Store what is new here, and remove checkpoints that are here no more; for who has claimed the run.

        Raises:
            OSError: If the storage does not take it; the newest checkpoint that is whole there stays so.
        """
        here = self._here()
        checkpoints = [path for path in here if path.startswith(f"{CHECKPOINTS}/")]
        for path in FIRST:
            if path in here:
                self.send_file(path)
        with self._told():
            root = f"{self._name}/{CHECKPOINTS}"
            stored = {f"{CHECKPOINTS}/{path}" for path in self.storage.files(root)}
            replaced = {_manifest_of(path) for path in checkpoints if not self._is_sent(path)}
            # Without its manifest a checkpoint is none, whatever else of it is there.
            for path in sorted((stored - set(checkpoints)) | (stored & replaced), key=_manifests_first):
                self.storage.remove(f"{self._name}/{path}")
                self._sent.pop(path, None)
        for path in sorted(checkpoints, key=_manifests_first, reverse=True):
            self.send_file(path)
        for path in here:
            if path not in FIRST and path not in checkpoints:
                self.send_file(path)

    def send_file(self, path: str) -> None:
        """Store one file, unless it was stored as it is now; errors as `send`."""
        if self._is_sent(path):
            return
        facts = self._facts(path)
        with self._told():
            self.storage.write(f"{self._name}/{path}", (self._folder / path).read_bytes())
        self._sent[path] = facts

    def _is_sent(self, path: str) -> bool:
        return path in self._sent and self._sent[path] == self._facts(path)

    def _facts(self, path: str) -> tuple[int, int, int]:
        """What tells a file from the one that stood there before."""
        facts = (self._folder / path).stat()
        return facts.st_size, facts.st_mtime_ns, facts.st_ino

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Whatever a filesystem raises is an `OSError` that says where."""
        try:
            yield
        except Exception as error:
            raise OSError(None, _first_line(error), f"{self.storage.uri}/{self._name}") from error

    def _here(self) -> list[str]:
        paths = (path for path in sorted(self._folder.rglob("*")) if path.is_file())
        relative = (path.relative_to(self._folder).as_posix() for path in paths)
        return [path for path in relative if TEMPORARY_SUFFIX not in path and path not in HERE_ONLY]


def _opened(uri: str) -> tuple[Any, str]:
    """A pyarrow filesystem, and the path on it."""
    from pyarrow import ArrowInvalid, ArrowNotImplementedError, fs

    try:
        filesystem, root = fs.FileSystem.from_uri(uri)
    except (ArrowInvalid, ArrowNotImplementedError):
        import fsspec

        try:
            spoken, root = fsspec.core.url_to_fs(uri)
        except (ValueError, ImportError) as error:
            raise UsageError(f"--runs: {uri!r} cannot be used: {_first_line(error)}") from None
        filesystem = fs.PyFileSystem(fs.FSSpecHandler(spoken))
    except OSError as error:
        raise UsageError(f"--runs: {uri!r} cannot be used: {_first_line(error)}") from None
    return filesystem, str(root).rstrip("/")


def _manifest_of(path: str) -> str:
    """The manifest that says that a checkpoint's file is whole; nothing for a replay's block, which says it itself."""
    folder = path.rpartition("/")[0]
    return "" if folder == f"{CHECKPOINTS}/{BLOCKS}" else f"{folder}/{MANIFEST}"


def _manifests_first(path: str) -> tuple[bool, str]:
    return (not path.endswith(f"/{MANIFEST}"), path)


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
