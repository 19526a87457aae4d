"""An algorithm in a module of the user's is as good as ours: one file, no other touched."""

import json
import signal

import pytest

from conftest import FULL, ROOT, digests_of

OPTIONS = ["--algorithm", '{"class_path": "outsider.OneStepActorCritic", "init_args": {"learning_rate": 0.005}}']
OPTIONS += ["--fragment_length", 8, "--metrics_every", 1, "--checkpoint.every_boundaries", 1]


@pytest.fixture
def mine(hydrahive):
    hydrahive.environment["PYTHONPATH"] = str(ROOT / "tests" / "games")
    return hydrahive


def test_it_learns_and_tells_its_figures(mine):
    mine.train("cartpole/ppo", "a", *OPTIONS, "--stop.env_steps", 40_000)
    rows = [json.loads(line) for line in (mine.runs / "a" / "metrics.jsonl").read_text().splitlines()]
    assert {"loss", "policy_loss", "value_loss", "entropy"} <= rows[-1].keys()
    early, late = (rows[place]["score_mean"] for place in (len(rows) // 20, -1))
    assert late > 4 * early


def test_its_bytes_are_the_same_on_a_worker_and_after_a_kill(mine):
    options = [*OPTIONS, "--boundary_every", 20, "--shards", 2, "--stop.env_steps", 8_000]
    inline = digests_of(mine.train("cartpole/ppo", "inline", *options, "--workers", 0))
    killed = mine.start_training("cartpole/ppo", "killed", *options, "--workers", 0)
    mine.stop_at(killed, "killed", 4_000, signal.SIGKILL)
    assert digests_of(mine.train("cartpole/ppo", "killed", *options, "--workers", int(FULL))) == inline


def test_it_is_refused_and_changed_as_ours_are(mine):
    wrong = mine("train", "cartpole/ppo", *OPTIONS, "--algorithm.discount", 2, code=2)
    assert "algorithm.init_args.discount: 2.0 is not accepted" in wrong.stderr
    replay = ["--replay", '{"class_path": "Uniform"}']
    assert "replay" in mine("train", "cartpole/ppo", *OPTIONS, *replay, code=2).stderr
    change = ["--changes", '[{"from_update": 25, "key": "algorithm.network_maker", "value": 1}]']
    refused = mine("train", "cartpole/ppo", *OPTIONS, *change, code=2).stderr
    assert "algorithm.discount, algorithm.entropy_cost, algorithm.learning_rate" in refused
