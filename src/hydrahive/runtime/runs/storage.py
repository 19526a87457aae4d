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
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydrahive.core.durable import TEMPORARY_SUFFIX, write_whole
from hydrahive.core.errors import HydrahiveError, StoredNamesError, UsageError, first_line

MARK = "storage.json"
"""The file in a scratch folder that says which storage it is a copy of."""

SECRET = "secret"  # noqa: S105  a file's name, not a secret
"""The file that only its owner may read."""

LAST = ("posted.json", "summary.json")
"""What must not be stored before the checkpoint that it speaks of, nor stay when the run goes on."""

FIRST = (SECRET, "config.yaml", "config_changes.jsonl", "segments.json", "run.json")
"""What must be stored before any checkpoint, in this order; `run.json` makes the run exist."""

HERE_ONLY = re.compile(r"lock|copy\.lock|request(-[^/]*)?\.json|state\.json|driver\.json")
"""What is between processes of one machine."""

CHECKPOINTS, BLOCKS, MANIFEST = "checkpoints", "replay", "manifest.json"

PART = r"[A-Za-z0-9_][A-Za-z0-9._+=-]{0,199}"

KNOWN = re.compile(
    rf"checkpoints/(\d+/(state\.safetensors|outbox\.json|manifest\.json)|replay/[0-9a-f]{{64}}\.safetensors)"
    rf"|tb/({PART}/)?{PART}|{PART}\.(yaml|json|jsonl|safetensors|gif|md|html|svg|png|txt)|{SECRET}"
)
"""Names of files that a run has; what else lies in a storage is left alone."""

PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds until a storage that did not take something is asked again."""

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


def is_known(path: str) -> bool:
    """Whether a file of this name, relative to a run's folder, may be a run's."""
    return KNOWN.fullmatch(path) is not None and HERE_ONLY.fullmatch(path) is None


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


class StoredRun:
    """One run in a storage, and its copy in a folder here."""

    def __init__(self, storage: Storage, name: str, folder: Path) -> None:
        """The run of this name."""
        self.storage, self._name, self._folder = storage, name, folder
        self._sent: dict[str, object] = {}
        self.see_claim: Callable[[], None] = lambda: None
        """Is called before anything is changed; raises if somebody else may be training the run."""

    def fetch(self, *, checkpoints: bool = True) -> None:
        """Make the copy equal to what is stored, with or without its checkpoints; nothing stored leaves no copy.

        Raises:
            HydrahiveError: If the storage cannot be read.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        stored = [path for path in self.storage.files(self._name) if is_known(path)]
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
            assert target.resolve().is_relative_to(self._folder.resolve()), "its name was looked at"
            target.parent.mkdir(parents=True, exist_ok=True)
            write_whole(target, data, 0o600 if path == SECRET else 0o666)

    def path_of(self, name: str) -> str:
        """Where one of the run's files lies in the storage."""
        return f"{self._name}/{name}"

    def write(self, name: str, data: bytes) -> None:
        """Store bytes that are no file here; errors as `send`."""
        with self._told():
            self.storage.write(self.path_of(name), data)

    def send(self, say: Callable[[str], object] = lambda _: None) -> None:
        """Store what is new here, and remove checkpoints that are here no more; for who has claimed the run.

        A storage that is away for a moment is asked again; `say` hears so.

        Raises:
            OSError: If the storage does not take it; the newest checkpoint that is whole there stays so.
        """
        self.see_claim()
        for pause in PAUSES:
            try:
                return self._send()
            except OSError as error:
                say(f"the storage did not take a checkpoint ({error.strerror or error}); asked again in {pause:g} s")
                time.sleep(pause)
        return self._send()

    def _send(self) -> None:
        here = self._here()
        checkpoints = {path for path in here if path.startswith(f"{CHECKPOINTS}/")}
        with self._told():
            stored = {path for path in self.storage.files(self._name) if is_known(path)}
            replaced = {_manifest_of(path) for path in checkpoints if not self._is_sent(path)}
            # Without its manifest a checkpoint is none, whatever else of it is there.
            self._remove((stored & replaced) | (stored & set(LAST)) - set(here))
        for path in sorted(here, key=_turn):
            self.send_file(path)
        with self._told():
            gone = stored - set(here)
            self._remove(gone)
            for folder in {path.rpartition("/")[0] for path in gone if path.startswith(f"{CHECKPOINTS}/")}:
                if not any(path.startswith(f"{folder}/") for path in here):
                    self.storage.remove(f"{self._name}/{folder}")

    def _remove(self, paths: set[str]) -> None:
        for path in sorted(paths, key=_turn, reverse=True):
            self.storage.remove(f"{self._name}/{path}")
            self._sent.pop(path, None)

    def send_file(self, path: str) -> None:
        """Store one file, unless it was stored as it is now; errors as `send`."""
        if self._is_sent(path):
            return
        facts = self._facts(path)
        with self._told():
            mode = 0o600 if path == SECRET else 0o666
            self.storage.write(f"{self._name}/{path}", (self._folder / path).read_bytes(), mode)
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
            raise OSError(None, first_line(error), f"{self.storage.shown}/{self._name}") from error

    def _here(self) -> list[str]:
        paths = (path for path in sorted(self._folder.rglob("*")) if path.is_file())
        relative = (path.relative_to(self._folder).as_posix() for path in paths)
        return [path for path in relative if TEMPORARY_SUFFIX not in path and is_known(path)]


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


def _manifest_of(path: str) -> str:
    """The manifest that says that a checkpoint's file is whole; nothing for a replay's block, which says it itself."""
    folder = path.rpartition("/")[0]
    return "" if folder == f"{CHECKPOINTS}/{BLOCKS}" else f"{folder}/{MANIFEST}"


def _turn(path: str) -> tuple[int, str]:
    """When a file's turn to be stored comes; to be removed, the other way round."""
    if path in FIRST:
        return FIRST.index(path) - len(FIRST), path
    if path in LAST:
        return 3, path
    if path.startswith(f"{CHECKPOINTS}/"):
        return (2 if path.endswith(f"/{MANIFEST}") else 1), path
    return 0, path  # rows, which a resumed run cuts off behind its checkpoint
