"""Poisoned work on Ray: tried a stated number of times, elsewhere, then the run ends with one line."""

import json

import pytest

from conftest import ROOT, full_only

OPTIONS = ["--fragment_length", 8, "--boundary_every", 2, "--shards", 2, "--envs_per_shard", 3, "--workers", 2]
OPTIONS += [
    "--checkpoint.every_boundaries",
    1,
    "--faults.hang_seconds",
    3,
    "--faults.attempts",
    2,
    "--recording",
    "false",
]


@pytest.mark.parametrize(
    ("env", "says", "kind", "losses"),
    [
        ("Raises", "round 4 failed 2 times", "fragment_failed", 2),
        pytest.param("Hangs", "round 4 failed 2 times (it hung)", "worker_lost", 2, marks=full_only),
        pytest.param("Dies", "5 losses without an update in between", "worker_lost", 4, marks=full_only),
    ],
)
def test_it_ends_with_one_line_and_keeps_the_last_checkpoint(hydrahive, env, says, kind, losses):
    hydrahive.environment["PYTHONPATH"] = str(ROOT / "tests" / "poison")
    options = ["--env.id", f"poison:{env}-v0", *OPTIONS]
    failed = hydrahive("train", "cartpole/vtrace", "--name", "a", "--look", "none", *options, code=1, timeout_s=200)
    assert says in failed.stderr.splitlines()[-1]
    assert "Traceback" not in failed.stderr
    events = [json.loads(line) for line in (hydrahive.runs / "a" / "events.jsonl").read_text().splitlines()]
    assert len([event for event in events if event["kind"] == kind]) >= losses
    assert events[-1]["kind"] == "failed"
    assert json.loads(hydrahive("digest", "a", "--json").stdout)["updates"] >= 2
