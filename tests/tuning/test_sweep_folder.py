"""A sweep's folder: what may not change, and what a crash may leave."""

import dataclasses
import json

import pytest
import yaml

from hydrahive.core.errors import HydrahiveError, UsageError
from hydrahive.tuning.config import load_sweep
from hydrahive.tuning.folder import Ending, SweepFolder, append_line, read_lines
from hydrahive.tuning.sweep import winner_of

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
