"""One run in a storage, and its copy in a folder here.

What is stored is the run: when a machine begins to work on it, the copy is made equal to it. Such filesystems cannot
rename, so nothing relies on it: a checkpoint is there once its manifest is, which is written last and removed first.
Nor can they append: files of rows lie there in parts of a mebibyte, of which only the last is written again.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from hydrahive.core.durable import TEMPORARY_SUFFIX, write_whole
from hydrahive.core.errors import StoredNamesError, first_line
from hydrahive.runtime.runs.storage import Storage

SECRET = "secret"  # noqa: S105  a file's name, not a secret
"""The file that only its owner may read."""

LAST = ("posted.json", "summary.json")
"""What must not be stored before the checkpoint that it speaks of, nor stay when the run goes on."""

FIRST = (SECRET, "config.yaml", "config_changes.jsonl", "pilot.jsonl", "segments.json", "run.json")
"""What must be stored before any checkpoint, in this order; `run.json` makes the run exist."""

HERE_ONLY = re.compile(r"lock|copy\.lock|request(-[^/]*)?\.json|state\.json|driver\.json")
"""What is between processes of one machine."""

CHECKPOINTS, BLOCKS, MANIFEST = "checkpoints", "replay", "manifest.json"

PART = r"[A-Za-z0-9_][A-Za-z0-9._+=-]{0,199}"

ROWS = re.compile(r"(metrics|events|episodes)\.jsonl")
"""Files that only grow, but for rows that are cut off when a run goes on from a checkpoint before them."""

PART_BYTES = 2**20
"""Size of all parts of such a file but its last."""

OF_ROWS = re.compile(rf"({ROWS.pattern})\.(\d{{6}})")
"""Names of parts behind a file's first, which has the file's own."""

KNOWN = re.compile(
    rf"checkpoints/(\d+/(state\.safetensors|outbox\.json|manifest\.json)|replay/[0-9a-f]{{64}}\.safetensors)"
    rf"|tb/({PART}/)?{PART}|{PART}\.(yaml|json|jsonl|safetensors|gif|md|html|svg|png|txt)|{SECRET}"
    rf"|{OF_ROWS.pattern}"
)
"""Names of files that a run has; what else lies in a storage is left alone."""


def is_known(path: str) -> bool:
    """Whether a file of this name, relative to a run's folder, may be a run's."""
    return KNOWN.fullmatch(path) is not None and HERE_ONLY.fullmatch(path) is None


class _Stored(NamedTuple):
    """A part of a file of rows, as it is stored."""

    size: int
    digest: str

    @classmethod
    def of(cls, data: bytes) -> _Stored:
        return cls(len(data), hashlib.sha256(data).hexdigest())


class StoredRun:
    """One run in a storage, and its copy in a folder here.

    Attributes:
        see_claim: Is called before anything is changed; raises if somebody else may be training the run.
    """

    def __init__(self, storage: Storage, name: str, folder: Path) -> None:
        """The run of this name."""
        self.storage, self._name, self._folder = storage, name, folder
        self._sent: dict[str, tuple[int, int, int]] = {}
        self._parts: dict[str, list[_Stored]] = {}
        self._lock = threading.RLock()
        self.see_claim: Callable[[], None] = lambda: None

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
            if ROWS.fullmatch(path):
                self._fetch_rows(path, stored)
            elif not path.startswith(inside) and not OF_ROWS.fullmatch(path):
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

    def _fetch_rows(self, path: str, stored: list[str]) -> None:
        parts = []
        for number in range(len(stored)):
            name = _part(path, number)
            data = self.storage.read(self.path_of(name)) if name in stored else None
            if data is None:
                break
            parts.append(data)
        write_whole(self._folder / path, b"".join(parts))
        self._parts[path] = [_Stored.of(data) for data in parts]

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

    def store(self) -> None:
        """Store what is new here, and remove checkpoints that are here no more; for who has claimed the run.

        What this process writes meanwhile may be stored with it, or with the next call.

        Raises:
            OSError: If the storage does not take it; the newest checkpoint that is whole there stays so.
            HydrahiveError: If somebody else may be training the run, or a stored name leads out of it.
        """
        with self._lock:
            self.see_claim()
            while not self._store():
                """Something was replaced by something newer before it was read."""

    def _store(self) -> bool:
        """Once through; whether all that was here could be read."""
        here, whole = self._here(), True
        checkpoints = {path for path in here if path.startswith(f"{CHECKPOINTS}/")}
        with self._told():
            stored = {path for path in self.storage.files(self._name) if is_known(path)}
            replaced = {_manifest_of(path) for path in checkpoints if not self._is_sent(path)}
            # Without its manifest a checkpoint is none, whatever else of it is there.
            self._remove((stored & replaced) | (stored & set(LAST)) - set(here))
        for path in sorted(here, key=_turn):
            try:
                self.send_file(path)
            except FileNotFoundError:
                whole = False
        with self._told():
            parts = {_part(path, number) for path, known in self._parts.items() for number in range(1, len(known))}
            gone = stored - set(here) - parts
            self._remove(gone)
            for folder in {path.rpartition("/")[0] for path in gone if path.startswith(f"{CHECKPOINTS}/")}:
                if not any(path.startswith(f"{folder}/") for path in here):
                    self.storage.remove(f"{self._name}/{folder}")
        return whole

    def _remove(self, paths: set[str]) -> None:
        for path in sorted(paths, key=_turn, reverse=True):
            self.storage.remove(f"{self._name}/{path}")
            self._sent.pop(path, None)

    def send_file(self, path: str) -> None:
        """Store one file, unless it was stored as it is now.

        Raises:
            FileNotFoundError: If it is not here any more.
            OSError: As `store`.
        """
        with self._lock:
            if self._is_sent(path):
                return
            facts = self._facts(path)
            if ROWS.fullmatch(path):
                self._send_rows(path, facts)
            else:
                data = (self._folder / path).read_bytes()
                with self._told():
                    self.storage.write(self.path_of(path), data, 0o600 if path == SECRET else 0o666)
            self._sent[path] = facts

    def _send_rows(self, path: str, facts: tuple[int, int, int]) -> None:
        """Store what a file of rows has that its stored parts have not."""
        known = self._parts.setdefault(path, [])
        with (self._folder / path).open("rb") as file:
            stale = None if self._grew(path, facts) else self._cut(path, known, file)
            number = len(known) - 1 if known and known[-1].size < PART_BYTES else len(known)
            file.seek(sum(part.size for part in known[:number]))
            while (data := file.read(PART_BYTES)) or not number:
                with self._told():
                    self.storage.write(self.path_of(_part(path, number)), data)
                known[number:] = [_Stored.of(data)]
                number += 1
                if len(data) < PART_BYTES:
                    break
        if stale is not None and stale >= len(known):
            with self._told():
                self.storage.remove(self.path_of(_part(path, stale)))

    def _grew(self, path: str, facts: tuple[int, int, int]) -> bool:
        """Whether it is the file that was stored before, if it is longer."""
        before = self._sent.get(path)
        return before is not None and before[2] == facts[2] and before[0] <= facts[0]

    def _cut(self, path: str, known: list[_Stored], file: BinaryIO) -> int | None:
        """Forget the stored parts from the first on that is not what stands here; its number, None if all are.

        That one is left to be written over, for it may hold rows that are still true; those behind it are removed.
        """
        same = 0
        while same < len(known) and _Stored.of(file.read(known[same].size)) == known[same]:
            same += 1
        if same == len(known):
            return None
        for number in range(len(known) - 1, same, -1):
            with self._told():
                self.storage.remove(self.path_of(_part(path, number)))
            del known[number]
        del known[same]
        return same

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
        except StoredNamesError:
            raise
        except Exception as error:
            raise OSError(None, first_line(error), f"{self.storage.shown}/{self._name}") from error

    def _here(self) -> list[str]:
        paths = (path for path in sorted(self._folder.rglob("*")) if path.is_file())
        relative = (path.relative_to(self._folder).as_posix() for path in paths)
        return [path for path in relative if TEMPORARY_SUFFIX not in path and is_known(path)]


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


def _part(path: str, number: int) -> str:
    """The name of a part of a file of rows."""
    return f"{path}.{number:06d}" if number else path
