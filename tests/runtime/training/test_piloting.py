"""A piloted run: one digest and one list of decisions, whoever computes it and whatever becomes of them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml

from conftest import FULL, ROOT, Hydrahive, digests_of
from hydrahive.core.errors import HydrahiveError
from hydrahive.ledger.ledger import Ledger
from hydrahive.ledger.statements import work_credits
from hydrahive.ledger.verification import verify
from hydrahive.pilot.seen import Validation
from hydrahive.runtime.config.parsing import load_run_config
from hydrahive.runtime.runs.newest import shown_checkpoint
from hydrahive.runtime.runs.run_folder import RunFolder
from hydrahive.runtime.training.piloting.champion import averaged, tell_best, write_average
from hydrahive.runtime.training.request import Request
from hydrahive.runtime.training.train import train

STEPS = 44_000

CONFIG = {
    "env": {"class_path": "Gym", "init_args": {"id": "CartPole-v1"}},
    "shards": 3,
    "envs_per_shard": 8,
    "fragment_length": 16,
    "lag": 1,
    "precision": "highest",
    "boundary_every": 4,
    "policy": {"encoder": {"class_path": "Mlp", "init_args": {"hidden": [64, 64]}}},
    "algorithm": {
        "class_path": "poisoned.Poisoned",
        "init_args": {"learning_rate": 1.0e-3, "minibatches": 1, "epochs": 8, "discount": 0.98, "trace_decay": 0.8, "value_cost": 0.25, "gradient_norm": 1.0, "since": 30_000, "until": 33_000},
    },
    "look": "none",
    "recording": False,
    "workers": 0,
    "stop": {"env_steps": STEPS},
    "metrics_every": 1,
    "checkpoint": {"every_boundaries": 3},
    "seed": 1970,
    "pilot": {
        "every": 1,
        "episodes": 8,
        "guards": None,
        "search": {"space": {"algorithm.gradient_norm": {"log_uniform": [0.5, 2.0]}}},
        "rollback": {"earliest": 6, "smoothing": 2, "after": 2, "gentler": 0.01},
        "convergence": {"dormant": 100, "widest": 1},
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    hydrahive = Hydrahive(tmp_path_factory.mktemp("piloted") / "runs")
    hydrahive.environment["PYTHONPATH"] = str(ROOT / "tests" / "poison")
    path = hydrahive.runs.parent / "piloted.yaml"
    path.write_text(yaml.safe_dump(CONFIG))
    return hydrahive, path


@pytest.fixture(scope="module")
def inline(place):
    hydrahive, path = place
    return hydrahive.train(str(path), "inline")


def orders(hydrahive: Hydrahive, name: str) -> list[dict]:
    lines = (hydrahive.runs / name / "pilot.jsonl").read_text().splitlines()
    return [json.loads(line)["order"] for line in lines]


def events(hydrahive: Hydrahive, name: str) -> list[str]:
    return [json.loads(line)["kind"] for line in (hydrahive.runs / name / "events.jsonl").read_text().splitlines()]


def test_a_poisoned_run_goes_back_and_recovers(place, inline):
    hydrahive, _ = place
    decided = orders(hydrahive, "inline")
    (back,) = [order for order in decided if order["back_to"] is not None]
    assert back["moves"][0]["key"] == "algorithm.learning_rate"
    assert {"pilot_back", "taken_back", "pilot_probe", "pilot_best"} <= set(events(hydrahive, "inline"))
    lines = [json.loads(line) for line in (hydrahive.runs / "inline" / "pilot.jsonl").read_text().splitlines()]
    low = min(line["seen"]["score"] for line in lines if line["segment"] == 0 and line["updates"] > back["back_to"])
    high = max(line["seen"]["score"] for line in lines if line["segment"] == 1)
    assert high > 3 * low, "it fell, and is well again"
    best = json.loads((hydrahive.runs / "inline" / "best.json").read_text())
    assert inline["pilot"]["updates"] == best["updates"]
    assert best["mean"] >= max(line["seen"]["validation"]["mean"] for line in lines if line["seen"]["validation"]) * 0.8
    assert inline["segments"] == 2


def test_its_schedule_without_a_pilot_gives_the_same_bytes(place, inline):
    hydrahive, _ = place
    config = hydrahive.runs / "inline" / "piloted.yaml"
    again = hydrahive.train(str(config), "again")
    assert "pilot" not in again
    assert digests_of(again) == digests_of(inline)


def test_workers_do_not_matter_nor_what_changes_no_byte(place, inline):
    hydrahive, path = place
    others = ["--evaluate_actions", "sampled", "--evaluate_every", 8, "--evaluate_episodes", 4]
    three = hydrahive.train(str(path), "three", "--workers", 3, *others)
    assert digests_of(three) == digests_of(inline)
    assert orders(hydrahive, "three") == orders(hydrahive, "inline")


@pytest.mark.parametrize("workers", [0, 2])
def test_neither_do_kills(place, inline, workers):
    hydrahive, path = place
    name = f"killed{workers}"
    for steps in (9_000, 21_000, 31_000, 36_000) if FULL or not workers else (21_000, 36_000):
        process = hydrahive.start_training(str(path), name, "--workers", workers)
        hydrahive.stop_at(process, name, steps, signal.SIGKILL)
    last = hydrahive.train(str(path), name, "--workers", workers)
    assert digests_of(last) == digests_of(inline)
    assert orders(hydrahive, name) == orders(hydrahive, "inline")
    assert last["pilot"] == inline["pilot"]
    for file in ("best.json", "piloted.yaml"):
        ours = yaml.safe_load((hydrahive.runs / name / file).read_text())
        theirs = yaml.safe_load((hydrahive.runs / "inline" / file).read_text())
        assert {**ours, "workers": 0} == {**theirs, "workers": 0}


def test_all_that_was_computed_is_paid_also_what_it_went_back_from(place, inline):
    hydrahive, _ = place
    ledger = Ledger(hydrahive.runs / "ledger.sqlite", create=False)
    assert verify(ledger.journal).problem is None
    mine = [row for row in work_credits(ledger.journal) if row["run_id"] == inline["run_id"]]
    back = next(order for order in orders(hydrahive, "inline") if order["back_to"] is not None)
    lines = [json.loads(line) for line in (hydrahive.runs / "inline" / "pilot.jsonl").read_text().splitlines()]
    fell = next(line for line in lines if line["order"]["back_to"] is not None)["seen"]["env_steps"]
    at = next(line["seen"]["env_steps"] for line in lines if line["updates"] == back["back_to"])
    assert sum(row["env_steps"] for row in mine) == inline["env_steps"] + fell - at


def test_whoever_plays_it_gets_its_best(place, inline):
    hydrahive, _ = place
    shown = json.loads(hydrahive("evaluate", "inline", "--json", "--episodes", 8).stdout)
    newest = json.loads(hydrahive("evaluate", "inline", "--json", "--episodes", 8, "--newest").stdout)
    assert shown["env_steps"] == inline["pilot"]["env_steps"]
    assert newest["env_steps"] == inline["env_steps"]
    assert hydrahive("digest", "inline").stdout.split()[0] == inline["digest"]


def test_a_finished_run_is_not_trained_again(place, inline):
    hydrahive, path = place
    before = (hydrahive.runs / "inline" / "pilot.jsonl").read_bytes()
    assert digests_of(hydrahive.train(str(path), "inline")) == digests_of(inline)
    assert (hydrahive.runs / "inline" / "pilot.jsonl").read_bytes() == before


def test_a_finished_run_is_trained_further_as_one_that_was_never_finished(place, inline):
    hydrahive, path = place
    options = ["--stop.env_steps", STEPS + 8_000]
    whole = hydrahive.train(str(path), "whole", *options)
    hydrahive.train(str(path), "longer")
    assert digests_of(hydrahive.train(str(path), "longer", *options)) == digests_of(whole)
    assert orders(hydrahive, "longer") == orders(hydrahive, "whole")
    assert hydrahive.summary("longer")["pilot"] == whole["pilot"]
    hydrahive("evaluate", "longer", "--episodes", 4)


def test_an_average_that_is_better_is_what_is_played(place, inline):
    hydrahive, _ = place
    shutil.copytree(hydrahive.runs / "inline", hydrahive.runs / "averaged")
    folder = RunFolder(hydrahive.runs / "averaged")
    numbers = [int(path.name) for path in (folder.path / "checkpoints").iterdir() if path.name.isdigit()][:2]
    learners = [folder.checkpoints().at(number).boundary.learner() for number in numbers]
    mean = averaged(learners)
    for name, array in mean.items():
        each = [learner[f"weights/{name}"] for learner in learners]
        assert np.allclose(array, (each[0] + each[1]) / 2)
    write_average(folder, mean)
    tell_best(folder, Validation(numbers[0], 7, 1.0, 0.1), of=numbers)
    shown = shown_checkpoint(folder)
    assert all(np.array_equal(shown.boundary.learner()[f"weights/{name}"], array) for name, array in mean.items())
    assert shown.digest != folder.checkpoints().at(numbers[0]).digest
    hydrahive("evaluate", "averaged", "--episodes", 4, "--trust-code")
    (folder.path / "average.safetensors").write_bytes(b"cut")
    said = hydrahive("evaluate", "averaged", "--episodes", 4, "--trust-code", code=2).stderr
    assert "--newest takes the newest" in said
    hydrahive("evaluate", "averaged", "--episodes", 4, "--trust-code", "--newest")


def test_a_log_that_was_altered_is_told(place, inline):
    hydrahive, path = place
    name = "altered"
    process = hydrahive.start_training(str(path), name)
    hydrahive.stop_at(process, name, 20_000, signal.SIGKILL)
    log = hydrahive.runs / name / "pilot.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    at = next(i for i, line in enumerate(lines) if line["seen"]["validation"])
    lines[at]["seen"]["validation"]["mean"] += 1e3
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    said = hydrahive("train", path, "--name", name, code=1).stderr
    assert "something else was decided" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--pilot.delay", 1, "--boundary_every", 1], "pilot.delay: 1 is not accepted; expected at least 2"),
        (["--schedule", "free-running"], "a pilot's decisions are part of what repeats"),
        (["--pilot.search.space", '{"algorithm.epochs": {"choice": [1, 2]}}'], "a range of numbers"),
        (["--pilot.search.space", '{"algorithm.normalize_rewards": {"uniform": [0, 1]}}'], "can change inside a run"),
        (["--pilot.search.space", '{"algorithm.gradient_norm": {"uniform": [1.5, 1.9]}}'], "the run's own value in it"),
        (["--pilot.search.space", '{"algorithm.gradient_norm": {"uniform": [-2, 1.9]}}'], "gradient_norm"),
        (["--changes", '[{"from_update": 4, "key": "algorithm.discount", "value": 0.9}]'], "none ahead of a pilot"),
        (["--pilot.search.space", "{}"], "at least one key"),
        (["--pilot.convergence.window", 2], "pilot.convergence.window"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(place, options, said):
    hydrahive, path = place
    err = hydrahive("train", path, "--name", "bad", *options, code=2).stderr
    assert said in err
    assert err.count("\n") == 1
    assert not (hydrahive.runs / "bad").exists()


def test_a_search_of_a_schedule_is_refused(place):
    hydrahive, path = place
    options = ["--algorithm.init_args.learning_rate", "{start: 1.0e-3, end: 0.0, env_steps: 1000}"]
    options += ["--pilot.search.space", '{"algorithm.learning_rate": {"log_uniform": [0.00001, 0.1]}}']
    err = hydrahive("train", path, "--name", "bad", *options, code=2).stderr
    assert "no schedule" in err


def test_a_process_that_ends_between_a_decision_and_its_segment(place, inline, monkeypatch):
    """The boundary at which it was decided is on the disk, so nobody comes past it again."""
    hydrahive, path = place
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "poison"))
    config = load_run_config(path, ["--checkpoint.every_boundaries=1"])
    folder = RunFolder(hydrahive.runs / "cut")
    request = Request(config, folder, runs=hydrahive.runs, quiet=True)
    begin = RunFolder.begin_segment

    def full(self, segment):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RunFolder, "begin_segment", full)
    with pytest.raises(HydrahiveError, match="No space left"):
        train(request)
    assert orders(hydrahive, "cut")[-1]["back_to"] is not None
    assert folder.segments() == []
    monkeypatch.setattr(RunFolder, "begin_segment", begin)
    assert digests_of(train(request).summary) == digests_of(inline)
    assert orders(hydrahive, "cut") == orders(hydrahive, "inline")


def test_what_a_loss_of_the_learner_leaves_is_the_same(place, inline, tmp_path: Path):
    """The learner is killed while decisions are under way; its successor follows what was decided."""
    hydrahive, path = place
    process = hydrahive.start_training(str(path), "bereft", "--workers", 2)
    metrics = hydrahive.runs / "bereft" / "metrics.jsonl"
    killed = False
    while process.poll() is None:
        rows = metrics.read_text().splitlines() if metrics.exists() else []
        if not killed and len(rows) > 80:
            found = subprocess.run(["pgrep", "-f", "ray::LearnerActor"], capture_output=True, text=True, check=False)
            pids = [int(pid) for pid in found.stdout.split() if str(process.pid) in _ancestors(int(pid))]
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
                killed = True
    assert killed
    assert process.returncode == 0
    assert digests_of(hydrahive.summary("bereft")) == digests_of(inline)
    assert orders(hydrahive, "bereft") == orders(hydrahive, "inline")
    assert "learner_lost" in events(hydrahive, "bereft")


def _ancestors(pid: int) -> list[str]:
    """Of a process, as texts; those that are gone end the list."""
    found: list[str] = []
    while pid > 1:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            break
        pid = int(stat[1])
        found.append(str(pid))
    return found
