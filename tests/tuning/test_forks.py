"""Forks: where a pilot ends a trial to be forked, its best boundary goes on with perturbed values."""

from __future__ import annotations

import json

import pytest
import yaml

from conftest import digests_of

RUN = {
    "env": {"class_path": "Gym", "init_args": {"id": "CartPole-v1"}},
    "shards": 1,
    "envs_per_shard": 8,
    "fragment_length": 16,
    "lag": 0,
    "precision": "highest",
    "boundary_every": 2,
    "policy": {"encoder": {"class_path": "Mlp", "init_args": {"hidden": [16]}}},
    "algorithm": {"class_path": "PPO", "init_args": {"learning_rate": 1.0e-6}},
    "look": "none",
    "workers": 0,
    "pilot": {
        "every": 1,
        "episodes": 8,
        "guards": None,
        "rollback": None,
        "search": {"space": {"algorithm.learning_rate": {"log_uniform": [1.0e-7, 1.0e-2]}}},
        "convergence": {"cooling": 1, "dormant": 3, "earliest": 5, "widest": 1},
        "dormant": {"gap": 100, "gap_slope": 100, "slope": 10},
    },
}


@pytest.fixture
def experiment(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(RUN))
    return path


def test_forks_follow_and_repeat(tune, hydrahive, experiment):
    sweep = {
        "experiment": str(experiment),
        "space": {"algorithm.discount": {"choice": [0.9, 0.99]}},
        "search": {"class_path": "GridSearch"},
        "budget": {"trials": 2, "env_steps": 12_000, "milestones": 2},
        "metric": "validation_best",
        "forks": 3,
        "again": {"top": 0},
        "cpus_per_trial": 0.5,
    }
    folder = tune("forks", sweep)
    summaries = [json.loads((folder / f"trial-{n:03d}" / "summary.json").read_text()) for n in range(5)]
    assert [one["pilot"]["ends"] for one in summaries[:2]] == ["spawn", "spawn"]
    assert not (folder / "trial-005").exists()
    for number, donor in ((2, 0), (3, 1), (4, 2)):
        config = yaml.safe_load((folder / f"trial-{number:03d}" / "config.yaml").read_text())
        at, values = summaries[donor]["pilot"]["updates"], summaries[donor]["pilot"]["fork"]
        assert {change["key"]: change["value"] for change in config["changes"] if change["from_update"] == at} == values
        first = json.loads((folder / f"trial-{number:03d}" / "metrics.jsonl").read_text().splitlines()[0])
        assert first["updates"] > at
    scratch = hydrahive.train(str(folder / "trial-004" / "piloted.yaml"), "scratch")
    assert digests_of(scratch) == digests_of(summaries[4])
    winner = json.loads((folder / "winner.json").read_text())
    assert winner["score"] == max(one["pilot"]["mean"] for one in summaries)
    # the same sweep again is done already
    before = (folder / "trial-004" / "metrics.jsonl").read_bytes()
    tune("forks", sweep)
    assert (folder / "trial-004" / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"forks": 2, "fixed": {"pilot": None}}, "forks: 2 is not accepted"),
        ({"forks": -1}, "forks: -1"),
        ({"scheduler": {"class_path": "Pbt"}, "search": {"class_path": "RandomSearch"}}, "both change values"),
        ({"metric": "validation_men"}, "validation_mean"),
    ],
)
def test_bad_input_is_one_line(hydrahive, experiment, tmp_path, change, said):
    space = {"algorithm.discount": {"uniform": [0.9, 0.99]}}
    sweep = {"experiment": str(experiment), "space": space, "budget": {"trials": 2, "env_steps": 9_000}, **change}
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump(sweep))
    err = hydrahive("tune", "run", path, code=2).stderr
    assert said in err
    assert err.count("\n") == 1
