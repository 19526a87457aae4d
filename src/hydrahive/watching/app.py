"""`hydrahive watch`: a run in a terminal."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from PIL import Image, ImageSequence
from rich.syntax import Syntax
from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Grid, Horizontal, Vertical, VerticalScroll
from textual.css.query import NoMatches
from textual.widgets import Footer, Static, TabbedContent, TabPane

from hydrahive.core.errors import first_line
from hydrahive.core.watched import Frame, Wish
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.runs.controls import Request
from hydrahive.watching.board import Board
from hydrahive.watching.dialogs import Confirm, Help
from hydrahive.watching.panels import DIM, Curve, Events, Figures, Histogram, ReplayStrip, Workers
from hydrahive.watching.source import Seen, Source

LOOK_SECONDS, FILL_SECONDS = 0.25, 1.0
"""Time between two looks at the run, and between two times that figures and plots are filled."""

TELL_SECONDS = 8.0
"""How long a line about what came of a key is shown."""

MOST_WAITING = 64
"""Frames that wait to be shown; where there are more, the oldest are passed over."""

RECORDING_FRAMES, RECORDING_PIXELS = 600, 160
"""What is shown of a recording: pictures, and their width and height, at most."""

STATES = {"running": "#2ed573", "paused": "#feca57", "ended": "#8395a7", "as stored": "#8395a7", "away": "#ee5253"}

TABS = ("live", "plots", "scores", "workers", "events", "config")


class Watcher(App[None]):
    """Shows one run; leaving it leaves the run alone."""

    CSS = """
    #head { height: 1; background: $panel; padding: 0 1; }
    TabbedContent { height: 1fr; }
    TabPane { padding: 0; }
    #side { width: 36; padding: 0 1; }
    #figures { height: auto; }
    #replay { height: auto; }
    #side Curve { height: 1fr; min-height: 6; }
    #more { display: none; width: 1fr; }
    .-wide #more { display: block; }
    .-wide #side { width: 44; }
    #plots-grid, #scores-grid { grid-size: 2; }
    #scores-grid { grid-size: 1 2; }
    .-wide #scores-grid { grid-size: 2 1; }
    Workers, Events { height: 1fr; }
    Help, Confirm { align: center middle; }
    .dialog { width: 90%; max-width: 92; height: auto; max-height: 90%; border: round $accent; padding: 0 1;
        background: $surface; }
    """

    ENABLE_COMMAND_PALETTE = False

    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (130, "-wide")]

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "ask('pause')", "pause"),
        Binding("c", "ask('continue')", "continue"),
        Binding("x", "stop", "stop"),
        Binding("s", "snapshot", "snapshot"),
        Binding("t", "turbo", "turbo"),
        Binding("n", "next(1)", "next env"),
        Binding("N", "next(-1)", "previous env", show=False),
        Binding("question_mark", "help", "help", key_display="?"),
        Binding("q", "quit", "leave"),
        *(Binding(str(i + 1), f"tab('{name}')", name, show=False) for i, name in enumerate(TABS)),
    ]

    def __init__(self, source: Source, wish: Wish, *, turbo: bool = False) -> None:
        """Show the run that `source` gives, beginning with what is wished."""
        super().__init__()
        self._source, self._config = source, source.folder.config()
        self._env, self._rate, self._turbo = wish.env, wish.frames_per_second, turbo
        self._seen = Seen("away", {}, (), is_whole=False)
        self._waiting: deque[Frame] = deque(maxlen=MOST_WAITING)
        self._frame: Frame | None = None
        self.shown = self.dropped = 0
        """Frames shown of the environment on the board, and steps of it between them that were not."""
        self._recording: deque[np.ndarray] = deque()
        self._filled_at = 0.0
        self._leaving = threading.Event()

    def compose(self) -> ComposeResult:
        """Head, tabs and keys."""
        yield Static(id="head")
        with TabbedContent():
            with TabPane("1 Live", id="live"), Horizontal():
                yield Board(id="board")
                with Vertical(id="side"):
                    yield Figures(id="figures")
                    yield ReplayStrip(id="replay")
                    yield Curve("mean score, best score", "score_mean", "score_max", recent=False, id="live-score")
                with Vertical(id="more"):
                    yield Curve("loss", "loss", recent=True, id="live-loss")
                    yield Workers(id="live-workers")
                    yield Events(id="live-events")
            with TabPane("2 Plots", id="plots"), Grid(id="plots-grid"):
                yield Curve("mean score, best score", "score_mean", "score_max", recent=False, id="score-full")
                yield Curve("mean score, best score, recent", "score_mean", "score_max", recent=True, id="score-recent")
                yield Curve("loss", "loss", recent=False, id="loss-full")
                yield Curve("loss, recent", "loss", recent=True, id="loss-recent")
            with TabPane("3 Scores", id="scores"), Grid(id="scores-grid"):
                yield Histogram("all episodes", recent=False, id="histogram-full")
                yield Histogram("newest episodes", recent=True, id="histogram-recent")
            with TabPane("4 Workers", id="workers"):
                yield Workers(id="all-workers")
            with TabPane("5 Events", id="events"):
                yield Events(id="all-events")
            with TabPane("6 Config", id="config"), VerticalScroll():
                yield Static(id="config-text")
        yield Footer(compact=True)

    def on_mount(self) -> None:
        """Begin to look; a terminal that goes away ends the view like a key does."""
        self.title = self._source.name
        for signum in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(signum, self.exit)
        self._show_config()
        self.set_interval(1 / self._rate, self._show_next)
        self.run_worker(self._keep_looking, thread=True, exit_on_error=False, group="looking")
        self._fill()

    def on_unmount(self) -> None:
        """Look no more."""
        self._leaving.set()

    def _keep_looking(self) -> None:
        """In a thread of its own: a look may take long, a key must not. Whatever fails is shown, and tried again."""
        beginnings = 1
        while not self._leaving.is_set():
            try:
                seen = self._source.look(Wish(self._env, 0.0 if self._turbo else self._rate))
                if self._source.history.beginnings > beginnings:
                    beginnings = self._source.history.beginnings
                    self._config = self._source.folder.config()
                    self._call(self._show_config)
                if seen.state == "ended" and not self._recording:
                    self._recording = recording_of(self._source.folder.recording)
                self._call(self._take, seen)
            except Exception as error:
                seen = Seen("away", {"why": first_line(error)}, ())
                self._call(self._take, seen)
            if seen.is_whole:
                self._leaving.wait(LOOK_SECONDS)

    def _call(self, callback: Callable[..., None], *arguments: object) -> None:
        """Have something done by the thread that draws, unless nothing is drawn any more."""
        if not self._leaving.is_set():
            self.call_from_thread(callback, *arguments)

    def _show_config(self) -> None:
        text = (self._source.folder.path / "config.yaml").read_text("utf-8")
        self.query_one("#config-text", Static).update(Syntax(text, "yaml", background_color="default"))

    def _take(self, seen: Seen) -> None:
        if seen.state == "ended" and self._seen.state != "ended":
            self._waiting.clear()
            self._frame = None
        self._seen = seen
        self._waiting.extend(frame for frame in seen.frames if frame.env == self._env)
        if time.monotonic() - self._filled_at >= FILL_SECONDS:
            self._fill()

    def _fill(self) -> None:
        """Fill what is on the screen, unless it is just being taken down."""
        self._filled_at = time.monotonic()
        with self._source.history.lock, suppress(NoMatches):
            self.query_one("#head", Static).update(self._head(), layout=False)
            self._fill_tab(self.query_one(TabbedContent).active)

    def _fill_tab(self, tab: str) -> None:
        history = self._source.history
        if tab == "live":
            self._fill_live()
        elif tab == "workers":
            self.query_one("#all-workers", Workers).fill(self._worker_rows())
        elif tab == "events":
            self.query_one("#all-events", Events).fill(history)
        for curve in self.query(f"#{tab} Curve").results(Curve) if tab == "plots" else ():
            curve.fill(history)
        for histogram in self.query(f"#{tab} Histogram").results(Histogram):
            histogram.fill(history)

    def _fill_live(self) -> None:
        history, status = self._source.history, self._seen.status
        self.query_one("#figures", Figures).fill(history, status, self._board_figures())
        self.query_one("#replay", ReplayStrip).fill(history)
        self.query_one("#live-score", Curve).fill(history)
        if self.query_one("#more").display:
            self.query_one("#live-loss", Curve).fill(history)
            self.query_one("#live-workers", Workers).fill(self._worker_rows())
            self.query_one("#live-events", Events).fill(history)

    def _worker_rows(self) -> list[dict[str, Any]]:
        """The workers as they are now: of a run that has ended nobody works any more."""
        workers: list[dict[str, Any]] = list(self._seen.status.get("workers", ()))
        return [one | {"state": "gone"} for one in workers] if self._seen.state == "ended" else workers

    def on_tabbed_content_tab_activated(self) -> None:
        """Fill what has just come up."""
        self._fill()

    def _head(self) -> Text:
        history, status, target = self._source.history, self._seen.status, self._config.stop.env_steps
        steps = max(int(status.get("env_steps", 0)), int(history.row.get("env_steps", 0)))
        rate = history.row.get("steps_per_second", 0.0) if self._seen.state == "running" else 0.0
        head = Text(no_wrap=True, overflow="ellipsis")
        head.append("\u25cf ", STATES.get(self._seen.state, DIM))
        head.append(f"{self._source.name} ", "bold")
        head.append(f"{self._seen.state}  ", STATES.get(self._seen.state, DIM))
        head.append(f"{steps:,}/{target:,} steps ({steps / target:.0%})  {rate:,.0f}/s")
        return head.append(f"  {status['why']}", "#ee5253") if "why" in status else head

    def _board_figures(self) -> dict[str, str]:
        world = "turbo" if self._turbo else f"{self._env} of {env_count(self._config):,}"
        if self._frame is None or self._turbo:
            return {"board": world}
        return {
            "board": world,
            "episode": f"{self._frame.length:,} steps, reward {self._frame.reward:.2f}",
            "frames": f"{self.shown:,} shown",
            "": f"{self.dropped:,} steps not shown",
        }

    def _show_next(self) -> None:
        """Show the next frame that waits; of a run that is over, its recording."""
        board = next(iter(self.query(Board)), None)
        if board is None:
            return  # the screen is just being taken down
        if self._turbo:
            board.show(None, "turbo: no frames (t shows them again)")
        elif self._waiting:
            frame = self._waiting.popleft()
            if self._frame and self._frame.env == frame.env and frame.step > self._frame.step:
                self.dropped += frame.step - self._frame.step - 1
            self._frame, self.shown = frame, self.shown + 1
            board.show(frame.picture)
        elif self._seen.state == "ended" and self._frame is None:
            self._show_recording(board)
        elif self._frame is None:
            board.show(None, "waiting for frames")

    def _show_recording(self, board: Board) -> None:
        if self._recording:
            self._recording.rotate(-1)
            board.show(self._recording[0])
        elif not board.has_picture:
            board.show(None, "the run is over, and left no recording here")

    def action_ask(self, request: Request) -> None:
        """Ask something of the run."""

        def ask() -> None:
            try:
                self._source.ask(request)
            except Exception as error:
                self._tell(first_line(error), is_wrong=True)
            else:
                self._tell(f"asked the run to {request}")

        self.run_worker(ask, thread=True, exit_on_error=False, group="asking")

    def action_stop(self) -> None:
        """End the run, once that is confirmed."""

        def answered(yes: bool | None) -> None:
            if yes:
                self.action_ask("stop")

        self.push_screen(Confirm(f"End {self._source.name}? The same train command resumes it."), answered)

    def action_snapshot(self) -> None:
        """Write the report."""

        def write() -> None:
            try:
                path = self._source.snapshot()
            except Exception as error:
                self._tell(f"no snapshot: {error}", is_wrong=True)
            else:
                self._tell(f"wrote {path} and {path.with_suffix('.html').name}")

        self.run_worker(write, thread=True, exit_on_error=False, group="snapshot", exclusive=True)

    def _tell(self, text: str, *, is_wrong: bool = False) -> None:
        """Show a line for some seconds, from any thread."""
        severity: Literal["error", "information"] = "error" if is_wrong else "information"
        self._call(lambda: self.notify(text, severity=severity, timeout=TELL_SECONDS, markup=False))

    def action_turbo(self) -> None:
        """Take no frames, or take them again."""
        self._turbo = not self._turbo
        self._look_elsewhere()

    def action_next(self, step: int) -> None:
        """Look at another environment."""
        self._env = (self._env + step) % env_count(self._config)
        self._look_elsewhere()

    def _look_elsewhere(self) -> None:
        self._waiting.clear()
        self._frame, self.shown, self.dropped = None, 0, 0
        self._fill()

    def action_help(self) -> None:
        """Show the keys."""
        self.push_screen(Help())

    def action_tab(self, name: str) -> None:
        """Go to a tab."""
        self.query_one(TabbedContent).active = name


def env_count(config: RunConfig) -> int:
    """Environments of a run; of those with several agents, worlds."""
    return config.shards * (config.envs_per_shard // config.env.group)


def recording_of(path: Path) -> deque[np.ndarray]:
    """A recording's pictures, small, `uint8 [H, W, 3]` each; none if there is no recording, or it is being written."""
    frames: deque[np.ndarray] = deque()
    with suppress(OSError), Image.open(path) as gif:
        for frame in islice(ImageSequence.Iterator(gif), RECORDING_FRAMES):
            small = frame.convert("RGB")
            small.thumbnail((RECORDING_PIXELS, RECORDING_PIXELS))
            frames.append(np.asarray(small))
    return frames
