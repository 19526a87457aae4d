"""Requests in a run's folder: none is lost, none is taken twice, and each is answered by its name."""

import fcntl
import json
import multiprocessing
import os
import time

import pytest

from hydrahive.core.durable import sweep, write_whole
from hydrahive.core.errors import HydrahiveError
from hydrahive.runtime.runs import controls
from hydrahive.runtime.runs.controls import FolderControls

_processes = multiprocessing.get_context("forkserver")


@pytest.fixture
def live(tmp_path):
    """The controls of a run whose lock somebody holds."""
    lock = (tmp_path / "lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    yield FolderControls(tmp_path)
    lock.close()


def _ask(folder, requests):
    for request in requests:
        FolderControls(folder).ask(request)


def test_all_that_is_asked_at_once_arrives(live, tmp_path):
    asking = [_processes.Process(target=_ask, args=(tmp_path, ["pause", "stop"] * 20)) for _ in range(4)]
    for process in asking:
        process.start()
    taken = []
    while any(process.is_alive() for process in asking) or list(tmp_path.glob("request-*.json")):
        taken += [request] if (request := live.take()) else []
    assert [process.exitcode for process in asking] == [0] * 4
    assert sorted(taken) == ["pause"] * 80 + ["stop"] * 80


def test_they_are_taken_in_order_and_answered_by_name(live, tmp_path):
    mine = FolderControls(tmp_path)
    names = [mine.ask(request) for request in ("pause", "continue", "stop")]
    assert live.take() == "pause"
    assert mine.state()["answered"] == names[:1]
    assert [live.take(), live.take(), live.take()] == ["continue", "stop", None]
    assert mine.state()["answered"] == names


def test_an_end_answers_what_is_still_asked(live, tmp_path):
    mine = FolderControls(tmp_path)
    name = mine.ask("stop")
    live.say("ended", 100)
    assert mine.state() == {"state": "ended", "env_steps": 100, "answered": [name]}
    assert live.take() is None


def test_only_what_was_asked_of_another_process_is_forgotten(live, tmp_path, monkeypatch):
    mine = FolderControls(tmp_path)
    mine.ask("stop")
    monkeypatch.setattr(controls, "BEGAN_NS", time.time_ns())
    asked = mine.ask("pause")  # between the claim and the start of training
    live.forget()
    assert live.take() == "pause"
    assert live.state()["answered"] == [asked]


def test_nobody_is_asked_where_nobody_trains(tmp_path):
    with pytest.raises(HydrahiveError, match="not being trained now"):
        FolderControls(tmp_path).ask("stop")


def _write(path, number):
    for i in range(150):
        write_whole(path, json.dumps({"number": number, "i": i, "fill": "x" * 5000}).encode())


def test_several_writers_of_one_file_never_fail_nor_tear_it(tmp_path):
    path = tmp_path / "state.json"
    writing = [_processes.Process(target=_write, args=(path, number)) for number in range(4)]
    for process in writing:
        process.start()
    read = 0
    while any(process.is_alive() for process in writing):
        if path.exists():
            assert len(json.loads(path.read_text())["fill"]) == 5000
            read += 1
    assert [process.exitcode for process in writing] == [0] * 4
    assert read > 10
    assert [left.name for left in tmp_path.iterdir()] == ["state.json"]


def test_a_link_that_somebody_has_planted_is_not_written_through(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "secret.partial").symlink_to(victim)
    write_whole(tmp_path / "secret", b"hidden", 0o600)
    assert victim.read_text() == "mine"
    assert oct((tmp_path / "secret").stat().st_mode)[-3:] == "600"


def test_what_crashes_leave_is_swept_up_once_it_is_old(tmp_path):
    for name, age in (("a.0123.partial", 0), ("b.0123.partial", 10_000)):
        (tmp_path / name).write_text("half")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    (tmp_path / "c.partial").mkdir()
    sweep(tmp_path)
    assert sorted(left.name for left in tmp_path.iterdir()) == ["a.0123.partial", "c.partial"]
