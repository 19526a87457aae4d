"""A sweep's folder: what may not change, and what a crash may leave."""

import dataclasses
import json
import time
from pathlib import Path

import pytest
import yaml

from conftest import TINY, full_only
from hydrahive.core.errors import HydrahiveError, LedgerError, LostError, MachineClassError, UsageError
from hydrahive.pilot.space import Range
from hydrahive.tuning.config import Optuna, load_sweep
from hydrahive.tuning.folder import Ending, SweepFolder, append_line, read_lines
from hydrahive.tuning.search.sources import Estimated
from hydrahive.tuning.trials.trial import PUT_OFF, why_it_failed
from hydrahive.tuning.winner import winner_of

SWEEP = {
    "experiment": "snake/vtrace",
    "space": {"algorithm.learning_rate": {"log_uniform": [1e-4, 1e-2]}},
    "search": "RandomSearch",
}


@pytest.fixture
def begun(tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(SWEEP))
    config, folder = load_sweep(path), SweepFolder(tmp_path / "runs" / "s")
    folder.create(config, config.base())
    return config, folder


def test_another_sweep_of_its_name_is_refused(begun):
    config, folder = begun
    folder.create(config, config.base())
    folder.create(dataclasses.replace(config, cpus_per_trial=0.25, concurrent=3), config.base())
    with pytest.raises(UsageError, match="seed: sweep 's' was begun with 0, now 5 is given"):
        folder.create(dataclasses.replace(config, seed=5), config.base())


def test_an_experiment_that_was_edited_meanwhile_is_refused(begun):
    config, folder = begun
    with pytest.raises(UsageError, match="shards: sweep 's' was begun with 2, now 3 is given"):
        folder.create(config, dataclasses.replace(config.base(), shards=3))


def test_two_at_one_sweep_are_refused(begun):
    _, folder = begun
    with folder.claimed(), pytest.raises(UsageError, match="by another process"), folder.claimed():
        raise AssertionError


def test_without_a_winner_there_is_none_to_replay(begun):
    with pytest.raises(HydrahiveError, match="no winner yet"):
        winner_of(begun[1])


def test_how_a_trial_ended_stands(begun):
    _, folder = begun
    folder.end("trial-000", Ending("diverged", "the loss is nan", 2))
    folder.end("trial-000", Ending("done", "", 4))
    assert folder.ending("trial-000") == Ending("diverged", "the loss is nan", 2)


def test_a_line_that_a_crash_cut_short_was_never_written(tmp_path):
    path = tmp_path / "lines.jsonl"
    append_line(path, {"a": 1})
    path.write_text(path.read_text() + json.dumps({"a": 2})[:4])
    assert read_lines(path) == [{"a": 1}]
    append_line(path, {"a": 3})
    assert read_lines(path) == [{"a": 1}, {"a": 3}]


def test_a_sweep_keeps_out_of_a_runs_folder_and_a_run_out_of_a_sweeps(hydrahive):
    options = [*TINY, "--stop.env_steps", 2_000]
    hydrahive.train("snake/vtrace", "s", *options)
    assert "'s' is a run" in hydrahive("tune", "run", "sweeps/snake-pbt", "--name", "s", code=2).stderr
    assert not (hydrahive.runs / "s" / "sweep.yaml").exists()
    (hydrahive.runs / "t").mkdir()
    (hydrahive.runs / "t" / "sweep.yaml").touch()
    assert "'t' is a sweep" in hydrahive("train", "snake/vtrace", "--name", "t", *options, code=2).stderr


def test_a_study_cut_short_goes_on(tmp_path):
    path, domains = tmp_path / "study", {"a": Range(0.0, 1.0)}

    def study():
        return Estimated(Optuna(), 0, domains, path, most_is_best=True)

    first = study()
    values = [first.values(number) for number in range(3)]
    path.write_bytes(path.read_bytes()[:-7])
    again = study()
    assert [again.values(number) for number in range(3)] == values
    assert study().values(2) == values[2]


@pytest.mark.parametrize("error", [MachineClassError("another"), LedgerError("away"), LostError("gone")])
def test_what_is_not_the_trials_fault_is_no_ending(error):
    assert why_it_failed(error) == (PUT_OFF, str(error))


@full_only
def test_a_trial_of_another_machine_class_ends_the_sweep_and_stays_to_be_trained(hydrahive, tmp_path):
    path = tmp_path / "two.yaml"
    small = {"boundary_every": 2, "envs_per_shard": 8, "env.size": 10}
    path.write_text(
        yaml.safe_dump({**SWEEP, "fixed": small, "budget": {"trials": 1, "env_steps": 2_000, "milestones": 2}})
    )
    tune = ["tune", "run", path, "--name", "s", "--again.top", 0]
    hydrahive(*tune)
    trial = hydrahive.runs / "s" / "trial-000"
    (trial / "ending.json").unlink()
    told = (trial / "milestones.jsonl").read_text().splitlines()
    (trial / "milestones.jsonl").write_text(told[0] + "\n")
    whole = (trial / "run.json").read_text()
    run = json.loads(whole)
    (trial / "run.json").write_text(json.dumps({**run, "machine_class": "abacus"}))
    said = hydrahive(*tune, code=1).stderr
    assert "trial-000: the run was started on machine class abacus" in said
    assert "the same command goes on with the sweep" in said
    assert not (trial / "ending.json").exists()
    (trial / "run.json").write_text(whole)
    hydrahive(*tune)
    assert json.loads((trial / "ending.json").read_text())["status"] == "done"
    winner = hydrahive.runs / "s" / "winner.json"
    winner.write_text(winner.read_text()[:-9])
    assert "has no winner yet" in hydrahive("tune", "replay", "s", code=1).stderr


def test_a_lock_that_a_killed_process_left_keeps_nobody_waiting(tmp_path):
    path = tmp_path / "optuna.journal"
    domains = {"lr": Range(1e-4, 1e-2)}
    Estimated(Optuna(), 0, domains, path, most_is_best=True).values(0)
    Path(f"{path}.lock").symlink_to(path)
    began = time.monotonic()
    assert Estimated(Optuna(), 0, domains, path, most_is_best=True).values(0)["lr"] > 0
    assert time.monotonic() - began < 20, "Optuna itself waits for half a minute"
