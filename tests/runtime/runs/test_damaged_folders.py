"""What a run's folder may look like after a full disk, a power loss, or somebody's hands; and places that are no folders."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import COMMAND, TINY
from hydrahive.core.errors import HydrahiveError
from hydrahive.runtime.runs.run_folder import RunFolder
from hydrahive.telemetry.jsonl import JsonlSink, read_rows


@pytest.fixture
def run(hydrahive):
    """A run of a few updates."""
    hydrahive.train("snake/vtrace", "a", *TINY, "--stop.env_steps", 5000)
    return RunFolder(hydrahive.runs / "a")


def test_a_line_that_was_cut_short_does_not_swallow_the_next(tmp_path):
    metrics, events, episodes = (tmp_path / name for name in ("metrics", "events", "episodes"))
    events.write_text('{"kind": "started"}\n{"kind": "repl')
    sink = JsonlSink(metrics, events, episodes)
    sink.event("resumed", "going on", updates=3)
    sink.close()
    assert [row["kind"] for row in read_rows(events, "kind")] == ["started", "resumed"]


def test_lines_that_are_no_rows_are_passed_over(hydrahive, run):
    for path in (run.metrics, run.episodes, run.events):
        path.write_text(path.read_text() + '{}\n12\nnull\n{"upda')
    for path in (run.summary, run.path / "posted.json"):
        path.write_text("")
    assert "a" in hydrahive("runs").stdout
    hydrahive("snapshot", "a")
    steps = json.loads(hydrahive("runs", "--json").stdout)["env_steps"]
    resumed = hydrahive.train("snake/vtrace", "a", *TINY, "--stop.env_steps", 2 * steps)
    assert resumed["env_steps"] > steps


def test_a_damaged_secret_is_told(run):
    run.secret()
    (run.path / "secret").write_text("")
    with pytest.raises(HydrahiveError, match="0 bytes in place of 32"):
        run.secret()


def test_a_config_of_another_network_is_told_in_a_line(hydrahive, run):
    config = run.path / "config.yaml"
    config.write_text(config.read_text().replace("class_path: Mlp\n    init_args:\n      hidden:\n", CHANGED))
    assert "777" in config.read_text()
    error = hydrahive("evaluate", "a", code=1).stderr
    assert "config.yaml describes another network" in error
    assert error.count("\n") == 1


CHANGED = "class_path: Mlp\n    init_args:\n      hidden:\n      - 777\n"


@pytest.mark.parametrize(
    "arguments",
    [["digest", 300 * "x"], ["evaluate", 300 * "x"], ["pause", 300 * "x"], ["train", 300 * "x"], ["runs", 300 * "x"]],
)
def test_names_that_no_file_can_have_are_refused_in_a_line(hydrahive, arguments):
    error = hydrahive(*arguments, code=1).stderr
    assert "File name too long" in error
    assert error.count("\n") == 1


def test_a_full_disk_under_the_output_is_told_in_a_line(hydrahive, run):
    command = [*COMMAND, "runs", "--json", "--runs", hydrahive.runs]
    with Path("/dev/full").open("w") as full:
        failed = subprocess.run([*map(str, command)], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert failed.returncode == 1
    assert "No space left" in failed.stderr
    assert "Traceback" not in failed.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look everywhere")
def test_a_run_that_one_may_not_look_into_is_in_nobodys_way(hydrahive, run):
    locked = hydrahive.runs / "b"
    locked.mkdir(mode=0)
    assert "a" in hydrahive("runs").stdout


def test_what_is_another_runs_is_not_believed_and_what_is_damaged_is_named(hydrahive):
    hydrahive.train("snake/vtrace", "mine", *TINY, "--stop.env_steps", 20_000)
    hydrahive.train("snake/vtrace", "other", *TINY, "--seed", 7, "--stop.env_steps", 40_000)
    mine, other = hydrahive.runs / "mine", hydrahive.runs / "other"
    digest = hydrahive("digest", "mine").stdout
    (mine / "summary.json").write_bytes((other / "summary.json").read_bytes())
    listed = [json.loads(row) for row in hydrahive("runs", "--json").stdout.splitlines()]
    assert next(row for row in listed if row["run"] == "mine")["state"] == "unfinished"
    for path in (other / "checkpoints").iterdir():
        shutil.copytree(path, mine / "checkpoints" / path.name, dirs_exist_ok=True)
    assert hydrahive("digest", "mine").stdout == digest, "an older one that is its own is taken"
    resumed = hydrahive("train", "snake/vtrace", "--name", "mine", *TINY, "--stop.env_steps", 30_000).stderr
    assert "is of another run" in resumed
    shutil.rmtree(mine / "checkpoints")
    shutil.copytree(other / "checkpoints", mine / "checkpoints")
    for command in ("digest", "evaluate"):
        assert "is of another run" in hydrahive(command, "mine", code=2).stderr, command
    for path in (other / "checkpoints").glob("*/state.safetensors"):
        path.write_bytes(b"short")
    for command in ("digest", "evaluate"):
        said = hydrahive(command, "other", code=2).stderr
        assert f"can be used: checkpoint {other / 'checkpoints'}" in said
        assert "truncated or altered" in said
