"""Environments of others: what is learned in them, and how fast. Small here, at full size with `make claims`."""

import json

import pytest

from conftest import FULL, full_only

MARKS = {
    "classic/acrobot": -90,
    "classic/lunarlander": 200,
    "classic/pendulum": -200,
    "minigrid/doorkey": 0.9,
    "minatar/breakout": 20,
    "pettingzoo/speaker-listener": -20,
}
"""What is called solved; for Acrobot and MinAtar what the best of the published agents come near (gymnax, RL Zoo)."""


def evaluated(hydrahive, name, *options):
    return json.loads(hydrahive("evaluate", name, "--json", *options, timeout_s=600).stdout)


@full_only
def test_self_play_beats_chance(hydrahive, report):
    steps = 3_000_000 if FULL else 100_000
    summary = hydrahive.train("pettingzoo/connect-four", "c", "--stop.env_steps", steps, "--workers", int(FULL))
    against = evaluated(hydrahive, "c", "--against", "random", "--episodes", 200 if FULL else 60)
    itself = evaluated(hydrahive, "c", "--against", "c", "--episodes", 50 if FULL else 10)
    report.add(
        "Environments",
        f"- `pettingzoo/connect-four`, {steps:,} env steps of self-play in {summary['seconds']:.0f} s: "
        f"{against['mean']:.2f} a game against chance (1 is won, -1 lost)",
    )
    assert against["mean"] > (0.65 if FULL else 0.3)  # by seeds 0.79 and 0.89: nine games of ten are won
    assert abs(itself["mean"]) <= 1


@pytest.mark.skipif(not FULL, reason="minutes each; run by make claims")
@pytest.mark.parametrize("experiment", MARKS)
def test_classics_are_solved(hydrahive, report, experiment):
    summary = hydrahive.train(experiment, "a")
    found = evaluated(hydrahive, "a", "--episodes", 100)
    report.add(
        "Environments",
        f"- `{experiment}`: a greedy mean of {found['mean']:.2f} (95% interval {found['mean_low']:.2f} to "
        f"{found['mean_high']:.2f}) after {summary['env_steps']:,} env steps in {summary['seconds']:.0f} s",
    )
    assert found["mean"] >= MARKS[experiment]


@pytest.mark.skipif(not FULL, reason="a race for a quiet machine; run by make claims")
def test_pong_against_its_ceiling_and_rllib(hydrahive, tmp_path, report):
    out = tmp_path / "pong.json"
    options = ["--against", "rllib", "--windows", 5, "--seconds", 12, "--workers", 1, "--json", out]
    hydrahive("bench", "train", "atari/pong", *options, timeout_s=1200)
    figures = json.loads(out.read_text())
    parts, ratio = figures["parts"], figures["ratios"]["rllib"]
    report.add(
        "Environments",
        f"- `atari/pong`: {figures['steps_per_second']['hydrahive']:,.0f} trained agent steps/s, {parts['share']:.0%} of "
        f"the ceiling (95% interval {parts['share_low']:.0%} to {parts['share_high']:.0%}); RLlib "
        f"{figures['steps_per_second']['rllib']:,.0f}, hydrahive is {ratio['ratio']:.2f}x (95% interval "
        f"{ratio['ratio_low']:.2f} to {ratio['ratio_high']:.2f}); a fragment of {parts['fragment_bytes']:,} bytes",
    )
    assert parts["share"] >= 0.75
    assert ratio["ratio"] >= 2
