"""`hydrahive check-env`: what is right passes, and what is wrong is named."""

import json

import pytest

from conftest import FULL, ROOT, full_only
from hydrahive.runtime.config.parsing import load_run_config
from hydrahive.runtime.config.shipped import find_config
from hydrahive.runtime.inspect.envs.check import CHECKS, checked


def lines_of(hydrahive, *arguments, code=0):
    hydrahive.environment["PYTHONPATH"] = f"{ROOT / 'tests' / 'games'}:{ROOT / 'tests' / 'poison'}"
    told = json.loads(hydrahive("check-env", *arguments, "--json", code=code).stdout)
    assert told["passed"] == (code == 0)
    return {one["check"]: (one["verdict"] != "wrong", one["says"]) for one in told["checks"]}


def found(monkeypatch, config, *options, only=None):
    """What checks say, without a command and a process of their own around them."""
    for folder in ("games", "poison"):
        monkeypatch.syspath_prepend(str(ROOT / "tests" / folder))
    findings = checked(load_run_config(find_config(config)[0], [str(option) for option in options]), only)
    return {finding.check: (finding.passed, finding.says) for finding in findings}


@pytest.mark.parametrize(
    ("config", "options", "check", "says"),
    [
        ("snake/vtrace", [], "snapshots", "exact: alike"),
        ("swarm/vtrace-lstm", ["--env.agents", 4, "--envs_per_shard", 4], "snapshots", "rebuilt: alike"),
        ("cartpole/vtrace", ["--env.id", "games:Secret-v0", "--env.snapshots", "none"], "snapshots", "restarted"),
        ("cartpole/vtrace", ["--env.id", "games:Cards-v0"], "spaces", "masks of legal actions"),
        pytest.param(
            "cartpole/vtrace", ["--env.id", "Pendulum-v1"], "seeding", "another seed something else", marks=full_only
        ),
    ],
)
def test_what_is_right_passes(monkeypatch, config, options, check, says):
    lines = found(monkeypatch, config, *options, only=None if FULL else ["single", "steps", "second", check])
    assert all(passed for passed, _ in lines.values())
    assert says in lines[check][1]


def test_the_command_says_line_by_line_what_it_found(hydrahive):
    out = hydrahive("check-env", "cartpole/vtrace").stdout
    rows = [line for line in out.splitlines() if not line.startswith(" ")]
    assert [row[7:20].strip() for row in rows[:-1]] == list(CHECKS)
    assert {row[:5].strip() for row in rows[:-1]} == {"ok"}
    assert rows[-1] == f"{len(CHECKS)} ok"
    assert max(map(len, out.splitlines())) <= 120


@pytest.mark.parametrize(
    ("env", "check", "says"),
    [
        ("Raises", "steps", "the simulator is on fire"),
        ("NotFinite", "steps", "gives rewards in step 39 that are not finite"),
        ("Shape", "steps", "shape"),
        ("Moody", "seeding", "the same seed and actions give something else from step 0 on"),
        ("Forgetful", "snapshots", "declared exact, but the restored one differs"),
    ],
)
def test_what_is_wrong_is_named(monkeypatch, env, check, says):
    lines = found(monkeypatch, "cartpole/vtrace", "--env.id", f"poison:{env}-v0", only=[check])
    passed, said = lines[check]
    assert not passed
    assert says in said


def test_a_clock_in_the_state_is_found(monkeypatch):
    lines = found(
        monkeypatch,
        "cartpole/vtrace",
        "--env.wrappers",
        '["gymnasium.wrappers.RecordEpisodeStatistics"]',
        only=["snapshots"],
    )
    assert "another state" in lines["snapshots"][1]


def test_an_environment_that_cannot_be_kept_is_told_what_to_say(hydrahive):
    lines = lines_of(hydrahive, "cartpole/vtrace", "--env.id", "games:Secret-v0", code=1)
    assert list(lines) == ["made"]
    assert "snapshots: none" in lines["made"][1]


@pytest.mark.parametrize(
    ("env", "says"),
    [("Hangs", "hangs: nothing came of it for 4 s, in fail ("), ("Dies", "brings its process down (exit code 1)")],
)
def test_what_hangs_or_dies_is_named_with_its_place(hydrahive, env, says):
    lines = lines_of(hydrahive, "cartpole/vtrace", "--env.id", f"poison:{env}-v0", "--patience", 4, code=1)
    assert list(lines)[-1] == "steps"
    passed, said = lines["steps"]
    assert not passed
    assert says in said
    assert env != "Hangs" or "poison.py:" in said


def test_a_reset_that_leaves_something_of_the_game_before_is_found(monkeypatch):
    lines = found(
        monkeypatch,
        "cartpole/vtrace",
        "--env.id",
        "poison:Remembers-v0",
        "--env.snapshots",
        "reset",
        only=["snapshots"],
    )
    assert "a reset with a seed does not begin anew" in lines["snapshots"][1]


@pytest.mark.parametrize(("made", "says"), [("ends", "brings its process down (exit code 0)"), ("hangs", "hangs")])
def test_worlds_that_cannot_be_made_are_named(hydrahive, tmp_path, made, says):
    """PettingZoo's are made when the config is read."""
    config = tmp_path / "crowd.yaml"
    config.write_text(f"env: {{class_path: PettingZoo, init_args: {{id: crowd, kwargs: {{made: {made}}}}}}}\n")
    lines = lines_of(hydrahive, config, "--patience", 1, code=1)
    assert list(lines) == ["made"]
    assert says in lines["made"][1]
    assert "crowd.py" in lines["made"][1] or made == "ends"


def test_a_config_that_is_refused_is_refused_in_a_line(hydrahive):
    refused = hydrahive("check-env", "cartpole/vtrace", "--env.id", "CartPole-v9", code=2)
    assert refused.stderr.count("\n") == 1
    assert "CartPole-v1" in refused.stderr
    refused = hydrahive("check-env", "cartpole/vtrace", "--patience", 10**10, code=2)
    assert "from 1 to 1,000,000" in refused.stderr


def test_a_policy_that_does_not_fit_is_named(monkeypatch):
    lines = found(monkeypatch, "classic/pendulum", "--algorithm", "AthQ", "--replay", "Uniform", only=["spaces"])
    passed, said = lines["spaces"]
    assert not passed
    assert "Discrete" in said
