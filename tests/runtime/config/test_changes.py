"""Changes inside a run are in force from the very update that they name, whoever computes it."""

import dataclasses
import json
import signal

import numpy as np
import pytest

from conftest import FULL, ROOT, digests_of
from hydrahive.core.errors import ConfigError, UsageError
from hydrahive.runtime.config.changes import algorithms, value_of, with_values
from hydrahive.runtime.config.parsing import load_run_config
from hydrahive.runtime.config.plain import dump
from hydrahive.runtime.config.run_config import Change
from hydrahive.runtime.fleet.inline import InlineFleet
from hydrahive.runtime.roles.learner import Learner
from hydrahive.runtime.schedule.schedules import schedule_of

SNAKE = ROOT / "experiments" / "snake" / "vtrace.yaml"
SMALL = ["--env.size=6", "--env.window=5", "--policy.encoder.hidden=[16]", "--envs_per_shard=6", "--fragment_length=8"]
SMALL += ["--boundary_every=4", "--stop.updates=12", "--algorithm.normalize_rewards=true"]
OTHER = {"learning_rate": 2e-3, "entropy_cost": 0.05, "discount": 0.8, "gradient_norm": 0.01, "value_cost": 2.0}
OTHER |= {"epochs": 2, "minibatches": 3, "policy_clip": 1e-3, "normalize_advantages": True}


def weights_after(config, updates):
    fleet = InlineFleet(config, "run", "cpu")
    done = [fleet.get(update.weights).copy() for update in schedule_of(config, fleet, None).updates()]
    return done[updates - 1]


@pytest.mark.parametrize("key", OTHER)
def test_a_change_is_in_force_in_the_first_update_that_it_names(key):
    config = load_run_config(SNAKE, SMALL)
    changed = dataclasses.replace(config, changes=[Change(4, f"algorithm.{key}", OTHER[key])])
    np.testing.assert_array_equal(weights_after(changed, 4), weights_after(config, 4))
    assert not np.array_equal(weights_after(changed, 5), weights_after(config, 5))


def test_what_comes_of_it_is_what_a_learner_makes_that_never_knew_other_values():
    config = load_run_config(SNAKE, SMALL)
    changes = [Change(4, f"algorithm.{key}", value) for key, value in OTHER.items()]
    changed = dataclasses.replace(config, changes=changes)
    fleet = InlineFleet(changed, "run", "cpu")
    seen = []
    update = fleet.update

    def watched(version, parts, leased, sample, **options):
        seen.append((fleet.get(fleet.learner_state()), list(parts)))
        return update(version, parts, leased, sample, **options)

    fleet.update = watched
    weights = [fleet.get(done.weights).copy() for done in schedule_of(changed, fleet, None).updates()]
    state, parts = seen[4]
    fresh = Learner(with_values(config, {f"algorithm.{key}": value for key, value in OTHER.items()}), "cpu")
    fresh.restore({name: array.copy() for name, array in state.items()})
    np.testing.assert_array_equal(fresh.update(4, (), None, *parts)[0], weights[4])


def test_a_learner_that_follows_another_config_makes_its_next_update_with_it():
    config = load_run_config(SNAKE, SMALL)
    fleet, told = InlineFleet(config, "run", "cpu"), []
    updates = schedule_of(config, fleet, None).updates()
    for update in updates:
        told.append(update.metrics)
        if update.progress.updates == 6:
            fleet.follow(with_values(config, {"algorithm.learning_rate": 5e-4, "algorithm.discount": 0.5}))
    assert {row["discount"] for row in told[:6]} == {config.algorithm.discount}
    assert {row["discount"] for row in told[6:]} == {0.5}
    assert {row["learning_rate"] for row in told[6:]} == {5e-4}


def test_a_changed_run_keeps_its_digest_on_workers_and_when_killed(hydrahive, tmp_path):
    config = load_run_config(SNAKE, ["--stop.updates=40", "--boundary_every=5", "--env.size=8", "--env.window=5"])
    changes = [Change(10, "algorithm.learning_rate", 3e-3), Change(20, "algorithm.learning_rate", 1e-4)]
    changes += [Change(10, "algorithm.epochs", 2), Change(20, "algorithm.policy_clip", 0.1)]
    path = tmp_path / "changed.yaml"
    path.write_text(dump(dataclasses.replace(config, changes=changes, workers=0, recording=False)))
    options = ["--checkpoint.every_boundaries", 1, "--metrics_every", 1]
    inline = hydrahive.train(path, "inline", *options)
    assert inline["updates"] == 40
    killed = hydrahive.start_training(path, "killed", *options)
    hydrahive.stop_at(killed, "killed", 15 * inline["env_steps"] // 40, signal.SIGKILL)
    assert digests_of(hydrahive.train(path, "killed", *options, "--workers", 2 if FULL else 0)) == digests_of(inline)
    assert hydrahive.train(path, "plain", *options, "--changes", "[]")["digest"] != inline["digest"]


def test_a_resumed_run_takes_changes_that_lie_ahead_of_it(hydrahive):
    small = ["--env.size", 8, "--env.window", 5, "--boundary_every", 5, "--workers", 0]
    changes = json.dumps([{"from_update": 10, "key": "algorithm.learning_rate", "value": 3e-3}])
    whole = hydrahive.train(SNAKE, "whole", *small, "--stop.updates", 20, "--changes", changes)
    hydrahive.train(SNAKE, "later", *small, "--stop.updates", 10)
    later = hydrahive.train(SNAKE, "later", *small, "--stop.updates", 20, "--changes", changes)
    assert digests_of(later) == digests_of(whole)
    options = ["--name", "later", "--recording", "false", *small, "--stop.updates", 30]
    refused = hydrahive("train", SNAKE, *options, code=2).stderr
    assert "changes" in refused
    assert refused.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (Change(4, "algorithm.optimizer", "rmsprop"), "algorithm.learning_rate"),
        (Change(4, "seed", 3), "changes"),
        (Change(4, "algorithm.learning_rte", 3), "algorithm.learning_rate"),
        (Change(4, "algorithm.discount", 1.5), "algorithm.init_args.discount"),
        (Change(4, "algorithm.epochs", 2.5), "algorithm.init_args.epochs"),
        (Change(4, "algorithm.epochs", 2.0), "algorithm.init_args.epochs"),
        (Change(4, "algorithm.normalize_advantages", "false"), "algorithm.init_args.normalize_advantages"),
    ],
)
def test_what_cannot_change_is_refused(change, says):
    config = load_run_config(SNAKE, SMALL)
    with pytest.raises(ConfigError, match=says):
        algorithms(dataclasses.replace(config, changes=[change]))


def test_a_change_lies_at_a_boundary():
    with pytest.raises(ConfigError, match="a multiple of 4"):
        dataclasses.replace(load_run_config(SNAKE, SMALL), changes=[Change(3, "algorithm.discount", 0.9)])


def test_values_are_found_by_short_keys_and_lines_by_their_parts():
    config = load_run_config(SNAKE, ["--algorithm.learning_rate", "{start: 0.1, end: 0.0, env_steps: 10}"])
    assert value_of(config, "algorithm.learning_rate.start") == 0.1
    assert value_of(with_values(config, {"env.size": 12}), "env.init_args.size") == 12
    with pytest.raises(UsageError, match=r"unknown key; nearest: .*env\.size"):
        value_of(config, "env.sise")
