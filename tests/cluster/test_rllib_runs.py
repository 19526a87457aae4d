"""Runs that RLlib trains, as their users see them: killed and resumed, evaluated, paid, bred."""

from __future__ import annotations

import json
import os
import signal
import time

import psutil
import pytest
import yaml

from conftest import FULL, ROOT, full_only, wait_for
from hydrahive.runtime.runs.checkpoints import read_checkpoint
from hydrahive.telemetry.jsonl import read_rows

KEYS = {
    "num_envs_per_env_runner": 4,
    "train_batch_size_per_learner": 500,
    "minibatch_size": 100,
    "num_epochs": 2,
    "lr": [[0, 1.0e-3], [10_000, 0.0]],
    "env_to_module_connector": ["MeanStdFilter"],
    "model_config": {"fcnet_hiddens": [32]},
}
RUN = {
    "env": {"class_path": "Gym", "init_args": {"id": "CartPole-v1"}},
    "algorithm": {"class_path": "Rllib", "init_args": {"name": "PPO", "config": KEYS}},
    "checkpoint": {"every_boundaries": 1},
    "stop": {"env_steps": 5_000},
    "look": "none",
}
LIFETIME = "rllib/env_runners/num_env_steps_sampled_lifetime"


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(RUN))
    return path


def rows_of(hydrahive, name):
    return [row for row in read_rows(hydrahive.runs / name / "metrics.jsonl") if LIFETIME in row]


def events_of(hydrahive, name):
    return [json.loads(line) for line in (hydrahive.runs / name / "events.jsonl").read_text().splitlines()]


def end_with_children(process):
    """As a machine that is switched off: the driver and whatever it had started, the driver first."""
    children = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(1)
    for child in children:
        try:
            child.kill()
        except psutil.NoSuchProcess:
            continue


def test_killed_and_resumed_all_goes_on_where_it_stood(hydrahive, config):
    process = hydrahive.start_training(config, "r", "--workers", 2)
    wait_for(lambda: len(rows_of(hydrahive, "r")) >= 2, 120)
    runner = next(one for one in psutil.process_iter(["cmdline"]) if _is_runner(one, process))
    runner.kill()
    wait_for(lambda: any(event["kind"] == "env_runner_lost" for event in events_of(hydrahive, "r")), 60)
    wait_for(lambda: len(rows_of(hydrahive, "r")) >= 5, 120)
    end_with_children(process)
    newest = max(path for path in (hydrahive.runs / "r" / "checkpoints").iterdir() if path.name.isdigit())
    manifest = json.loads((newest / "manifest.json").read_text())
    assert (newest / "rllib" / "rllib_checkpoint.json").is_file()
    at = manifest["progress"]["env_steps"]
    before = json.loads(hydrahive("evaluate", "r", "--episodes", 20, "--json").stdout)
    again = hydrahive("evaluate", "r", "--episodes", 20, "--json").stdout
    assert json.loads(again) == before

    summary = hydrahive.train(config, "r", "--workers", 2)
    rows = rows_of(hydrahive, "r")
    assert [row["updates"] for row in rows] == list(range(1, len(rows) + 1))
    for row in rows:
        assert row["env_steps"] == row[LIFETIME]
        assert row["learning_rate"] == pytest.approx(1e-3 * (1 - row["env_steps"] / 10_000), rel=1e-6)
        assert row["rllib/training_iteration"] == row["updates"]
    resumed = next(event for event in events_of(hydrahive, "r") if event["kind"] == "resumed")
    assert f"{at:,}" in resumed["text"]
    assert "not reproducible" in resumed["text"]
    assert (summary["schedule"], summary["reproducible"]) == ("rllib", False)
    assert summary["env_steps"] >= 5_000
    # Paid as it was counted, once, and with a code of its own.
    assert summary["ledger"]["credited_env_steps"] == summary["env_steps"]
    assert summary["ledger"]["conservation_difference"] == 0
    journal = hydrahive("ledger", "journal").stdout
    assert " reported " in journal
    assert " work " not in journal
    assert "paid and conserved" in hydrahive("ledger", "verify").stdout
    after = json.loads(hydrahive("evaluate", "r", "--episodes", 20, "--json").stdout)
    assert after["mean"] >= 0.5 * before["mean"]


def _is_runner(one, process):
    line = " ".join(one.info["cmdline"] or [])
    return line.startswith("ray::EnvRunner") and process.pid in [parent.pid for parent in one.parents()]


def test_pause_stop_play_export_and_a_damaged_checkpoint(hydrahive, config, tmp_path):
    process = hydrahive.start_training(config, "p", "--workers", 0, "--stop.env_steps", 1_000_000)
    wait_for(lambda: len(rows_of(hydrahive, "p")) >= 2, 120)
    hydrahive("pause", "p")
    paused = len(rows_of(hydrahive, "p"))
    time.sleep(2)
    assert len(rows_of(hydrahive, "p")) == paused
    hydrahive("continue", "p")
    wait_for(lambda: len(rows_of(hydrahive, "p")) > paused, 60)
    hydrahive("stop", "p")
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert hydrahive("play", "p", "--out", tmp_path / "game.gif", "--max-frames", 20).returncode == 0
    out = tmp_path / "exported"
    hydrahive("export", "p", "--out", out)
    facts = json.loads((out / "policy.json").read_text())
    assert facts["tried"] == 1_000
    newest = max(path for path in (hydrahive.runs / "p" / "checkpoints").iterdir() if path.name.isdigit())
    state = newest / "rllib" / "algorithm_state.pkl"
    state.write_bytes(state.read_bytes()[:-1])
    process = hydrahive.start_training(config, "p", "--workers", 0, "--stop.env_steps", 1_000_000)
    passed_over = [event for event in events_of(hydrahive, "p") if event["kind"] == "checkpoint_passed_over"]
    wait_for(lambda: passed_over or any(e["kind"] == "checkpoint_passed_over" for e in events_of(hydrahive, "p")), 120)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    text = next(e["text"] for e in events_of(hydrahive, "p") if e["kind"] == "checkpoint_passed_over")
    assert "rllib/algorithm_state.pkl is truncated or altered" in text


def test_rllibs_own_process_is_lost(hydrahive, config):
    process = hydrahive.start_training(config, "h", "--workers", 0)
    wait_for(lambda: len(rows_of(hydrahive, "h")) >= 3, 120)
    hosts = [
        one for one in psutil.process_iter(["cmdline"]) if " ".join(one.info["cmdline"] or []).startswith("ray::Host")
    ]
    next(one for one in hosts if process.pid in [parent.pid for parent in one.parents()]).kill()
    process.communicate(timeout=200)
    assert process.returncode == 0
    kinds = [event["kind"] for event in events_of(hydrahive, "h")]
    assert kinds.index("learner_lost") < kinds.index("recovering") < kinds.index("finished")
    rows = rows_of(hydrahive, "h")
    assert [row["updates"] for row in rows] == list(range(1, len(rows) + 1))
    assert all(row["env_steps"] == row[LIFETIME] for row in rows)


def test_others_pickles_are_not_read(hydrahive, config, monkeypatch, tmp_path):
    hydrahive.train(config, "o", "--workers", 0, "--stop.env_steps", 500)
    elsewhere = {"XDG_CONFIG_HOME": str(tmp_path / "another-user")}
    stranger = type(hydrahive)(hydrahive.runs, elsewhere)
    refused = stranger("train", config, "--name", "o", "--workers", 0, "--stop.env_steps", 1_000, code=2)
    assert "RLlib's checkpoints may run any code" in refused.stderr
    assert "\n" not in refused.stderr.strip()
    stranger("evaluate", "o", "--episodes", 4)  # which reads arrays alone


def test_values_that_do_not_go_together_are_refused_before_anything_starts(hydrahive, config):
    refused = hydrahive("train", config, "--name", "x", "--algorithm.config.minibatch_size", 900, code=2)
    assert "does not take these values together" in refused.stderr
    assert not (hydrahive.runs / "x" / "checkpoints").exists()


def test_what_population_based_training_mutates_holds(hydrahive, config, tmp_path):
    """Ray#62173: the donor's learning rate comes with its optimizer, and must not stay."""
    keys = {**KEYS, "lr": 1.0e-3}
    experiment = tmp_path / "bred.yaml"
    experiment.write_text(yaml.safe_dump({**RUN, "algorithm": {"class_path": "Rllib", "init_args": {"config": keys}}}))
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(
        yaml.safe_dump(
            {
                "experiment": str(experiment),
                "space": {
                    "algorithm.config.lr": {"log_uniform": [1.0e-4, 1.0e-2]},
                    "algorithm.config.gamma": {"uniform": [0.9, 0.999]},
                },
                "search": "RandomSearch",
                "scheduler": {"class_path": "Pbt", "init_args": {"quantile": 0.5, "resample": 1.0}},
                "budget": {"trials": 2, "env_steps": 2_000, "milestones": 2},
                "again": {"top": 0},
            }
        )
    )
    hydrahive("tune", "run", sweep, "--name", "s")
    changes = [json.loads(line) for path in (hydrahive.runs / "s").glob("*/config_changes.jsonl")
               for line in path.read_text().splitlines()]  # fmt: skip
    assert {change["key"] for change in changes} == {"algorithm.config.lr", "algorithm.config.gamma"}
    (path,) = (hydrahive.runs / "s").glob("*/config_changes.jsonl")
    rate = next(change for change in changes if change["key"] == "algorithm.config.lr")
    rows = [row for row in read_rows(path.parent / "metrics.jsonl") if LIFETIME in row]
    held = [row["learning_rate"] for row in rows if row["updates"] > rate["from_update"]]
    assert held == [pytest.approx(rate["value"])] * len(held)
    assert held


@full_only
@pytest.mark.parametrize(
    ("name", "mark"),
    [("cartpole-ppo", 450), ("cartpole-dqn", 450), ("pendulum-sac", -250), ("snake-appo", 20)],
)
def test_rllibs_own_criteria(hydrahive, report, name, mark):
    assert FULL
    summary = hydrahive.train(str(ROOT / "experiments" / "rllib" / f"{name}.yaml"), name)
    evaluations = [row for row in read_rows(hydrahive.runs / name / "metrics.jsonl") if "evaluation_mean" in row]
    best = max(evaluations, key=lambda row: row["evaluation_mean"])
    first = next((row for row in evaluations if row["evaluation_mean"] >= mark), None)
    assert first is not None, best["evaluation_mean"]
    report.add(
        "RLlib's algorithms as runs",
        f"{name}: a greedy mean of {mark} after {first['env_steps']:,} env steps and {first['seconds']:.0f} s, at best "
        f"{best['evaluation_mean']:.1f}; {summary['env_steps']:,} env steps in {summary['seconds']:.0f} s",
    )


def test_a_checkpoint_of_rllibs_own_is_inside(hydrahive, config):
    hydrahive.train(config, "c", "--workers", 0, "--stop.env_steps", 500)
    (path,) = [one for one in (hydrahive.runs / "c" / "checkpoints").iterdir() if one.name.isdigit()]
    boundary = read_checkpoint(path).boundary
    names = [name for name in boundary.state if name.startswith("learner/rllib/")]
    assert "learner/rllib/learner_group/learner/state.pkl" in names
    assert boundary.resumable
