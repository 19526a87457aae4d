"""Curiosity: what is new is rewarded, in training only."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from conftest import ROOT, full_only
from hydrahive.algorithms.base.rule import Computing, Round
from hydrahive.algorithms.config import Rnd
from hydrahive.algorithms.rnd import Curiosity
from hydrahive.policies.config import Conv, Mlp
from hydrahive.runtime.config.parsing import load_run_config
from hydrahive.runtime.config.shipped import find_config
from hydrahive.runtime.roles.env_worker import EnvWorker, build_network
from hydrahive.runtime.roles.replay import Replay

CPU = Computing(torch.device("cpu"), slices=2)


def acted(*options, rounds=4):
    """A config, its rounds of fragments and summaries, and what its replay gives with the last of them."""
    path, _ = find_config("cartpole/ppo")
    config = load_run_config(path, ["--shards", "2", "--fragment_length", "32", *options])
    worker = EnvWorker(config, "run")
    for shard in range(2):
        worker.adopt(shard, None)
    weights = build_network(config, torch.Generator().manual_seed(1))
    flat = torch.cat([weight.flatten() for weight in weights.parameters()])  # only its size is right, which is enough
    vector = np.zeros(len(worker._weights.vector), np.float32)
    vector[: len(flat)] = flat[: len(vector)].detach()
    told = [worker.simulate([0, 1], round_, 0, vector) for round_ in range(rounds)]
    replay, sample = (Replay(config), None) if config.replay else (None, None)
    for round_, (fragments, summaries) in enumerate(told):
        if replay:
            sample, _ = replay.take(round_, None, fragments, summaries)
    return config, told, sample


def curiosity_of(config, **options):
    space = spaces.Box(-np.inf, np.inf, (4,), np.float32)
    return Curiosity(Rnd(**options), config.policy.encoder, space, CPU, seed=1)


def test_what_was_seen_often_is_new_no_more():
    config, told, _ = acted()
    curious = curiosity_of(config, learning_rate=1e-3, gradient_steps=4)
    strange = np.full((1, 50, 4), 8.0, np.float32)
    familiar = []
    for i in range(60):
        fragments, _ = told[i % len(told)]
        _, figures = curious.added(Round(fragments, None, 0))
        familiar.append(figures["novelty"])
    assert familiar[-1] < familiar[0] / 10
    assert curious.novelty(strange).mean() > 10 * familiar[-1]


def test_rewards_are_those_of_the_environment_and_what_is_new():
    config, told, _ = acted()
    fragments, _ = told[0]
    curious = curiosity_of(config, bonus=0.5)
    rewarded, _ = curious.added(Round(fragments, None, 0))
    for before, after in zip(fragments, rewarded.fragments, strict=True):
        bonus = after.rewards - before.rewards
        assert (bonus[before.terminated] == 0).all(), "an end is nothing new"
        assert (bonus[before.valid & ~before.terminated] > 0).all()
        np.testing.assert_array_equal(before.observations, after.observations)
    nothing, _ = curiosity_of(config, bonus=0.0).added(Round(fragments, None, 0))
    np.testing.assert_array_equal(nothing.fragments[0].rewards, fragments[0].rewards)


@pytest.mark.parametrize("algorithm", ["DQN", "AthQ"])
def test_replayed_steps_are_rewarded_for_where_they_led(algorithm):
    options = ["--algorithm", algorithm, "--replay", "Uniform" if algorithm == "AthQ" else "Rows"]
    options += ["--algorithm.warm_up", "64", "--algorithm.n_step", "3"] if algorithm == "DQN" else []
    config, told, sample = acted(*options)
    curious = curiosity_of(config, bonus=1.0)
    rewarded, _ = curious.added(Round(told[-1][0], sample, 0))
    drawn = [*sample.batches, *sample.transitions]
    assert drawn
    for before, after in zip(drawn, [*rewarded.sample.batches, *rewarded.sample.transitions], strict=True):
        bonus = after.rewards - before.rewards
        assert (bonus >= 0).all()
        if algorithm == "DQN":
            np.testing.assert_array_equal((bonus > 0).sum(0), ~before.terminated)
            last = bonus[before.steps - 1, np.arange(len(before.steps))]
            np.testing.assert_array_equal(last > 0, ~before.terminated)
        else:
            np.testing.assert_array_equal(bonus > 0, before.valid & ~before.terminated)


def test_it_goes_on_from_its_state():
    config, told, _ = acted()
    one, other = curiosity_of(config), curiosity_of(config)
    for fragments, _ in told[:2]:
        one.added(Round(fragments, None, 0))
    other.restore(one.state())
    for fragments, _ in told[2:]:
        rewards = [curious.added(Round(fragments, None, 0))[0].fragments[1].rewards for curious in (one, other)]
        np.testing.assert_array_equal(*rewards)
    for name, array in one.state().items():
        np.testing.assert_array_equal(array, other.state()[name], err_msg=name)


def test_pictures_are_looked_at_through_the_policys_kind_of_encoder():
    space = spaces.Box(0, 255, (3, 12, 12), np.uint8)
    curious = Curiosity(Rnd(features=8), Conv([4], [2], 16), space, CPU, seed=1)
    seen = np.random.default_rng(0).integers(0, 256, (5, 2, 3, 12, 12), dtype=np.uint8)
    assert curious.novelty(seen).shape == (5, 2)
    assert np.isfinite(curious.novelty(seen)).all()


@full_only
def test_who_is_curious_finds_what_chance_does_not(hydrahive):
    hydrahive.environment["PYTHONPATH"] = str(ROOT / "tests" / "games")
    options = ["--env.id", "games:Lock-v0", "--algorithm", "DQN", "--algorithm.learning_rate", 1e-3]
    options += ["--algorithm.warm_up", 500, "--stop.env_steps", 60_000, "--stop.score_mean", 0.02]
    curious = ["--curiosity.bonus", 0.3, "--curiosity.learning_rate", 1e-3]
    best = hydrahive.train("cartpole/ppo", "curious", *options, *curious)["score_max"]
    assert best == 1.0, "scores are the environment's"
    assert hydrahive.train("cartpole/ppo", "dull", *options, "--stop.env_steps", 12_000)["score_max"] == 0.0


def test_bad_values_are_refused(hydrahive):
    refused = hydrahive("train", "cartpole/ppo", "--curiosity.bonus", -1, code=2)
    assert "curiosity.bonus: -1.0 is not accepted" in refused.stderr
    with pytest.raises(Exception, match="curiosity"):
        Curiosity(Rnd(), Mlp([4]), spaces.Discrete(3), CPU, seed=1)
