"""What lies between a run and those who watch it through the cluster's coordinator: its files, status and frames."""

from __future__ import annotations

import json
import shutil
import time
import uuid
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydrahive.core.durable import replace_file
from hydrahive.core.watched import Frame, Wish

MIRRORED = ("config.yaml", "run.json", "metrics.jsonl", "events.jsonl", "episodes.jsonl")
"""The files of a run's folder that tell its story."""

FORGET_SECONDS = 6.0
"""A watcher who has not looked for so long is gone."""

KEEP_SECONDS = 60.0
"""A feed that nobody has looked at for so long is dropped."""

MOST_FRAMES = 128
"""Frames that wait for slow watchers; older ones are dropped, which shows by their steps."""

MOST_KEPT = 100
"""Runs that have ended of which the newest can still be looked at."""

FILE_BYTES, LOOK_BYTES = 2**26, 2**20
"""Bytes of a mirrored file at most (then its oldest lines are forgotten), and bytes of it in one answer."""


@dataclass(frozen=True)
class Watched:
    """What a Trainer hears of those who watch.

    Attributes:
        feed: Names the feed; another name than before has none of the run's files yet.
        wishes: What they want to see.
    """

    feed: str
    wishes: tuple[Wish, ...]


@dataclass(frozen=True)
class Shown:
    """What a Trainer shows.

    Attributes:
        status: How the run is.
        frames: New frames.
        pieces: New bytes of its files, each with whether the file begins with them.
    """

    status: Mapping[str, Any]
    frames: tuple[Frame, ...] = ()
    pieces: Mapping[str, tuple[bool, bytes]] = field(default_factory=dict)


@dataclass(frozen=True)
class Have:
    """What a watcher has already.

    Attributes:
        files: How many bytes of each file, with the file's generation.
        frames: Frames seen, of all that were shown; -1 before the first look, which only takes those after it.
    """

    files: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    frames: int = -1


@dataclass(frozen=True)
class News:
    """What is new for a watcher.

    Attributes:
        run_id: The run's.
        status: How the run is; empty before it was shown.
        frames: New frames, the last of them number `have.frames`.
        pieces: New bytes of files; those of another generation than `have` says begin the file.
        have: What the watcher has with this.
        is_whole: Whether that is all there is.
    """

    run_id: str
    status: Mapping[str, Any]
    frames: tuple[Frame, ...]
    pieces: Mapping[str, bytes]
    have: Have
    is_whole: bool


@dataclass
class _File:
    """A mirrored file; `generation` changes with each that begins anew, `begin` is where what is kept of it begins."""

    generation: str = ""
    data: bytearray = field(default_factory=bytearray)
    begin: int = 0

    def take(self, anew: bool, data: bytes) -> None:
        if anew:
            self.generation, self.data, self.begin = uuid.uuid4().hex[:8], bytearray(), 0
        self.data += data
        if len(self.data) > FILE_BYTES:
            cut = self.data.find(b"\n", len(self.data) - FILE_BYTES // 2) + 1
            self.begin += cut
            del self.data[:cut]

    def after(self, generation: str, offset: int) -> tuple[int, bytes]:
        """New bytes for who has this much of a generation, and how much he has with them."""
        begin = max(offset, self.begin) if generation == self.generation else self.begin
        piece = bytes(self.data[begin - self.begin : begin - self.begin + LOOK_BYTES])
        return begin + len(piece), piece


class Feed:
    """One run's, in the coordinator's memory."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self.name = uuid.uuid4().hex[:8]
        self.files: dict[str, _File] = {}
        self.status: Mapping[str, Any] = {}
        self._frames: deque[Frame] = deque(maxlen=MOST_FRAMES)
        self._shown = 0
        self._watchers: dict[str, tuple[Wish, float]] = {}
        self.looked_at = time.monotonic()

    def take(self, shown: Shown) -> None:
        """Take what the Trainer shows."""
        self.status = shown.status
        self._frames.extend(shown.frames)
        self._shown += len(shown.frames)
        for name, (anew, data) in shown.pieces.items():
            self.files.setdefault(name, _File()).take(anew, data)

    def look(self, run_id: str, watcher: str, wish: Wish, have: Have) -> News:
        """What is new for a watcher."""
        self.looked_at = time.monotonic()
        self._watchers[watcher] = wish, self.looked_at
        pieces, files = {}, {}
        for name, file in self.files.items():
            offset, piece = file.after(*have.files.get(name, ("", 0)))
            files[name] = file.generation, offset
            if piece or have.files.get(name, ("", 0))[0] != file.generation:
                pieces[name] = piece
        is_whole = all(files[name][1] == file.begin + len(file.data) for name, file in self.files.items())
        unseen = min(len(self._frames), max(0, self._shown - have.frames)) if have.frames >= 0 else 0
        fresh = tuple(frame for frame in list(self._frames)[len(self._frames) - unseen :] if frame.env == wish.env)
        return News(run_id, self.status, fresh, pieces, Have(files, self._shown), is_whole)

    def wishes(self) -> tuple[Wish, ...]:
        """Of everyone who has looked lately."""
        now = time.monotonic()
        self._watchers = {who: it for who, it in self._watchers.items() if now - it[1] < FORGET_SECONDS}
        return tuple(wish for wish, _ in self._watchers.values())


class Feeds:
    """All runs' feeds, and what runs left when they ended, in a folder."""

    def __init__(self, folder: Path) -> None:
        """Keep in `folder`, which is made when something is."""
        self._folder = folder
        self._feeds: dict[str, Feed] = {}

    def take(self, run_id: str, shown: Shown, *, last: bool) -> None:
        """Take what a Trainer shows; of a run that nobody watches only the last."""
        if last:
            self._feeds.setdefault(run_id, Feed())
        feed = self._feeds.get(run_id)
        if feed is None:
            return
        feed.take(shown)
        if last:
            try:
                self._keep(run_id, feed)
            finally:
                if not feed.wishes():
                    del self._feeds[run_id]

    def look(self, run_id: str, watcher: str, wish: Wish, have: Have) -> News:
        """What is new of a run for a watcher."""
        if run_id not in self._feeds:
            self._feeds[run_id] = self._kept(run_id) if self.is_kept(run_id) else Feed()
        return self._feeds[run_id].look(run_id, watcher, wish, have)

    def watched(self, run_id: str) -> Watched | None:
        """Who watches a run; what nobody looks at any more is dropped."""
        self._drop_old()
        feed = self._feeds.get(run_id)
        wishes = feed.wishes() if feed else ()
        return Watched(feed.name, wishes) if feed and wishes else None

    def is_kept(self, run_id: str) -> bool:
        """Whether a run left something when it ended."""
        return (self._folder / run_id / "status.json").is_file()

    def _keep(self, run_id: str, feed: Feed) -> None:
        folder = self._folder / run_id
        with suppress(OSError):  # a full disk: then there is nothing to see of it later
            folder.mkdir(parents=True, exist_ok=True)
            for name, file in feed.files.items():
                (folder / name).write_bytes(bytes(file.data))
            replace_file(folder / "status.json", json.dumps(dict(feed.status)).encode())
        kept = sorted(self._folder.iterdir(), key=lambda path: path.stat().st_mtime)
        for old in kept[:-MOST_KEPT]:
            shutil.rmtree(old, ignore_errors=True)

    def _kept(self, run_id: str) -> Feed:
        feed, folder = Feed(), self._folder / run_id
        pieces = {path.name: (True, path.read_bytes()) for path in folder.iterdir() if path.name in MIRRORED}
        feed.take(Shown(json.loads((folder / "status.json").read_text("utf-8")), (), pieces))
        return feed

    def _drop_old(self) -> None:
        now = time.monotonic()
        self._feeds = {run_id: feed for run_id, feed in self._feeds.items() if now - feed.looked_at <= KEEP_SECONDS}
