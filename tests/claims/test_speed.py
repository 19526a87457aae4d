"""Speed as ratios within one run; at full size against the README's figures."""

import json

import pytest

from conftest import FULL


def test_training_is_benched_against_all_others(hydrahive, tmp_path, report):
    windows, seconds = (9, 6) if FULL else (1, 1)
    against = ["--against", "inline", "--against", "free-running", "--against", "rllib"]
    out = tmp_path / "bench.json"
    hydrahive(
        "bench",
        "train",
        "snake/vtrace",
        *against,
        "--windows",
        windows,
        "--seconds",
        seconds,
        "--json",
        out,
        timeout_s=1200,
    )
    figures = json.loads(out.read_text())
    for name, speed in figures["steps_per_second"].items():
        line = f"- `snake/vtrace`, {name}: {speed:,.0f} trained env steps/s"
        ratio = figures["ratios"].get(name)
        if ratio:
            line += f"; hydrahive is {ratio['ratio']:.2f}x (95% interval {ratio['ratio_low']:.2f} to {ratio['ratio_high']:.2f})"
        report.add("Speed", line)
        assert speed > 0
    assert figures["ratios"]["rllib"]["ratio"] > (5 if FULL else 1)
    if FULL:
        assert figures["ratios"]["free-running"]["ratio"] > 0.95
        assert figures["ratios"]["inline"]["ratio"] > 1.4


@pytest.mark.skipif(not FULL, reason="a wall-clock figure; run by make claims")
def test_the_simulation_alone(hydrahive, tmp_path, report):
    hydrahive("bench", "sim", "snake/vtrace", "--json", tmp_path / "sim.json")
    speed = json.loads((tmp_path / "sim.json").read_text())["steps_per_second"]
    report.add("Speed", f"- Snake alone, one core, random actions: {speed:,.0f} env steps/s")
    assert speed >= 4e6
