"""Where the view gets a run from: its folder, or the coordinator of the cluster that it is trained on."""

from __future__ import annotations

import tempfile
import time
import uuid
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from hydrahive.core.errors import HydrahiveError, UsageError
from hydrahive.core.watched import Frame, Wish
from hydrahive.runtime.inspect.snapshots import write_snapshot
from hydrahive.runtime.runs.controls import FolderControls, Request
from hydrahive.runtime.runs.run_folder import NAME, RunFolder
from hydrahive.runtime.runs.watch_feed import MIRRORED, Have, News
from hydrahive.runtime.training.watch import WatchFolder
from hydrahive.telemetry.follower import Follower
from hydrahive.watching.history import History

WISH_SECONDS = 1.5
"""Time after which a wish is said again."""

REFRESH_SECONDS = 15.0
"""Time between two looks into a storage for what is new."""

ANSWER_SECONDS = 5.0
"""Longest wait for the coordinator's answer."""

FIRST_LOOK_SECONDS, FIRST_LOOK_PAUSE_SECONDS = 60.0, 0.1
"""Longest wait for a run on a cluster to show itself, and time between two looks."""

STORY = ("metrics.jsonl", "episodes.jsonl", "events.jsonl")

SNAPSHOT_EVERY = 500
"""Episodes between two lines of a snapshot's tables."""


@dataclass(frozen=True)
class Seen:
    """What a look at a run shows besides its history.

    Attributes:
        state: `running`, `paused` or `ended`; `as stored` where it may be trained elsewhere, and only what is stored of
            it is seen; `away` while nothing can be heard of it.
        status: What the Trainer last showed; empty if nothing.
        frames: New frames.
        is_whole: Whether the history is read as far as it goes.
    """

    state: str
    status: Mapping[str, Any]
    frames: tuple[Frame, ...]
    is_whole: bool = True


class Source(Protocol):
    """A run that is watched; looked at from one thread, and asked from others."""

    name: str
    folder: RunFolder
    """The run's folder, or a copy of what tells its story."""
    history: History

    def look(self, wish: Wish) -> Seen:
        """See what is new, and say what is wanted."""

    def ask(self, request: Request) -> None:
        """Ask something of the run.

        Raises:
            HydrahiveError: If nobody is there to do it.
        """

    def snapshot(self) -> Path:
        """Write the run's report, and say where."""

    def close(self) -> None:
        """Watch no more; the run goes on."""


class _Story:
    """Reads a run's files into a history."""

    def __init__(self, folder: Path) -> None:
        self.history = History()
        self._followers = {name: Follower(folder / name) for name in STORY}

    def read_on(self) -> bool:
        """Read what is new; whether that is all."""
        is_whole = True
        for name, follower in self._followers.items():
            anew, data = follower.read()
            self.history.take(name, anew, data)
            is_whole &= not data
        return is_whole


class FolderSource:
    """A run whose folder, or a scratch of it, is on this machine."""

    def __init__(self, folder: RunFolder) -> None:
        """Watch the run in a folder."""
        self.folder, self.name = folder, folder.name
        self._controls, self._watch = FolderControls(folder.path), WatchFolder(folder.path)
        self._watcher = uuid.uuid4().hex[:8]
        self._story = _Story(folder.path)
        self.history = self._story.history
        self._said: tuple[Wish, float] | None = None
        self._seen: int | None = None
        self._refreshed_at = time.monotonic()

    def look(self, wish: Wish) -> Seen:
        """Read on; a wish is only left where a run is being trained."""
        is_live = self._controls.is_live()
        if is_live:
            self._say(wish)
        elif self.folder.stored and time.monotonic() - self._refreshed_at > REFRESH_SECONDS:
            self._refreshed_at = time.monotonic()
            self.folder.refresh(checkpoints=False)
        is_whole = self._story.read_on()
        status, shown = self._watch.shown()
        newest = shown[-1][0] if shown else 0
        if self._seen is None:
            self._seen = newest  # what is there already was meant for others
        elif newest < self._seen:
            self._seen = 0  # another process trains the run now, and counts anew
        frames = tuple(frame for number, frame in shown if number > self._seen and frame.env == wish.env)
        self._seen = max(self._seen, newest)
        return Seen(self._state(is_live), status, frames if is_live else (), is_whole)

    def ask(self, request: Request) -> None:
        """Leave the request in the folder."""
        self._controls.ask(request)

    def snapshot(self) -> Path:
        """Write the report into the run's folder."""
        paths = write_snapshot(self.folder, self.folder.path, SNAPSHOT_EVERY)
        for path in paths:
            self.folder.publish(path)
        return paths[0]

    def close(self) -> None:
        """Take the wish back."""
        if self._said:
            self._watch.leave(self._watcher)

    def _state(self, is_live: bool) -> str:
        if is_live:
            return str(self._controls.state()["state"])
        return "ended" if self.folder.stored is None or self.folder.summary.is_file() else "as stored"

    def _say(self, wish: Wish) -> None:
        """Say what is wanted, unless that was said just now; who may not write there sees no frames."""
        now = time.monotonic()
        if self._said is None or self._said[0] != wish or now - self._said[1] > WISH_SECONDS:
            self._said = wish, now
            with suppress(OSError):
                self._watch.wish(self._watcher, wish)


class ClusterSource:
    """A run on a cluster, seen through its coordinator; its story is copied into a folder that is thrown away."""

    def __init__(self, address: str, name: str) -> None:
        """Connect to a cluster and look at a run for the first time.

        Raises:
            HydrahiveError: If the cluster has no such run, or cannot be reached.
        """
        from hydrahive.runtime.cluster.connecting import connected
        from hydrahive.runtime.coordinator.asking import AwayError, Inquirer

        if not NAME.fullmatch(name):
            raise UsageError(f"RUN: {name!r} is not accepted; with --address it is a run's name or id, no path")
        self._stack = ExitStack()
        self.name = self._run = name
        """What people call it, and what it is asked for: once it is found, its id."""
        self._watcher = uuid.uuid4().hex[:8]
        self._have = Have()
        self._status: Mapping[str, Any] = {}
        with ExitStack() as stack:
            place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hydrahive-watch-")))
            stack.enter_context(connected(address))
            self._inquirer, self._away = Inquirer(), AwayError
            self.folder = RunFolder(place / name)
            self.folder.path.mkdir()
            self._story = _Story(self.folder.path)
            self.history = self._story.history
            self._wait_for_the_config()
            self._stack = stack.pop_all()

    def look(self, wish: Wish) -> Seen:
        """Ask the coordinator."""
        try:
            news = self._asked(wish)
            facts = self._facts()
        except self._away:
            return Seen("away", self._status, ())
        self._take(news)
        is_whole = self._story.read_on() and news.is_whole
        return Seen(facts["state"] if facts["live"] else "ended", self._status, news.frames, is_whole)

    def ask(self, request: Request) -> None:
        """Have the coordinator hand the request on."""
        self._inquirer.ask("ask", self._run, request, timeout_s=ANSWER_SECONDS)

    def snapshot(self) -> Path:
        """Write the report into a folder here."""
        out = Path(f"{self.name}-snapshot").absolute()
        out.mkdir(exist_ok=True)
        return write_snapshot(self.folder, out, SNAPSHOT_EVERY)[0]

    def close(self) -> None:
        """Leave the cluster; the coordinator forgets the watcher by itself."""
        self._stack.close()

    def _wait_for_the_config(self) -> None:
        """The Trainer hears that somebody watches with its next call, and then sends what there is.

        Raises:
            HydrahiveError: If it sends nothing.
        """
        deadline = time.monotonic() + FIRST_LOOK_SECONDS
        while not {"config.yaml", "run.json"} <= set(self._have.files):
            if time.monotonic() > deadline:
                raise HydrahiveError(
                    f"run {self.name!r} has not shown itself for {FIRST_LOOK_SECONDS:.0f} s; try again"
                )
            with suppress(self._away):  # the coordinator is just being restarted
                self._take(self._asked(Wish(0, 0)))
            time.sleep(FIRST_LOOK_PAUSE_SECONDS)

    def _asked(self, wish: Wish) -> News:
        asked = self._run, self._watcher, wish, self._have
        news: News = self._inquirer.ask("look", *asked, timeout_s=ANSWER_SECONDS)
        self._run = news.run_id
        return news

    def _facts(self) -> dict[str, Any]:
        runs: list[dict[str, Any]] = self._inquirer.ask("runs", timeout_s=ANSWER_SECONDS)
        named = [run for run in runs if self._run in (run["name"], run["run_id"])]
        return next((run for run in named if run["live"]), named[0] if named else {"state": "ended", "live": False})

    def _take(self, news: News) -> None:
        for name, data in news.pieces.items():
            if name not in MIRRORED:
                continue
            anew = self._have.files.get(name, ("", 0))[0] != news.have.files[name][0]
            path = self.folder.path / name
            if anew:  # in another file, so that whoever follows it sees that it is another
                path.with_suffix(".new").write_bytes(data)
                path.with_suffix(".new").replace(path)
            else:
                with path.open("ab") as file:
                    file.write(data)
            # One by one: what was taken is not asked for again, should another file fail.
            self._have = Have({**self._have.files, name: news.have.files[name]}, self._have.frames)
        self._have = news.have
        self._status = news.status or self._status
