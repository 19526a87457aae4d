"""The terminal view: the real app, driven by Textual's pilot, over real runs."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from textual.widgets import Static, TabbedContent

from chaos.harness import TITLES, Nodes, ancestors, cluster, titled
from conftest import COMMAND, Hydrahive, full_only, wait_for
from hydrahive.core.errors import UsageError
from hydrahive.core.watched import Frame, Wish, together
from hydrahive.envs.vector import SnapshotVectorEnv
from hydrahive.runtime.roles.lookout import MOST_PIXELS, Lookout, observed_picture
from hydrahive.runtime.runs.run_folder import RunFolder
from hydrahive.runtime.runs.watch_feed import FILE_BYTES, Feed, Feeds, Have, Shown
from hydrahive.runtime.training.watch import WatchFolder
from hydrahive.telemetry.follower import Follower
from hydrahive.telemetry.jsonl import read_rows
from hydrahive.watching.app import TABS, Watcher
from hydrahive.watching.board import Board, fitted
from hydrahive.watching.dialogs import Confirm
from hydrahive.watching.history import History, Thinned
from hydrahive.watching.panels import Histogram, Workers, binned
from hydrahive.watching.source import ClusterSource, FolderSource, Source

RUN = ["--shards", 2, "--envs_per_shard", 4, "--boundary_every", 20, "--metrics_every", 1]
RUN += ["--env.size", 8, "--env.window", 5, "--policy.encoder.hidden", "[32]"]
LONG = ["--stop.env_steps", 50_000_000]
PATIENCE_SECONDS = 90.0


async def until(pilot: Any, condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, f"waited {PATIENCE_SECONDS} s for {what}"
        await pilot.pause(0.05)


def head_of(app: Watcher) -> str:
    return str(app.query_one("#head", Static).render())


def watched_live(source: Source, story: Callable[[Watcher, Any], Any], size: tuple[int, int] = (80, 24)) -> Watcher:
    """The app over a source, and what a person does to it."""

    async def main() -> Watcher:
        app = Watcher(source, Wish(0, 20.0))
        async with app.run_test(size=size, notifications=True) as pilot:
            await story(app, pilot)
        return app

    try:
        return asyncio.run(main())
    finally:
        source.close()


def started(hydrahive: Hydrahive, name: str, *options: object) -> subprocess.Popen[str]:
    """A run that goes on until somebody ends it."""
    process = hydrahive.start("train", "snake/vtrace", "--name", name, *RUN, *LONG, *options)
    metrics = hydrahive.runs / name / "metrics.jsonl"
    wait_for(lambda: len(read_rows(metrics)) > 3, f"the first rows of {name}")
    return process


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Hydrahive:
    return Hydrahive(tmp_path_factory.mktemp("watched") / "runs")


def test_a_person_watches_pauses_looks_around_and_stops_and_no_byte_changes(runs: Hydrahive) -> None:
    process = started(runs, "watched", "--workers", 1)
    run = RunFolder(runs.runs / "watched")
    seen: dict[str, Any] = {}

    async def story(app: Watcher, pilot: Any) -> None:
        await until(pilot, lambda: app.shown >= 3, "frames")
        board = app.query_one(Board)
        seen["picture"] = board._picture
        await pilot.press("p")
        await until(pilot, lambda: "paused" in head_of(app), "the pause")
        steps = json.loads((run.path / "state.json").read_text())["env_steps"]
        assert f"{steps:,}" in head_of(app)
        history = app._source.history
        rows = [row for row in read_rows(run.metrics) if "loss" in row]
        assert history.curve("score_mean")[0][0] == next(r["env_steps"] for r in rows if r["score_mean"] is not None)
        assert history.episodes == rows[-1]["episodes"]  # whoever joins late sees everything
        for i, name in enumerate(TABS):
            await pilot.press(str(i + 1))
            await until(pilot, lambda name=name: app.query_one(TabbedContent).active == name, name)
        await pilot.press("4")
        await until(pilot, lambda: app.query_one("#all-workers", Workers).row_count == 1, "the worker")
        row = [str(cell) for cell in app.query_one("#all-workers", Workers).get_row_at(0)]
        assert row[2] == "alive"
        assert row[5] == f"{steps:,}"
        assert float(row[4]) == pytest.approx(steps * 10 / 1e6, abs=6e-4)  # 1.0 token for 100,000 Snake steps
        await pilot.press("question_mark")
        await until(pilot, lambda: len(app.screen_stack) == 2, "the help")
        await pilot.press("c", "x")  # the first closes it, and does nothing else; the second asks
        await until(pilot, lambda: isinstance(app.screen, Confirm), "the question")
        await pilot.press("escape")
        await until(pilot, lambda: len(app.screen_stack) == 1, "the view")
        assert "paused" in head_of(app)
        await pilot.press("s")
        await until(pilot, lambda: (run.path / "snapshot.html").is_file(), "the snapshot")
        for size in ((40, 12), (200, 60), (80, 24)):
            await pilot.resize_terminal(*size)
            await pilot.press("1")
            await pilot.pause(0.1)
        await pilot.press("n", "c")
        await until(pilot, lambda: app.shown >= 3 and app._frame.env == 1, "frames of the next environment")
        await pilot.press("t")
        await until(pilot, lambda: WatchFolder(run.path).wishes()[0].frames_per_second == 0, "turbo")
        assert app._frame is None
        await pilot.press("t")
        await until(pilot, lambda: app.shown >= 3, "frames again")
        await pilot.press("x", "n")
        await pilot.pause(0.3)
        assert process.poll() is None  # the answer was no
        await pilot.press("x", "y")
        await until(pilot, lambda: "ended" in head_of(app), "the end")

    watched_live(FolderSource(run), story)
    assert process.wait(60) == 0
    assert seen["picture"].shape == (10, 10, 3)
    assert not list((run.path / "watch").glob("*.wish"))
    stop = ["--stop.env_steps", json.loads((run.path / "state.json").read_text())["env_steps"] + 10_000]
    for name in ("watched", "plain"):
        runs("train", "snake/vtrace", "--name", name, *RUN, *stop, "--workers", 0)
    assert runs.summary("watched")["digest"] == runs.summary("plain")["digest"]


def test_a_finished_run_shows_its_story_and_its_recording(runs: Hydrahive) -> None:
    folder = RunFolder(runs.runs / "plain")

    async def story(app: Watcher, pilot: Any) -> None:
        await until(pilot, lambda: "ended" in head_of(app), "the story")
        await until(pilot, lambda: app.query_one(Board)._picture is not None, "the recording")
        assert f"{runs.summary('plain')['env_steps']:,}/" in head_of(app)
        assert app._source.history.best == runs.summary("plain")["score_max"]
        await pilot.press("3")
        await until(pilot, lambda: app.query_one(TabbedContent).active == "scores", "the histograms")
        await pilot.pause(0.3)
        assert app.query_one("#histogram-full", Histogram).size.height > 0
        await pilot.press("p")
        await until(pilot, lambda: bool(app._notifications), "the refusal")
        assert "not being trained" in next(iter(app._notifications)).message

    watched_live(FolderSource(folder), story)
    assert not list((folder.path / "watch").glob("*.wish"))


def test_closing_leaves_the_run_alone(runs: Hydrahive) -> None:
    process = started(runs, "left", "--workers", 0)
    run = RunFolder(runs.runs / "left")

    async def story(app: Watcher, pilot: Any) -> None:
        await until(pilot, lambda: app.shown >= 1, "a frame")
        await pilot.press("q")

    watched_live(FolderSource(run), story)
    rows = len(read_rows(run.metrics))
    wait_for(lambda: len(read_rows(run.metrics)) > rows + 50, "what the run does alone")
    assert process.poll() is None
    runs("stop", "left")
    assert process.wait(60) == 0


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with cluster(nodes=2) as started_nodes:
        yield started_nodes


@full_only
def test_a_run_on_a_cluster_is_watched_through_its_coordinator(runs: Hydrahive, nodes: Nodes) -> None:
    process = started(runs, "far", "--workers", 1, "--address", nodes.address)
    folder = RunFolder(runs.runs / "far")

    async def story(app: Watcher, pilot: Any) -> None:
        await until(pilot, lambda: app.shown >= 3, "frames")
        await pilot.press("p")
        await until(pilot, lambda: "paused" in head_of(app), "the pause")
        rows = [row for row in read_rows(folder.metrics) if "loss" in row]
        await until(pilot, lambda: app._source.history.episodes == rows[-1]["episodes"], "the whole history")
        await pilot.press("4")
        await until(pilot, lambda: app.query_one("#all-workers", Workers).row_count == 1, "the worker")

        def coordinators() -> set[int]:
            return {pid for pid in titled(TITLES["coordinator"]) if nodes.below() & set(ancestors(pid))}

        (killed,) = coordinators()
        os.kill(killed, 9)
        await until(pilot, lambda: bool(coordinators() - {killed}), "another coordinator")
        await until(pilot, lambda: "paused" in head_of(app), "the run again")
        await pilot.press("c")
        await until(pilot, lambda: "running" in head_of(app), "the run")
        await pilot.press("1", "n")
        await until(pilot, lambda: app.shown >= 3 and app._frame.env == 1, "frames after the coordinator's return")
        await pilot.press("x", "y")
        await until(pilot, lambda: "ended" in head_of(app), "the end")
        await until(pilot, lambda: app._source.history.events[-1]["kind"] == "stopped", "the last event")

    watched_live(ClusterSource(nodes.address, "far"), story)
    assert process.wait(60) == 0
    episodes = read_rows(folder.metrics)[-1]["episodes"]

    async def later(app: Watcher, pilot: Any) -> None:
        await until(pilot, lambda: app._source.history.episodes >= episodes, "the story")
        await until(pilot, lambda: "ended" in head_of(app), "that it has ended")

    watched_live(ClusterSource(nodes.address, "far"), later)
    with pytest.raises(UsageError, match="no path"):
        ClusterSource(nodes.address, "runs/far")
    with pytest.raises(UsageError, match="nobody trained it"):
        ClusterSource(nodes.address, "nowhere")


def test_in_a_real_terminal_the_command_draws_and_leaves(runs: Hydrahive) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ |= {"TERM": "xterm-256color", "COLORTERM": "truecolor", "COLUMNS": "80", "LINES": "24"}
        os.execv(sys.executable, [*COMMAND, "watch", "plain", "--runs", str(runs.runs)])
    text = _read_until(terminal, "next env")
    assert "plain" in text
    os.write(terminal, b"q")
    _read_until(terminal, "\x1b[?1049l")  # the screen is given back
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_without_a_terminal_or_a_run_it_says_so_in_one_line(runs: Hydrahive) -> None:
    assert "no terminal" in runs("watch", "plain", code=2).stderr
    assert len(runs("watch", "plain", "--fps", 0, code=2).stderr.splitlines()) == 1


def _read_until(terminal: int, wanted: str) -> str:
    text, end = "", time.monotonic() + PATIENCE_SECONDS
    while wanted not in text:
        assert time.monotonic() < end, f"{wanted!r} did not come; the last was {text[-500:]!r}"
        if select.select([terminal], [], [], 1.0)[0]:
            text += os.read(terminal, 65536).decode(errors="replace")
    return text


# What lies below.


def frame(env: int, step: int) -> Frame:
    return Frame(env, step, 1.5, 7, np.arange(12, dtype=np.uint8).reshape(2, 2, 3))


def test_a_frame_survives_being_written_down() -> None:
    back = Frame.from_plain(json.loads(json.dumps(frame(3, 9).as_plain())))
    assert (back.env, back.step, back.reward, back.length) == (3, 9, 1.5, 7)
    assert (back.picture == frame(3, 9).picture).all()
    with pytest.raises(ValueError, match="no frame"):
        Frame.from_plain({"env": 1})


def test_wishes_for_one_environment_go_together() -> None:
    assert together((Wish(1, 5), Wish(0, 0), Wish(1, 10))) == (Wish(1, 10),)


@pytest.mark.parametrize(
    "shape", [(4,), (84, 84), (4, 84, 84), (10, 10, 6), (3, 64, 64), (7, 7, 3), (2, 3, 4, 5), (1,)]
)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.bool_, np.int64])
def test_any_observation_is_a_picture(shape: tuple[int, ...], dtype: type) -> None:
    picture = observed_picture((np.random.default_rng(0).random(shape) * 200).astype(dtype))
    assert picture.dtype == np.uint8
    assert picture.nbytes <= 3 * 84 * 84 + 3 * 16 * MOST_PIXELS
    assert picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] == 3)
    for size in ((40, 40), (3, 2), (200, 100)):
        width, height = size
        small = fitted(picture, width, height)
        assert small.shape[0] <= max(height, 1)
        assert small.shape[1] <= max(width, 1)


def test_a_curve_stays_bounded_and_spans_everything() -> None:
    curve = Thinned(64)
    for i in range(10_000):
        curve.append(i, -i)
        assert len(curve.points) < 64
    xs = [x for x, _ in curve.points]
    assert xs[0] == 0
    assert xs[-1] > 9_000
    assert len({b - a for a, b in itertools.pairwise(xs)}) == 1


def test_lines_in_the_making_are_waited_for_and_broken_ones_passed_over() -> None:
    history = History()
    history.take("episodes.jsonl", True, b'{"env_steps": 10, "episodes": 1, "sco')
    assert history.episodes == 0
    history.take(
        "episodes.jsonl", False, b'res": [3.0]}\nnonsense\n{"env_steps": 20, "episodes": 2, "scores": [5.0]}\n'
    )
    assert (history.episodes, history.best) == (2, 5.0)
    history.take("episodes.jsonl", True, b'{"env_steps": 5, "episodes": 1, "scores": [1.0]}\n')
    assert (history.episodes, history.best, list(history.recent_scores)) == (1, 1.0, [1.0])


def test_the_gear_goes_back_with_the_run() -> None:
    history = History()
    shift = {"kind": "replay_shift", "time": 0, "text": "", "episode": 1, "sequence": 4, "batch": 8}
    told = [{"kind": "started", "updates": 0}, shift | {"gear": 1, "updates": 5}, shift | {"gear": 2, "updates": 50}]
    for event in (*told, {"kind": "resumed", "updates": 20}):
        history.take("events.jsonl", False, json.dumps({"time": 0, "text": ""} | event).encode() + b"\n")
    assert history.gear["gear"] == 1
    assert history.beginnings == 2


def test_values_that_are_not_finite_are_left_out() -> None:
    history = History()
    history.take("episodes.jsonl", True, b'{"env_steps": 1, "episodes": 2, "scores": [Infinity, 2.0, NaN]}\n')
    history.take("metrics.jsonl", True, b'{"env_steps": 1, "score_mean": NaN, "updates": 1}\n')
    assert list(history.recent_scores) == [2.0]
    assert not history.curve("score_mean")


class Odd(SnapshotVectorEnv):
    """Draws nothing but errors; its second agent is the one who is there."""

    num_envs = 2

    def __init__(self, *, fails: bool) -> None:
        self._fails = fails

    def snapshot(self) -> dict[str, np.ndarray]:
        return {}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        pass

    def present(self) -> np.ndarray:
        return np.array([False, True])

    def thumbnail(self, index: int) -> np.ndarray | None:
        if self._fails:
            raise RuntimeError("no display")
        return None


def test_drawing_that_fails_stops_nothing_and_who_is_there_is_looked_at() -> None:
    seen = np.array([[0.0, 0.0], [1.0, -1.0]], np.float32), np.array([5.0, 7.0]), np.array([3, 4])
    lookout = Lookout(Wish(0, 1), range(2))
    lookout.see(0, Odd(fails=True), *seen)
    assert not lookout.frames
    lookout = Lookout(Wish(0, 1), range(2))
    lookout.see(0, Odd(fails=False), *seen)
    assert (lookout.frames[0].reward, lookout.frames[0].length) == (7.0, 4)


def test_a_follower_notices_that_a_file_was_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    follower = Follower(path)
    assert follower.read() == (False, b"")
    path.write_bytes(b"abc")
    assert follower.read(2) == (True, b"ab")
    assert follower.read() == (False, b"c")
    other = tmp_path / "other"
    other.write_bytes(b"abcdef")
    other.replace(path)
    assert follower.read() == (True, b"abcdef")


def test_a_feed_gives_each_watcher_what_he_lacks() -> None:
    feed, name = Feed(), "events.jsonl"
    feed.take(Shown({"state": "running"}, (frame(0, 1), frame(1, 1)), {name: (True, b"one\n")}))
    news = feed.look("run", "me", Wish(0, 10), Have())
    assert news.pieces == {name: b"one\n"}
    assert not news.frames  # they were meant for others, who looked before
    feed.take(Shown({}, (frame(0, 2), frame(1, 2)), {name: (False, b"two\n")}))
    after = feed.look("run", "me", Wish(0, 10), news.have)
    assert after.pieces == {name: b"two\n"}
    assert [one.step for one in after.frames] == [2]
    feed.take(Shown({}, (), {name: (True, b"anew\n")}))
    assert feed.look("run", "me", Wish(0, 10), after.have).pieces == {name: b"anew\n"}
    assert feed.look("run", "late", Wish(0, 10), Have()).pieces == {name: b"anew\n"}


def test_a_feed_of_a_very_long_run_keeps_its_newest_lines() -> None:
    feed, line = Feed(), b"x" * (2**20 - 1) + b"\n"
    for i in range(FILE_BYTES // len(line) + 3):
        feed.take(Shown({}, (), {"metrics.jsonl": (i == 0, line)}))
    assert len(feed.files["metrics.jsonl"].data) <= FILE_BYTES
    have, total, looks = Have(), 0, 0
    while True:
        news = feed.look("run", "me", Wish(0, 1), have)
        total, looks, have = total + len(news.pieces.get("metrics.jsonl", b"")), looks + 1, news.have
        if news.is_whole:
            break
    assert total == len(feed.files["metrics.jsonl"].data)
    assert looks > 10


def test_what_a_run_left_is_there_for_a_coordinator_that_began_later(tmp_path: Path) -> None:
    Feeds(tmp_path).take("run", Shown({"state": "ended"}, (), {"run.json": (True, b"{}")}), last=True)
    news = Feeds(tmp_path).look("run", "me", Wish(0, 1), Have())
    assert news.status == {"state": "ended"}
    assert news.pieces == {"run.json": b"{}"}


@pytest.mark.parametrize(
    "scores", [[0, 1, 1, 5], [1e300, -5.0], [0.5, 0.25], [3, 3, 3], [-21.0] * 5, list(range(1000))]
)
def test_every_score_is_in_a_bar(scores: list[float]) -> None:
    counts, edges = binned(scores)
    assert sum(counts) == len(scores)
    assert len(counts) == len(edges) <= 21
