"""The swarm learns, steps and trains as fast as it says; small here, at full size with `make claims`."""

import json

import pytest

from conftest import FULL

minutes = pytest.mark.skipif(not FULL, reason="minutes; run by make claims")


def test_it_learns_to_find_goals(hydrahive):
    """Without memory, inline; an untrained agent reaches a goal in one of twenty episodes."""
    options = ["--policy.core", "none", "--pictures_every", 0, "--workers", 0, "--stop.env_steps", 800_000]
    summary = hydrahive.train("swarm/vtrace-lstm", "a", *options)
    assert summary["score_mean"] > 0.5


@minutes
def test_95_percent_of_the_agents_reach_a_goal_after_5_minutes(hydrahive, report):
    for seed in (1, 2, 3):
        figures = trained(hydrahive, report, "swarm/vtrace-lstm", seed)
        assert figures["seconds"] <= 300
        assert figures["reached_mean"] >= 0.95


@minutes
def test_what_else_is_reported(hydrahive, report):
    """The source's 36 numbers alone, the curriculum, and one hundred agents in a world."""
    trained(hydrahive, report, "swarm/vtrace-lstm", 1, "--env.observe_heading", "false")
    trained(hydrahive, report, "swarm/obstacles", 1)
    trained(hydrahive, report, "swarm/hundred", 1)


def trained(hydrahive, report, config, seed, *options):
    """Train an experiment to its end, and evaluate it greedily."""
    name = f"{config.rpartition('/')[2]}-{seed}-{len(options)}"
    summary = hydrahive.train(config, name, "--seed", seed, *options)
    figures = json.loads(hydrahive("evaluate", name, "--episodes", 500, "--json").stdout)
    report.add(
        "Swarm",
        f"- `{' '.join([config, *options])}` seed {seed}, {summary['env_steps']:,} env steps in {summary['seconds']:.0f} "
        f"s: greedily {figures['reached_mean']:.1%} of agents reach a goal within 200 steps, {figures['mean']:.1f} goals "
        f"each, {figures['collisions_mean']:.1f} steps with a collision, path efficiency "
        f"{figures.get('path_efficiency_mean', 0):.2f}",
    )
    return figures | {"seconds": summary["seconds"]}


@minutes
@pytest.mark.parametrize(
    ("config", "agents", "at_least"), [("swarm/hundred", 100, 6_000), ("swarm/vtrace-lstm", 10, 30_000)]
)
def test_worlds_step_on_one_core(hydrahive, tmp_path, report, config, agents, at_least):
    hydrahive("bench", "sim", config, "--json", tmp_path / "sim.json")
    worlds = json.loads((tmp_path / "sim.json").read_text())["steps_per_second"] / agents
    report.add(
        "Swarm", f"- `{config}` alone, one core, random actions: {worlds:,.0f} steps/s of worlds of {agents} agents"
    )
    assert worlds >= at_least


@minutes
def test_it_trains_near_its_ceiling(hydrahive, tmp_path, report):
    out = tmp_path / "bench.json"
    hydrahive("bench", "train", "swarm/vtrace-lstm", "--windows", 7, "--seconds", 6, "--json", out, timeout_s=300)
    figures = json.loads(out.read_text())
    speed, parts = figures["steps_per_second"]["hydrahive"], figures["parts"]
    report.add(
        "Swarm",
        f"- `swarm/vtrace-lstm`: {speed:,.0f} trained env steps/s, {parts['share']:.0%} ({parts['share_low']:.0%} to "
        f"{parts['share_high']:.0%}) of the ceiling of "
        f"{parts['ceiling']:,.0f} ({parts['stepping']:.1f} us stepping, {parts['inference']:.1f} inference, "
        f"{parts['learning']:.1f} learning)",
    )
    assert parts["share"] > 0.75
    assert speed >= 30_000
