"""Scaling is measured with the real Trainer and real books, over workers that only wait."""

import json
from dataclasses import replace

import pytest

from hydrahive.bench.scale.costs import Costs
from hydrahive.bench.scale.points import bench_scale
from hydrahive.bench.scale.report import Point, knee, limits, scale_text
from hydrahive.core.errors import UsageError
from hydrahive.runtime.config.parsing import load_run_config
from hydrahive.runtime.config.shipped import find_config

SMALL = ["--env.size", "8", "--env.window", "5", "--shards", "1", "--envs_per_shard", "32", "--workers", "1"]
SMALL += ["--policy.encoder.hidden", "[32]"]


def small(*options):
    return load_run_config(find_config("snake/vtrace")[0], [*SMALL, *options])


@pytest.fixture(scope="module")
def report():
    return bench_scale(small(), [1, 4], 1, lambda line: None)


def test_every_fragment_is_paid_and_shares_are_shares(report):
    assert [point["workers"] for point in report["points"]] == [1, 4]
    for point in report["points"]:
        assert point["conservation_difference"] == point["outstanding_receipts"] == 0
        assert point["credited_env_steps"] >= point["updates"] * point["shards"] * report["fragment_env_steps"]
        shares = [point[name] for name in ("driver_share", "coordinator_share", "learner_share", "process_share")]
        assert all(share > 0 for share in shares)
        assert point["driver_share"] <= 1.01
        assert min(point["driver_us_per_fragment"], point["boundary_ms"], point["checkpoint_ms"], point["hire_ms"]) > 0


def test_four_workers_are_faster_than_one(report):
    one, four = (point["env_steps_per_second"] for point in report["points"])
    assert four > one
    assert report["points"][0]["efficiency"] == 1


def test_it_is_told_in_a_table_a_sentence_and_json(report):
    lines = scale_text("snake", report).splitlines()
    assert len(lines) == 2 + len(report["points"]) + 2
    assert "knee" in lines[-2]
    assert "driver" in lines[-1]
    json.dumps(report)


def point(workers, speed, **loads):
    figures = dict.fromkeys(Point.__dataclass_fields__, 1)
    return Point(**{**figures, "workers": workers, "env_steps_per_second": speed, **loads})


def test_the_knee_is_the_first_point_that_scales_badly_and_names_whose_load_grew():
    points = [
        point(1, 100, driver_busy=0.1, learner_share=0.7),
        point(4, 370),
        point(16, 1400, driver_busy=0.6, learner_share=0.7, boundary_share=0.2),
    ]
    assert knee(points) == {"workers": 16, "binds": "driver", "share": 0.6, "boundary_share": 0.2}
    folding = [*points[:2], point(16, 1400, driver_busy=0.2, learner_share=1.0)]
    assert knee(folding)["binds"] == "learner"
    assert knee(points[:2]) is None


def test_as_many_slice_workers_as_an_update_needs():
    costs = Costs(acting=0.01, gradients=0.009, intake=0.001, fold=0.0001)
    for workers in (1, 4, 16):
        helpers = costs.helpers(2, workers, takes_in=False)
        assert costs.update(2 * workers, helpers, takes_in=False) <= 2 * costs.acting
        assert helpers == 0 or costs.update(2 * workers, helpers - 1, takes_in=False) > 0.8 * 2 * costs.acting
    whole = costs.update(8, 0, takes_in=True)
    assert whole == pytest.approx(costs.update(8, 0, takes_in=False)) == pytest.approx(0.08)
    # What the learner does itself, nobody helps with.
    assert costs.update(8, 99, takes_in=True) > costs.update(8, 99, takes_in=False)
    assert limits(point(64, 1, driver_us_per_fragment_in_all=10), costs, 2)["intake"] == 10
    # Where no number is enough, it is the best one.
    dear = replace(costs, fold=0.01)
    best = dear.helpers(2, 64, takes_in=False)
    assert dear.update(128, best, takes_in=False) <= min(
        dear.update(128, best + 1, takes_in=False), dear.update(128, best - 1, takes_in=False)
    )


def test_other_configs_are_refused():
    with pytest.raises(UsageError, match="fixed-lag"):
        bench_scale(small("--schedule", "free-running"), [1], 1, lambda line: None)


@pytest.mark.parametrize("workers", ["4,1", "0", "", "one", "1,,2", "2,2", "-1", "1,20000"])
def test_workers_that_do_not_grow_are_refused_in_a_line(hydrahive, workers):
    refused = hydrahive("bench", "scale", "snake/vtrace", f"--workers={workers}", code=2)
    assert "--workers: " in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1


def test_elsewhere_workers_are_the_configs(hydrahive):
    refused = hydrahive("bench", "sim", "snake/vtrace", "--workers", "many", code=2)
    assert "workers" in refused.stderr
