"""Seconds to a score: only a mark that holds is one, and a peer is looked at as we are."""

import json

import pytest

from hydrahive.bench.curves import COLORS
from hydrahive.bench.score import MUST_HOLD, Look, first_that_holds


@pytest.mark.parametrize(
    ("means", "found"),
    [
        ([1, 9, 9, 9, 9, 1], 1),
        ([9, 9, 9, 1, 9, 9, 9, 9], 4),  # fell back at the third look after it
        ([1, 9, 9, 9], None),  # over before it has held
        ([], None),
    ],
)
def test_a_mark_counts_when_the_next_looks_hold_it(means, found):
    seen = []
    look = first_that_holds((Look(float(i), i, mean) for i, mean in enumerate(means)), 9, seen.append)
    assert (look and look.env_steps) == found
    assert len(seen) == (len(means) if found is None else found + MUST_HOLD + 1)


def test_both_reach_a_mark_and_the_figures_are_kept(hydrahive, tmp_path):
    options = ["--mark", 40, "--seeds", 1, "--every", 2000, "--against", "sb3", "--json", tmp_path / "figures.json"]
    options += ["--plot", tmp_path / "curves.svg"]
    printed = hydrahive("bench", "score", "cartpole/ppo", *options).stdout
    assert "hydrahive takes" in printed
    figures = json.loads((tmp_path / "figures.json").read_text())
    for one in ("hydrahive", "sb3"):
        (look,) = figures["contenders"][one]["looks"]
        assert look["mean"] >= 40
        assert 0 < look["seconds"] < 60
        assert look["env_steps"] >= 2000
        (curve,) = figures["curves"][one]
        assert len(curve) > MUST_HOLD
        assert look in curve
    drawn = (tmp_path / "curves.svg").read_text()
    assert drawn.count("<svg") == 1
    assert all(color in drawn for color in COLORS), "a line for each contender"


def test_a_mark_out_of_reach_is_told_so(hydrahive):
    options = ["--mark", 501, "--seeds", 1, "--stop.env_steps", 3000, "--every", 1000]
    assert "reached and held it with 0 of 1 seeds" in hydrahive("bench", "score", "cartpole/ppo", *options).stdout


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "--mark: is missing"),
        (["--mark", "nan"], "--mark"),
        (["--mark", 1, "--against", "rllib"], "bench train"),
        (["--mark", 1, "--against", "sb3", "--env.id", "Acrobot-v1"], "PPO on CartPole-v1"),
    ],
)
def test_what_cannot_be_raced_is_refused_in_one_line(hydrahive, options, told):
    refused = hydrahive("bench", "score", "cartpole/ppo", *options, code=2).stderr
    assert told in refused
    assert refused.count("\n") == 1
