"""What is counted, and how sure it is."""

import numpy as np
import pytest
import torch

from conftest import ROOT
from hydrahive.core.errors import HydrahiveError
from hydrahive.envs.atari.config import Atari
from hydrahive.envs.gym.config import Gym
from hydrahive.envs.pettingzoo.config import PettingZoo
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.roles import evaluation
from hydrahive.runtime.roles.env_worker import build_network
from hydrahive.runtime.roles.evaluation import Evaluation, Opponent, evaluate

PEERS = {"wanted": ["agent_[0-3]"], "others": ["agent_[4-6]"]}


@pytest.fixture(autouse=True)
def games_at_hand(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "games"))


def evaluated(config, episodes, against=None):
    network = build_network(config, torch.Generator())
    return evaluate(config, network, episodes, None if against is None else Opponent(config, against[0]))


def crowd(agents, **options):
    return RunConfig(env=PettingZoo("crowd", kwargs={"agents": agents, **options}), envs_per_shard=agents)


def alone(scores):
    count = len(scores)
    return Evaluation(np.asarray(scores), np.ones(count, np.int64), np.arange(count))


def test_agents_of_one_world_are_no_witnesses_of_their_own():
    """Four agents who share every reward are as good as one: the interval is that of the games, not half as wide."""
    found = evaluated(crowd(4), 400)
    assert len(set(found.games)) == 100
    by_game = [found.scores[found.games == game] for game in sorted(set(found.games))]
    assert all(len(set(scores)) == 1 for scores in by_game), "they share their luck"
    figures, games = found.summary(), alone([scores[0] for scores in by_game]).summary()
    for name in ("mean", "mean_low", "mean_high"):
        assert figures[name] == pytest.approx(games[name])


def test_a_game_played_out_by_some_counts_as_what_they_scored():
    scores, games = np.array([1.0, 1.0, 1.0, 4.0]), np.array([0, 0, 0, 1])
    figures = Evaluation(scores, np.ones(4, np.int64), games).summary()
    assert figures["mean"] == 1.75
    assert (figures["mean_low"], figures["mean_high"]) == (1.0, 4.0)


def test_resampling_takes_little_memory_and_does_not_depend_on_how_much(monkeypatch):
    scores = np.random.default_rng(1).normal(size=101)
    at_once = alone(scores).summary()
    monkeypatch.setattr(evaluation, "RESAMPLED_AT_ONCE", 1000)
    assert alone(scores).summary() == at_once


@pytest.mark.parametrize("agents", [2, 7, 12])
def test_every_agent_has_its_turn_against_others(agents):
    opponent = Opponent(crowd(agents), None)
    mine = ~opponent.is_his.reshape(-1, agents)
    assert (mine.sum(axis=1) == 1).all()
    assert mine.any(axis=0).all()
    assert len(evaluated(crowd(agents), 5, against=[None]).scores) == 5


def test_nobody_to_be_counted_is_told_in_a_line():
    """Of one agent a world who is not there yet."""
    with pytest.raises(HydrahiveError, match="nobody whose episodes count"):
        evaluated(crowd(1, late=True), 3)


def test_declared_lengths_are_waited_for():
    assert Atari("pong", frame_skip=1).longest_episode > 108_000
    assert Gym("CartPole-v1").longest_episode == 500
    assert Gym("CartPole-v1", kwargs={"max_episode_steps": 300_000}).longest_episode == 300_000


def test_an_environment_that_fails_is_told_in_a_line():
    with pytest.raises(HydrahiveError, match=r"RuntimeError: one too many.*odd\.py"):
        evaluated(RunConfig(env=Gym("odd:Lonely-v0")), 3)


def test_a_failed_evaluation_ends_no_run(hydrahive):
    hydrahive.environment["PYTHONPATH"] = str(ROOT / "tests" / "games")
    options = ["--env.id", "odd:Lonely-v0", "--shards", 1, "--envs_per_shard", 4, "--workers", 0]
    hydrahive.train("cartpole/vtrace", "a", *options, "--stop.env_steps", 1000, "--evaluate_every", 2)
    events = (hydrahive.runs / "a" / "events.jsonl").read_text()
    assert "evaluation_lost" in events
    assert "one too many" in events
    error = hydrahive("evaluate", "a", code=1).stderr
    assert error.count("\n") == 1
    assert "one too many" in error
