"""The ceiling: what costs alone let a layout reach."""

from dataclasses import replace

import pytest

from hydrahive.bench.parts import Parts, measure_parts
from hydrahive.runtime.config_file import find_config, load_run_config


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
    parts = measure_parts(config, "cpu", 0.1)
    assert min(parts.stepping, parts.learning) > 0
    assert parts.inference > 0
    assert parts.fragment_bytes > config.fragment_length * 8 * 4, "the rewards alone take as much"
    assert parts.report(config, 1e4)["share"] == pytest.approx(1e4 / parts.report(config, 1e4)["ceiling"])
