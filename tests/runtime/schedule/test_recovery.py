"""What is lost is made again with the same bytes: the schedule over plain objects that are made to fail, without Ray."""

import pytest

from conftest import FULL, ROOT
from fragile import FragileFleet, trained
from hydrahive.core.errors import HydrahiveError
from hydrahive.runtime.config.parsing import load_run_config
from hydrahive.runtime.config.shipped import shipped_experiments
from hydrahive.runtime.fleet.inline import InlineFleet

SIZES = ["--env.size=7", "--env.window=5", "--policy.encoder.hidden=[16]", "--shards=3", "--envs_per_shard=4"]
SIZES += ["--fragment_length=8", "--boundary_every=5", "--learner.slices=2", "--stop.env_steps=2000"]


REPLAY = ["--replay=Ath", "--replay.capacity=1200", "--replay.ratio=0.5", "--policy.core=Gru", "--policy.core.hidden=8"]


@pytest.fixture(params=[(0, []), (1, []), (3, []), (1, REPLAY)], ids=["lag 0", "lag 1", "lag 3", "replay"])
def config(request):
    lag, options = request.param
    return load_run_config(shipped_experiments()["snake/vtrace"], [*SIZES, f"--lag={lag}", *options])


CALLS = {
    (False, True): (1, 2, 3, 4, 7, 10, 13, 18, 21, 22, 23, 24, 25, 37, 60, 75),
    (False, False): (7, 22, 60),
    (True, True): (4, 7, 22, 23, 60),
    (True, False): (7, 23),
}
"""In which calls something is lost: with a replay or without, at full size or small."""


@pytest.mark.parametrize("what", ["die", "lose result", "lose fragments", "lose update", "join"])
def test_every_boundary_is_the_same_whatever_is_lost_and_when(config, what):
    undisturbed = trained(config, InlineFleet(config, "run", "cpu"))
    for call in CALLS[config.replay is not None, FULL]:
        fleet = FragileFleet(config, {call: what})
        assert trained(config, fleet) == undisturbed, f"{what} in call {call}: {fleet.events}"


def test_every_boundary_is_the_same_when_the_replay_is_lost():
    config = load_run_config(shipped_experiments()["snake/vtrace"], [*SIZES, *REPLAY])
    undisturbed = trained(config, InlineFleet(config, "run", "cpu"))
    back = 0
    for call in (7, 11, 23, 27, 47):  # updates
        fleet = FragileFleet(config, {call: "lose replay"})
        assert trained(config, fleet) == undisturbed, f"in call {call}: {fleet.events}"
        back += sum(kind == "went back" for kind, _ in fleet.events)
    assert back == 5


def test_a_straggler_is_hedged_and_ended(config, monkeypatch):
    monkeypatch.setattr("hydrahive.runtime.schedule.hedging.HEDGE_SECONDS", -1)
    undisturbed = trained(config, InlineFleet(config, "run", "cpu"))
    hedged = 0
    calls = (14, 18, 21, 22, 23, 24, 25, 37, 60) if FULL else (18, 22, 37)
    for call in calls:
        fleet = FragileFleet(config, {call: "freeze", 2 * call: "die", 3 * call: "join"}, workers=4)
        assert trained(config, fleet) == undisturbed, f"frozen in call {call}: {fleet.events}"
        hedged += sum(kind == "hedged" for kind, _ in fleet.events)
    assert hedged > len(calls) // 2


def test_losing_all_workers_one_after_the_other(config):
    undisturbed = trained(config, InlineFleet(config, "run", "cpu"))
    fleet = FragileFleet(config, {9: "die", 21: "die", 23: "lose update", 30: "die", 41: "join", 50: "die", 52: "die"})
    assert trained(config, fleet) == undisturbed


def test_a_second_computation_that_is_lost_ends_nobody(config, monkeypatch):
    """The straggler whose work it was to replace comes in the end, or is lost by itself."""
    monkeypatch.setattr("hydrahive.runtime.schedule.hedging.HEDGE_SECONDS", -1)
    undisturbed = trained(config, InlineFleet(config, "run", "cpu"))
    lost = 0
    for call in (18, 22, 37) if FULL else (18,):
        for after in range(6, 22) if FULL else (9, 10):
            fleet = FragileFleet(config, {call: "freeze", call + after: "lose result"}, workers=4)
            assert trained(config, fleet) == undisturbed, f"{call}, {after}: {fleet.events}"
            lost += sum(kind == "hedge_lost" for kind, _ in fleet.events)
    assert lost > 0 or not FULL


def test_many_that_leave_at_once_do_not_end_a_run():
    """As twenty spot nodes do that are taken away within a minute."""
    many = ["--shards=20", "--envs_per_shard=2", "--stop.env_steps=2500"]
    config = load_run_config(shipped_experiments()["snake/vtrace"], [*SIZES, *many])
    undisturbed = trained(config, InlineFleet(config, "run", "cpu"))
    fleet = FragileFleet(config, dict.fromkeys(range(61, 61 + 18), "die"), workers=20)
    assert trained(config, fleet) == undisturbed, fleet.events
    assert fleet.worker_count <= 4


def test_endless_losses_end_the_run(config):
    fleet = FragileFleet(config, dict.fromkeys(range(20, 1000), "lose result"))
    with pytest.raises(HydrahiveError, match="losses without an update"):
        trained(config, fleet)


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ("Raises", "the simulator is on fire"),
        ("NotFinite", "rewards that are not finite"),
        ("LastNotFinite", "observations that are not finite"),
        ("Shape", "observations|shape"),
    ],
)
def test_poisoned_work_is_tried_three_times_and_ends_the_run_with_its_traceback(hydrahive, env, says, tmp_path):
    hydrahive.environment["PYTHONPATH"] = str(ROOT / "tests" / "poison")
    options = ["--env.id", f"poison:{env}-v0", "--fragment_length", 8, "--boundary_every", 2, "--workers", 0]
    options += ["--shards", 2, "--envs_per_shard", 3, "--checkpoint.every_boundaries", 1]
    failed = hydrahive(
        "train", "cartpole/vtrace", "--name", "a", "--recording", "false", "--look", "none", *options, code=1
    )
    assert "round 4 failed 3 times" in failed.stderr
    assert "Traceback" not in failed.stderr
    import json
    import re

    events = [json.loads(line) for line in (hydrahive.runs / "a" / "events.jsonl").read_text().splitlines()]
    attempts = [event for event in events if event["kind"] == "fragment_failed"]
    assert len(attempts) == 3
    assert all(event["round"] == 4 for event in attempts)
    assert all(re.search(says, event["traceback"]) for event in attempts)
    assert json.loads(hydrahive("digest", "a", "--json").stdout)["updates"] >= 2


def test_what_fails_once_is_done_again_and_changes_nothing(hydrahive, tmp_path):
    hydrahive.environment["PYTHONPATH"] = str(ROOT / "tests" / "poison")
    options = ["--env.id", "poison:RaisesOnce-v0", "--fragment_length", 8, "--boundary_every", 2, "--workers", 0]
    options += ["--shards", 2, "--envs_per_shard", 3, "--stop.env_steps", 1000, "--look", "none"]
    hydrahive.environment["POISON_MARK"] = str(tmp_path / "mark")
    once = hydrahive.train("cartpole/vtrace", "once", *options)
    assert once["recoveries"] == 1
    never = hydrahive.train("cartpole/vtrace", "never", *options)
    assert never["recoveries"] == 0
    assert once["digest"] == never["digest"]
