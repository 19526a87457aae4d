"""Speed as ratios within one run; at full size against the README's figures."""

import json

import pytest

from conftest import FULL, full_only


@full_only
def test_training_is_benched_against_all_others(hydrahive, tmp_path, report):
    windows, seconds = (9, 6) if FULL else (1, 2)
    names = ["inline", "free-running", "rllib"] if FULL else ["free-running"]
    against = [word for name in names for word in ("--against", name)]
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
    parts = figures["parts"]
    assert parts["ceiling"] > 0
    assert parts["share"] > 0  # how much is for a machine that does nothing else
    assert set(figures["ratios"]) == set(names)
    if FULL:
        assert figures["ratios"]["rllib"]["ratio"] > 5
        assert figures["ratios"]["free-running"]["ratio"] > 0.95
        assert figures["ratios"]["inline"]["ratio"] > 1.4


@pytest.mark.skipif(not FULL, reason="a race of a quarter of an hour; run by make claims")
def test_what_accounts_and_audits_cost(hydrahive, tmp_path, report):
    """Accounts: against training without them, 25 alternated pairs. Audits: by the share computed again in full."""
    unpaid = race(hydrahive, tmp_path, ["unpaid"], 25, 6)["unpaid"]
    report.add(
        "Accounts",
        f"- training with accounts is {unpaid['ratio']:.3f}x training without (95% interval {unpaid['ratio_low']:.3f} "
        f"to {unpaid['ratio_high']:.3f}, 25 pairs)",
    )
    assert unpaid["ratio_low"] > 0.95
    shares = ["audited-0", "audited-25", "audited-50", "audited-100"]
    for name, ratio in race(hydrahive, tmp_path, shares, 9, 5).items():
        percent = name.removeprefix("audited-")
        report.add(
            "Accounts",
            f"- with {percent}% of the intervals computed again in full (of the others the environments' steps) training "
            f"is {1 / ratio['ratio']:.2f}x unaudited training (95% interval {1 / ratio['ratio_high']:.2f} to "
            f"{1 / ratio['ratio_low']:.2f}), on the same two cores",
        )


def race(hydrahive, tmp_path, against, windows, seconds):
    out = tmp_path / "race.json"
    options = [word for name in against for word in ("--against", name)]
    options += ["--windows", windows, "--seconds", seconds, "--json", out]
    hydrahive("bench", "train", "snake/vtrace", *options, timeout_s=2400)
    return json.loads(out.read_text())["ratios"]


@pytest.mark.skipif(not FULL, reason="a wall-clock figure; run by make claims")
def test_the_simulation_alone(hydrahive, tmp_path, report):
    hydrahive("bench", "sim", "snake/vtrace", "--json", tmp_path / "sim.json")
    speed = json.loads((tmp_path / "sim.json").read_text())["steps_per_second"]
    report.add("Speed", f"- Snake alone, one core, random actions: {speed:,.0f} env steps/s")
    assert speed >= 4e6
