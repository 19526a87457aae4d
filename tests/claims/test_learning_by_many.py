"""Learning computed by many, on real Ray: one digest for any number of slice workers, whichever of them dies."""

import json
import os
import signal

import pytest
from test_replay import RAINBOW, Q, events

from chaos.harness import TITLES, ancestors, titled
from conftest import FULL, digests_of, wait_for

STEPS = 100_000 if FULL else 40_000
CARTPOLE = ["--shards", 3, "--envs_per_shard", 8, "--fragment_length", 16, "--boundary_every", 5]
CARTPOLE += ["--stop.env_steps", STEPS, "--metrics_every", 1, "--checkpoint.every_boundaries", 1]
SNAKE = ["snake/vtrace", *CARTPOLE, "--env.size", 8, "--env.window", 5, "--policy.encoder.hidden", "[64]"]
PPO = ["cartpole/vtrace", *CARTPOLE, "--algorithm", "PPO", "--policy.normalize", "true", "--algorithm.epochs", 2]
SAC = ["classic/pendulum", "--shards", 2, "--envs_per_shard", 4, "--boundary_every", 20, "--metrics_every", 1]
SAC += ["--stop.env_steps", 2_400, "--policy.normalize", "true", "--checkpoint.every_boundaries", 1]
LSTM = ["cartpole/vtrace", *CARTPOLE, "--policy.core", "Lstm", "--policy.core.hidden", 16]
ATARI = ["atari/pong", "--shards", 2, "--envs_per_shard", 2, "--fragment_length", 8, "--boundary_every", 2]
ATARI += ["--algorithm.epochs", 1, "--algorithm.minibatches", 1, "--stop.env_steps", 600, "--metrics_every", 1]

CASES = {"vtrace": SNAKE}
CASES |= {"ppo": PPO, "rainbow": RAINBOW, "sac": SAC, "lstm": LSTM, "q-lstm": Q, "atari": ATARI} if FULL else {}


def helped(hydrahive, name):
    rows = (hydrahive.runs / name / "metrics.jsonl").read_text().splitlines()
    return sum(json.loads(row).get("slices_elsewhere", 0) for row in rows)


def mine(process, title):
    """Processes of this title that a command has started."""
    return [pid for pid in titled(TITLES[title]) if process.pid in ancestors(pid)]


@pytest.mark.parametrize("arguments", CASES.values(), ids=CASES)
def test_one_digest_for_any_number_of_slice_workers(hydrahive, report, arguments):
    config, *options = arguments
    options += ["--learner.slices", 4, "--recording", "false"]
    if config == "snake/ath-q" or "Rainbow" in options:
        options += ["--stop.env_steps", 24_000]
    inline = hydrahive.train(config, "inline", *options, "--workers", 0)
    for slicers in (0, 1, 3) if FULL else ():
        told = hydrahive.train(config, f"with-{slicers}", *options, "--workers", 1, "--learner.workers", slicers)
        assert digests_of(told) == digests_of(inline), slicers
        if slicers and config != "atari/pong":  # too short for one to be built in time
            assert helped(hydrahive, f"with-{slicers}") > 0, "they have helped"
    if config == "atari/pong":
        return
    process = hydrahive.start_training(config, "killed", *options, "--workers", 1, "--learner.workers", 2)
    wait_for((hydrahive.runs / "killed" / "metrics.jsonl").exists, "the run")
    wait_for(lambda: helped(hydrahive, "killed") > 3, "a slice worker's help")
    slicers = mine(process, "slice worker")
    assert slicers
    os.kill(slicers[0], signal.SIGKILL)
    wait_for(lambda: events(hydrahive, "killed", "slice_worker_lost"), "its loss to be seen")
    learners = mine(process, "learner")
    if learners:  # in the middle of a fold, or nearly so
        os.kill(learners[0], signal.SIGKILL)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert digests_of(hydrahive.summary("killed")) == digests_of(inline), err
    report.add(
        "Learning computed by many",
        f"- `{config}`, four slices: inline, with slice workers, one and the learner killed: `{inline['digest']}`",
    )
