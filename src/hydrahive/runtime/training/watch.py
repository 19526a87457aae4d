"""The Trainer's side of being watched: it hears who watches, and shows how the run is, through folder or coordinator.

Nothing here changes what is computed: a run that is watched makes the same bytes.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hydrahive.core.durable import replace_file
from hydrahive.core.watched import Frame, Wish, together, wish_of
from hydrahive.ledger.posting import WorkerFacts
from hydrahive.ledger.prices import Price
from hydrahive.runtime.fleet.interface import Fleet
from hydrahive.runtime.runs.boundary import Progress
from hydrahive.runtime.runs.run_folder import RunFolder
from hydrahive.runtime.runs.watch_feed import FORGET_SECONDS, MIRRORED, Shown
from hydrahive.runtime.schedule.updates import Update
from hydrahive.telemetry.follower import Follower

LOOK_SECONDS = 0.5
"""Time between two looks for watchers."""

SHOW_SECONDS = 0.2
"""Time between two times that something is shown."""

RATE_SECONDS = 5.0
"""Time over which workers' speed is averaged."""

FRAMES_KEPT = 64
"""Frames that lie in the folder for watchers to take."""

LAST_BYTES = 2**24
"""Bytes of each file that are kept of a run that is over."""


class WatchFolder:
    """`<run>/watch/`: each watcher keeps a file there with his wish, and the Trainer one with what it shows."""

    def __init__(self, run: Path) -> None:
        """The files in a run's folder."""
        self._folder = run / "watch"
        self._shown = self._folder / "shown.json"

    def wish(self, watcher: str, wish: Wish) -> None:
        """Say, or say again, what a watcher wants; without that he is forgotten after some seconds."""
        self._folder.mkdir(exist_ok=True)
        replace_file(self._folder / f"{watcher}.wish", json.dumps(asdict(wish)).encode())

    def leave(self, watcher: str) -> None:
        """A watcher is gone."""
        (self._folder / f"{watcher}.wish").unlink(missing_ok=True)

    def wishes(self) -> tuple[Wish, ...]:
        """Of everyone who watches now; what others left behind is removed."""
        if not self._folder.is_dir():
            return ()
        found, now = [], time.time()
        for path in sorted(self._folder.glob("*.wish")):
            with contextlib.suppress(OSError, ValueError):
                if now - path.stat().st_mtime > FORGET_SECONDS:
                    path.unlink()
                else:
                    found.append(wish_of(json.loads(path.read_text("utf-8"))))
        return tuple(found)

    def show(self, status: Mapping[str, Any], frames: list[tuple[int, str]]) -> None:
        """Show how the run is, and its newest frames, each numbered and as JSON."""
        self._folder.mkdir(exist_ok=True)
        numbered = ",".join(f"[{number},{frame}]" for number, frame in frames)
        replace_file(self._shown, f'{{"status":{json.dumps(status)},"frames":[{numbered}]}}'.encode())

    def shown(self) -> tuple[dict[str, Any], list[tuple[int, Frame]]]:
        """What is shown; nothing if nothing is, or it cannot be read."""
        try:
            told = json.loads(self._shown.read_text("utf-8"))
            return told["status"], [(number, Frame.from_plain(plain)) for number, plain in told["frames"]]
        except (OSError, ValueError, KeyError):
            return {}, []


class Roster:
    """What each worker has done in this run since this process trains it."""

    def __init__(self) -> None:
        """Nobody yet."""
        self._workers: dict[str, WorkerFacts] = {}
        self._steps: dict[str, int] = {}
        self._shards: dict[str, set[int]] = {}
        """Of the newest round."""
        self._marks: deque[tuple[float, dict[str, int]]] = deque()

    def take(self, update: Update) -> None:
        """Note whose work an update learned from."""
        at_work = update.work.by_shard()
        self._shards = {}
        for shard, env_steps in update.episodes.env_steps:
            worker = at_work[shard]
            self._workers[worker.name] = worker
            self._steps[worker.name] = self._steps.get(worker.name, 0) + env_steps
            self._shards.setdefault(worker.name, set()).add(shard)

    def rows(self, conditions: Mapping[str, str], price: Price) -> list[dict[str, Any]]:
        """The workers, each with owner, node, state, shards, env steps, speed and micro-tokens."""
        now = time.monotonic()
        self._marks.append((now, dict(self._steps)))
        while len(self._marks) > 2 and now - self._marks[1][0] > RATE_SECONDS:
            self._marks.popleft()
        since, before = self._marks[0]
        return [
            {
                "name": name,
                "owner": worker.owner,
                "node": worker.node[:12],
                "state": conditions.get(name, "gone"),
                "shards": sorted(self._shards.get(name, ())),
                "env_steps": self._steps[name],
                "steps_per_second": (self._steps[name] - before.get(name, 0)) / max(now - since, 1e-9),
                "microtokens": price.amount(self._steps[name]),
            }
            for name, worker in self._workers.items()
        ]


class Watch:
    """Lets a run be watched."""

    def __init__(self, folder: RunFolder, fleet: Fleet, price: Price) -> None:
        """Nobody watches yet; `price`: of an env step."""
        self._run, self._fleet, self._price = folder, fleet, price
        self._folder = WatchFolder(folder.path)
        self._roster = Roster()
        self._frames: deque[tuple[int, str]] = deque(maxlen=FRAMES_KEPT)
        self._for_cluster: deque[Frame] = deque(maxlen=FRAMES_KEPT)
        self._shown_frames = 0
        self._feed = ""
        self._files: dict[str, Follower] = {}
        self._looked_at = self._shown_at = float("-inf")
        self._here = False

    def take(self, update: Update) -> None:
        """Note whose work an update was, and the frames that came with it."""
        self._roster.take(update)
        for frame in update.episodes.frames:
            self._shown_frames += 1
            if self._here:
                self._frames.append((self._shown_frames, json.dumps(frame.as_plain())))
            if self._feed:
                self._for_cluster.append(frame)

    def tend(self, state: str, progress: Progress, seconds: float) -> None:
        """Hear who watches and show what is new; to be called often, costs next to nothing while nobody does."""
        now = time.monotonic()
        with contextlib.suppress(OSError):  # what matters is written elsewhere, and stops the run if it cannot be
            if now - self._looked_at >= LOOK_SECONDS:
                self._looked_at = now
                self._look()
            if (self._here or self._feed) and now - self._shown_at >= SHOW_SECONDS:
                self._shown_at = now
                self._show(state, progress, seconds)

    def close(self, state: str, progress: Progress, seconds: float, *, is_held: bool) -> None:
        """Leave behind how the run ended, for those who look at it later; one that is only held goes on soon."""
        self._fleet.wishes = ()
        with contextlib.suppress(OSError):
            status = self._status(state, progress, seconds)
            self._folder.show(status, [])
            if not is_held:
                pieces = self._rest() if self._feed else self._whole()
                self._fleet.show(Shown(status, tuple(self._for_cluster), pieces), last=True)

    def _look(self) -> None:
        here, watched = self._folder.wishes(), self._fleet.watched()
        self._here = bool(here)
        if not here:
            self._frames.clear()
        if watched is None:
            self._feed = ""
            self._for_cluster.clear()
        elif watched.feed != self._feed:
            self._feed = watched.feed
            self._files = {name: Follower(self._run.path / name) for name in MIRRORED}
        self._fleet.wishes = together((*here, *(watched.wishes if watched else ())))

    def _show(self, state: str, progress: Progress, seconds: float) -> None:
        status = self._status(state, progress, seconds)
        if self._here:
            self._folder.show(status, list(self._frames))
        way = self._fleet.way_to_watchers() if self._feed else "busy"
        if way == "lost":
            self._feed = ""  # whatever was on its way is sent again, with all the rest
        elif way == "free":
            self._fleet.show(Shown(status, tuple(self._for_cluster), self._read_on()))
            self._for_cluster.clear()

    def _read_on(self) -> dict[str, tuple[bool, bytes]]:
        """New bytes of each file."""
        read = {name: follower.read() for name, follower in self._files.items()}
        return {name: (anew, data) for name, (anew, data) in read.items() if anew or data}

    def _rest(self) -> dict[str, tuple[bool, bytes]]:
        """All that those who watch do not have yet."""
        return {name: follower.read(LAST_BYTES) for name, follower in self._files.items()}

    def _whole(self) -> dict[str, tuple[bool, bytes]]:
        """The files; of a very long one the end."""
        return {name: (True, _last_lines(self._run.path / name)) for name in MIRRORED}

    def _status(self, state: str, progress: Progress, seconds: float) -> dict[str, Any]:
        return {
            "state": state,
            "env_steps": progress.env_steps,
            "updates": progress.updates,
            "episodes": progress.episodes,
            "seconds": round(seconds, 1),
            "workers": self._roster.rows(self._fleet.conditions(), self._price),
            "at": time.time(),
        }


def _last_lines(path: Path) -> bytes:
    """A file, or of a very long one its last lines."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - LAST_BYTES))
            data = file.read()
    except FileNotFoundError:
        return b""
    return data if size <= LAST_BYTES else data[data.find(b"\n") + 1 :]
