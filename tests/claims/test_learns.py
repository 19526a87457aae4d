"""It learns: small proofs here, the README's times with `make claims`."""

import json
import statistics

import pytest

from conftest import FULL


def rows_of(hydrahive, name):
    lines = (hydrahive.runs / name / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if "loss" in row]


def first_time(rows, holds):
    return next((row["seconds"] for row in rows if holds(row)), float("inf"))


def test_snake_learns_to_eat(hydrahive):
    """A small board, inline; an untrained snake's mean is below 1."""
    options = ["--env.size", 8, "--env.window", 5, "--policy.encoder.hidden", "[64, 64]", "--stop.env_steps", 700_000]
    summary = hydrahive.train("snake/vtrace", "a", *options, "--workers", 0, "--algorithm.learning_rate", 2e-3)
    assert summary["score_mean"] > 5


def test_cartpole_learns_to_balance(hydrahive):
    hydrahive.train("cartpole/vtrace", "a", "--workers", 0, "--stop.env_steps", 1_000_000)
    assert json.loads(hydrahive("evaluate", "a", "--episodes", 50, "--json").stdout)["mean"] > 50


@pytest.mark.skipif(not FULL, reason="minutes; run by make claims")
def test_snake_reaches_the_old_record_in_30_seconds_and_60_in_5_minutes(hydrahive, report):
    old, sixty = [], []
    for seed in (1, 2, 3):
        options = ["--seed", seed, "--stop.env_steps", 10**9, "--stop.seconds", 300, "--stop.score_mean", 62]
        hydrahive.train("snake/vtrace", f"s{seed}", *options)
        rows = rows_of(hydrahive, f"s{seed}")
        mean = first_time(rows, lambda row: (row["score_mean"] or 0) >= 20.4)
        best = first_time(rows, lambda row: (row["score_max"] or 0) >= 62)
        top = first_time(rows, lambda row: (row["score_mean"] or 0) >= 60)
        old.append(max(mean, best))
        sixty.append(top)
        report.add(
            "Learning",
            f"- `snake/vtrace` seed {seed}: score_mean 20.4 after {mean:.1f} s, best 62 after {best:.1f} s, score_mean 60 after {top:.1f} s of training",
        )
    report.add(
        "Learning",
        f"- medians: 20.4 and 62 after {statistics.median(old):.1f} s, 60 after {statistics.median(sixty):.1f} s",
    )
    assert statistics.median(old) <= 30
    assert statistics.median(sixty) <= 300


@pytest.mark.skipif(not FULL, reason="minutes; run by make claims")
def test_cartpole_reaches_475_in_a_minute(hydrahive, report):
    means = []
    for seed in (1, 2, 3):
        summary = hydrahive.train("cartpole/vtrace", f"c{seed}", "--seed", seed)
        figures = json.loads(hydrahive("evaluate", f"c{seed}", "--episodes", 100, "--json").stdout)
        means.append(figures["mean"])
        report.add(
            "Learning",
            f"- `cartpole/vtrace` seed {seed}: greedy mean {figures['mean']:.1f} over 100 episodes after {summary['seconds']:.1f} s of training",
        )
        assert summary["seconds"] <= 60
    assert statistics.median(means) >= 475
