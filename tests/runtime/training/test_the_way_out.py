"""However a run ends: the newest boundary is kept, the story is told in one line, the exit code is right."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from conftest import COMMAND, FULL, ROOT, wait_for
from hydrahive.core.errors import HydrahiveError
from hydrahive.core.interrupts import SIGNALS, Interrupted, Interrupts
from hydrahive.runtime.config.parsing import load_run_config
from hydrahive.runtime.fleet.inline import InlineFleet
from hydrahive.runtime.runs.checkpoints import CheckpointStore
from hydrahive.runtime.runs.run_folder import RunFolder, new_run_folder, runs_folder
from hydrahive.runtime.training.keeper import Keeper
from hydrahive.runtime.training.request import Request
from hydrahive.runtime.training.story import Story
from hydrahive.runtime.training.train import train

SNAKE = ROOT / "experiments" / "snake" / "vtrace.yaml"
SIZES = ["--env.size=7", "--env.window=5", "--policy.encoder.hidden=[16]", "--shards=2", "--envs_per_shard=4"]
SIZES += ["--fragment_length=8", "--boundary_every=5", "--stop.updates=60", "--checkpoint.every_boundaries=100"]
SIZES += ["--workers=0", "--ledger.enabled=false"]


def request(runs):
    return Request(load_run_config(SNAKE, SIZES), RunFolder(runs / "a"), runs=runs, quiet=True)


def fails_at(monkeypatch, owner, name, call, error):
    """The method raises at its call of this number; before that, and behind, it works."""
    method, calls = getattr(owner, name), []

    def failing(*arguments, **options):
        calls.append(None)
        if len(calls) == call:
            raise error
        return method(*arguments, **options)

    monkeypatch.setattr(owner, name, failing)


def events_of(runs):
    return [json.loads(line) for line in (runs / "a" / "events.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("error", "raised", "says"),
    [
        (RuntimeError("surprise\nin two lines"), HydrahiveError, "RuntimeError: surprise"),
        (KeyError("an odd one"), HydrahiveError, "KeyError: 'an odd one'"),
        (OSError(28, "No space left on device"), HydrahiveError, "No space left on device"),
        (MemoryError(), MemoryError, "MemoryError"),
    ],
)
def test_what_is_none_of_ours_keeps_the_newest_boundary_and_is_told_in_a_line(
    tmp_path, monkeypatch, error, raised, says
):
    fails_at(monkeypatch, Story, "take", 23, error)
    with pytest.raises(raised) as caught:
        train(request(tmp_path))
    assert says in str(caught.value) or raised is MemoryError
    kept, _ = RunFolder(tmp_path / "a").checkpoints().newest()
    assert kept.boundary.updates == 20
    (failed,) = [event for event in events_of(tmp_path) if event["kind"] == "failed"]
    assert says in failed["text"]
    assert "resumes it there" in failed["text"]
    assert "Traceback" in failed["traceback"]
    monkeypatch.undo()
    whole = train(Request(load_run_config(SNAKE, SIZES), RunFolder(tmp_path / "b"), runs=tmp_path, quiet=True))
    assert train(request(tmp_path)).summary["digest"] == whole.summary["digest"]


def test_what_went_wrong_first_is_told_though_saving_and_closing_fail_too(tmp_path, monkeypatch, capsys):
    fails_at(monkeypatch, Story, "take", 23, HydrahiveError("the first"))
    fails_at(monkeypatch, CheckpointStore, "write", 1, OSError(28, "No space left on device"))
    fails_at(monkeypatch, InlineFleet, "close", 1, RuntimeError("the third"))
    with pytest.raises(HydrahiveError, match="the first"):
        train(request(tmp_path))
    (failed,) = [event for event in events_of(tmp_path) if event["kind"] == "failed"]
    assert "the first" in failed["text"]
    assert "could not be written (OSError: [Errno 28] No space left on device)" in failed["text"]
    assert "not everything could be closed: RuntimeError: the third" in capsys.readouterr().err


def test_a_side_show_that_cannot_be_given_up_hides_nothing(tmp_path, monkeypatch):
    from hydrahive.runtime.training.side_shows import SideShows

    fails_at(monkeypatch, Keeper, "let_pass", 12, HydrahiveError("the first"))
    monkeypatch.setattr(SideShows, "give_up", lambda _: 1 / 0)
    with pytest.raises(HydrahiveError, match="the first"):
        train(request(tmp_path))
    assert json.loads((tmp_path / "a" / "state.json").read_text())["state"] == "ended"


IMPATIENT = """
import sys, time
from hydrahive.runtime.runs.checkpoints import CheckpointStore
def hang(*given, **more):
    print("hangs", file=sys.stderr, flush=True)
    while True:
        try:
            time.sleep(60)
        except ValueError:
            pass
CheckpointStore.write = hang
from hydrahive.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_second_ctrl_c_ends_a_save_that_hangs(tmp_path):
    options = [*SIZES, "--checkpoint.every_boundaries=1", "--name=a", f"--runs={tmp_path}", "--recording=false"]
    process = subprocess.Popen(
        [sys.executable, "-c", IMPATIENT, "train", SNAKE, *options], stderr=subprocess.PIPE, text=True
    )
    for line in process.stderr:
        if "hangs" in line:
            break
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)  # bounced: as one
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(2)
    for _ in range(2):  # one for the save, one for the attempt to save at the end
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            time.sleep(1.5)
    assert process.wait(20) == 130
    assert "Traceback" not in process.stderr.read()


MOMENTS = [(one, after) for one in SIGNALS for after in (0.05, 0.4, 0.8, 1.2, 1.6, 2.0, 2.4, 2.8, 3.2, 3.6)]


@pytest.mark.parametrize(
    ("signum", "after"),
    MOMENTS if FULL else [(signal.SIGINT, 1.8), (signal.SIGTERM, 0.4), (signal.SIGTERM, 2.6), (signal.SIGHUP, 1.2)],
)
def test_a_signal_at_any_moment_of_the_start_ends_it_in_a_line(tmp_path, signum, after):
    """On workers: imports, the look, Ray's start, hiring."""
    options = [*SIZES[:-2], "--workers=1", "--name=a", f"--runs={tmp_path}", "--recording=false"]
    options += ["--stop.updates=1000000"]
    process = subprocess.Popen(
        [*COMMAND, "train", SNAKE, *options], stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # which `nohup make test` has ignored
    )  # fmt: skip
    time.sleep(after)
    process.send_signal(signum)
    _, said = process.communicate(timeout=60)
    if after > 0.3:  # before that, Python itself may not have begun
        assert process.returncode == 128 + signum, said
        assert "Traceback" not in said
        assert f"stopped by {signum.name}" in said
    wait_for(lambda: not is_anybody_of(process.pid), "its processes to end", 20)


def is_anybody_of(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_signals_are_held_back_where_they_must_be():
    interrupts = Interrupts()
    with interrupts.installed():
        done = []

        def whole():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as Ray does
            os.kill(os.getpid(), signal.SIGTERM)
            done.append(True)

        with pytest.raises(Interrupted, match="SIGTERM"):
            interrupts.held_back_in(whole)
        assert done == [True]
        assert signal.getsignal(signal.SIGTERM) not in (signal.SIG_DFL, signal.SIG_IGN)


def taken_over_at(monkeypatch, call, take_over):
    """Somebody takes the run over while this process trains it."""
    method, calls = Story.take, []

    def seen(*arguments):
        calls.append(None)
        if len(calls) == call:
            take_over()
        return method(*arguments)

    monkeypatch.setattr(Story, "take", seen)


OFTEN = [option.replace("boundaries=100", "boundaries=1") for option in SIZES]


@pytest.mark.parametrize("at", ["folder", "storage"])
def test_who_was_superseded_ends_and_writes_nothing_more(tmp_path, monkeypatch, at):
    place = tmp_path / "there"
    place.mkdir()
    uri = f"file://{place}"
    folder = new_run_folder(runs_folder(uri), "a") if at == "storage" else RunFolder(tmp_path / "a")
    marked = (place / "a" if at == "storage" else folder.path) / "driver.json"
    before = []

    def take_over():
        folder.send()  # what was begun before is not what this is about
        marked.write_text(json.dumps({"nonce": "another", "host": "elsewhere", "pid": 7}))
        before.extend(sorted(path.name for path in (marked.parent / "checkpoints").iterdir()))

    taken_over_at(monkeypatch, 23, take_over)
    with pytest.raises(HydrahiveError, match="is trained by process 7 on elsewhere now"):
        train(Request(load_run_config(SNAKE, OFTEN), folder, runs=tmp_path, quiet=True))
    assert sorted(path.name for path in (marked.parent / "checkpoints").iterdir()) == before
    assert not (marked.parent / "summary.json").exists()
    assert json.loads(marked.read_text())["nonce"] == "another"


def test_a_run_whose_folder_was_removed_ends_in_a_line(tmp_path, monkeypatch):
    def take_over():
        shutil.rmtree(tmp_path / "a")

    taken_over_at(monkeypatch, 23, take_over)
    with pytest.raises(HydrahiveError, match="is gone from where it lay"):
        train(Request(load_run_config(SNAKE, OFTEN), RunFolder(tmp_path / "a"), runs=tmp_path, quiet=True))
    assert not (tmp_path / "a" / "run.json").exists()


def test_an_evaluation_that_was_cut_off_is_made_again(tmp_path, monkeypatch):
    """Killed between a checkpoint and the figures of its evaluation, as a sweep reads them."""
    evaluated = [*OFTEN, "--evaluate_every=10", "--evaluate_episodes=4"]

    def asked(name, *more):
        return Request(
            load_run_config(SNAKE, [*evaluated, *more]), RunFolder(tmp_path / name), runs=tmp_path, quiet=True
        )

    def figures(name):
        rows = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        return {row["updates"]: row["evaluation_mean"] for row in rows if "evaluation_mean" in row}

    train(asked("whole"))
    train(asked("a", "--stop.updates=20"))
    metrics = tmp_path / "a" / "metrics.jsonl"
    kept = [
        line for line in metrics.read_text().splitlines() if "evaluation_mean" not in line or '"updates": 10,' in line
    ]
    metrics.write_text("".join(f"{line}\n" for line in kept))
    assert figures("a").keys() == {10}
    (tmp_path / "a" / "summary.json").unlink()
    train(asked("a"))
    assert figures("a") == figures("whole")
