"""The ceiling: what costs alone let a layout reach."""

import os
from dataclasses import replace

import pytest

from hydrahive.bench.parts import Parts, PartsAlone, ceiling_report
from hydrahive.runtime.config.parsing import load_run_config
from hydrahive.runtime.config.shipped import find_config


@pytest.mark.parametrize(
    ("workers", "cpus", "ceiling"),
    [
        (0, 2, 1e6 / 25),  # everything in turn
        (1, 2, 1e6 / 15),  # the worker is the slower one
        (2, 3, 1e6 / 10),  # the learner is
        (2, 2, 2e6 / 25),  # three processes share two cores
        (1, 1, 1e6 / 25),
    ],
)
def test_the_ceiling_is_that_of_the_slowest_part_and_of_the_cores(workers, cpus, ceiling):
    parts = Parts(stepping=5.0, inference=10.0, learning=10.0, threads=1, fragment_bytes=1)
    assert parts.ceiling(workers, cpus) == pytest.approx(ceiling)
    assert replace(parts, threads=2).ceiling(2, 4) == pytest.approx(1e6 / 10)
    assert replace(parts, threads=2).ceiling(2, 2) == pytest.approx(2e6 / 35)


def test_costs_are_measured_in_whole_rounds():
    options = ["--env.size", "8", "--env.window", "5", "--shards", "1", "--envs_per_shard", "8"]
    config = load_run_config(find_config("snake/vtrace")[0], options)
    alone = PartsAlone(config, "cpu")
    parts, later = alone.measure(0.1), alone.measure(0.1)
    assert min(parts.stepping, parts.learning) > 0
    assert parts.inference > 0
    assert parts.fragment_bytes > config.fragment_length * 8 * 4, "the rewards alone take as much"
    assert later.fragment_bytes == parts.fragment_bytes


def test_a_share_is_that_of_the_ceiling_measured_beside_it():
    """A machine that was half as fast for a while says nothing about training."""
    config = load_run_config(find_config("snake/vtrace")[0], ["--workers", "1"])
    parts = Parts(stepping=5.0, inference=10.0, learning=10.0, threads=1, fragment_bytes=1)
    slow = Parts(stepping=10.0, inference=20.0, learning=20.0, threads=1, fragment_bytes=1)
    layout = 1, os.cpu_count()
    speed = 0.8 * parts.ceiling(*layout)
    report = ceiling_report(config, [parts, slow, slow], [speed, speed / 2, speed / 2])
    assert report["share"] == report["share_low"] == report["share_high"] == pytest.approx(0.8)
    assert (report["stepping"], report["ceiling"]) == (10.0, slow.ceiling(*layout))
