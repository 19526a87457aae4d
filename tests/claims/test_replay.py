"""The README's first promise with a replay: one digest, whoever computes the run and whatever dies, the replay too."""

import json
import os
import signal

import pytest

from chaos.harness import TITLES, ancestors, titled
from conftest import FULL, digests_of, wait_for

STEPS = 300_000 if FULL else 24_000
BOARD = ["--env.size", 8, "--env.window", 5, "--policy.encoder.hidden", "[32]"]
OPTIONS = [*BOARD, "--shards", 3, "--stop.env_steps", STEPS, "--metrics_every", 1, "--checkpoint.every_boundaries", 1]
OPTIONS += ["--ledger.enabled", "false"]
VTRACE = ["snake/ath-vtrace", *OPTIONS, "--envs_per_shard", 16, "--boundary_every", 2, "--replay.capacity", 9_000]
VTRACE += ["--policy.core", "Gru", "--policy.core.hidden", 16, "--algorithm.epochs", 2, "--algorithm.minibatches", 5]
VTRACE += ["--algorithm.policy_clip", 0.2, "--algorithm.normalize_advantages", "true"]
Q = ["snake/ath-q", *OPTIONS, "--envs_per_shard", 8, "--boundary_every", 5, "--replay.capacity", 9_000]
Q += ["--policy.core", "Lstm", "--policy.core.hidden", 16, "--algorithm.exploration.careful", "true"]
Q += [
    "--replay.stagnation_episodes",
    40,
    "--algorithm.exploration.decay",
    0.9,
    "--algorithm.gradient_steps_per",
    "episode",
]

RAINBOW = ["cartpole/vtrace", "--shards", 3, "--envs_per_shard", 8, "--fragment_length", 16, "--boundary_every", 5]
RAINBOW += ["--stop.env_steps", STEPS, "--metrics_every", 1, "--checkpoint.every_boundaries", 1]
RAINBOW += ["--ledger.enabled", "false", "--algorithm", "Rainbow", "--algorithm.warm_up", 500]
RAINBOW += ["--algorithm.env_steps_per_gradient_step", 32, "--policy.normalize", "true", "--replay", "Rows"]
RAINBOW += ["--replay.priority_exponent", 0.5, "--replay.capacity", 9_000]


def events(hydrahive, name, kind):
    lines = (hydrahive.runs / name / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["kind"] == kind]


def kill_the_replay(hydrahive, process, name):
    """SIGKILL the replay actor of a run that goes on; before it does, its loss is no event of the run."""
    wait_for(lambda: events(hydrahive, name, "resumed"), "the run to go on")
    replays = []

    def found():
        assert process.poll() is None, process.communicate()
        replays.extend(pid for pid in titled(TITLES["replay"]) if process.pid in ancestors(pid))
        return bool(replays)

    wait_for(found, "the replay's process")
    os.kill(replays[0], signal.SIGKILL)


CASES = {"q-lstm": Q, "rainbow": RAINBOW} | ({"vtrace-gru": VTRACE} if FULL else {})


@pytest.mark.parametrize("arguments", CASES.values(), ids=CASES)
def test_one_digest_with_a_replay(hydrahive, report, arguments):
    config, *options = arguments
    inline = hydrahive.train(config, "inline", *options, "--workers", 0)
    assert events(hydrahive, "inline", "replay_warm")
    assert events(hydrahive, "inline", "replay_full")
    if config == "snake/ath-q":
        detours = [json.loads(line) for line in (hydrahive.runs / "inline" / "episodes.jsonl").read_text().splitlines()]
        assert any(any(row.get("detours", ())) for row in detours), "careful exploration was never on"
    killed = hydrahive.start_training(config, "killed", *options, "--workers", 0)
    hydrahive.stop_at(killed, "killed", STEPS // 2, signal.SIGKILL)
    # The rest on workers, whose replay is killed on the way.
    workers = 3 if FULL else 2 if config == "snake/ath-vtrace" else 0
    process = hydrahive.start_training(config, "killed", *options, "--workers", workers)
    if config == "snake/ath-vtrace" or FULL:
        kill_the_replay(hydrahive, process, "killed")
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    summary = hydrahive.summary("killed")
    assert digests_of(summary) == digests_of(inline), err
    if config == "snake/ath-vtrace" or FULL:
        assert events(hydrahive, "killed", "replay_lost")
    report.add(
        "One digest with a replay",
        f"- `{config}` with memory, {STEPS:,} env steps: inline; killed half-way and resumed on {workers} workers"
        f"{', the replay killed' if summary['recoveries'] else ''}: `{summary['digest']}`",
    )
    if FULL:
        alone = hydrahive.train(config, "alone", *options, "--workers", 1)
        assert digests_of(alone) == digests_of(inline)
        report.add("One digest with a replay", f"- `{config}`, 1 worker: `{alone['digest']}`")
