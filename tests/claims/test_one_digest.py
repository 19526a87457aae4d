"""The README's first promise: one digest, whoever computes the run and however often it is stopped.

Small here, at full size with `make claims`.
"""

import json
import signal

import pytest

from conftest import FULL

STEPS = 500_000 if FULL else 60_000
SNAKE = ["--shards", 4, "--stop.env_steps", STEPS]
SNAKE += [] if FULL else ["--envs_per_shard", 16, "--boundary_every", 5, "--checkpoint.every_boundaries", 1]
SNAKE += ["--metrics_every", 1, "--checkpoint.every_boundaries", 1]

OTHERS = {
    "odd sizes": (
        "snake/vtrace",
        ["--shards", 3, "--envs_per_shard", 17, "--fragment_length", 23, "--boundary_every", 7],
    ),
    "cartpole": ("cartpole/vtrace", ["--shards", 3, "--envs_per_shard", 11]),
    "planes": (
        "snake/planes",
        [
            "--env.size",
            10,
            "--shards",
            2,
            "--envs_per_shard",
            8,
            "--policy.encoder.strides",
            "[1,2,2]",
            "--boundary_every",
            3,
        ],
    ),
}


def both(summary):
    return summary["digest"], summary["state_digest"]


def test_workers_do_not_change_the_digest(hydrahive, report):
    workers = [0, 1, 2, 3] if FULL else [0, 1, 3]
    digests = {n: both(hydrahive.train("snake/vtrace", f"w{n}", *SNAKE, "--workers", n)) for n in workers}
    for n, (digest, _) in digests.items():
        report.add("One digest", f"- `snake/vtrace`, 4 shards, {STEPS:,} env steps, workers {n}: `{digest}`")
    assert len(set(digests.values())) == 1
    other = hydrahive.train("snake/vtrace", "seed", *SNAKE, "--workers", 0, "--seed", 7)
    report.add("One digest", f"- another seed, workers 0: `{other['digest']}`")
    assert other["digest"] != digests[0][0]


def test_killing_and_interrupting_do_not_change_the_digest(hydrahive, report):
    undisturbed = both(hydrahive.train("snake/vtrace", "undisturbed", *SNAKE, "--workers", 0))
    killed = hydrahive.start_training("snake/vtrace", "killed", *SNAKE, "--workers", 1)
    hydrahive.stop_at(killed, "killed", STEPS // 2, signal.SIGKILL)
    resumed = hydrahive.train("snake/vtrace", "killed", *SNAKE, "--workers", 2, "--checkpoint.keep", 1)
    assert resumed["resumed"]
    assert both(resumed) == undisturbed
    report.add(
        "One digest",
        f"- SIGKILL half-way with 1 worker, resumed with 2 and other `checkpoint.*`: `{resumed['digest']}`",
    )
    twice = hydrahive.start_training("snake/vtrace", "twice", *SNAKE, "--workers", 0)
    assert hydrahive.stop_at(twice, "twice", STEPS // 3, signal.SIGINT) == 130
    twice = hydrahive.start_training("snake/vtrace", "twice", *SNAKE, "--workers", 1)
    assert hydrahive.stop_at(twice, "twice", 2 * STEPS // 3, signal.SIGTERM) == 143
    finished = hydrahive.train("snake/vtrace", "twice", *SNAKE, "--workers", 0)
    assert both(finished) == undisturbed
    report.add("One digest", f"- interrupted twice, with 0, 1 and 0 workers: `{finished['digest']}`")


@pytest.mark.parametrize("name", OTHERS)
def test_other_experiments_keep_theirs(hydrahive, report, name):
    config, options = OTHERS[name]
    steps = {"cartpole": 200_000, "odd sizes": 200_000, "planes": 30_000}[name] if FULL else 12_000
    options = [*options, "--stop.env_steps", steps, "--metrics_every", 1, "--checkpoint.every_boundaries", 1]
    inline = both(hydrahive.train(config, "inline", *options, "--workers", 0))
    killed = hydrahive.start_training(config, "killed", *options, "--workers", 0)
    hydrahive.stop_at(killed, "killed", steps // 2, signal.SIGKILL)
    assert both(hydrahive.train(config, "killed", *options, "--workers", 2)) == inline
    report.add(
        "One digest",
        f"- {name}: `{config}` {steps:,} env steps, inline, and killed and resumed on 2 workers: `{inline[0]}`",
    )


def test_the_digest_command_reads_what_the_summary_says(hydrahive):
    summary = hydrahive.train("cartpole/vtrace", "a", "--workers", 0, "--stop.env_steps", 5_000)
    facts = json.loads(hydrahive("digest", "a", "--json").stdout)
    assert (facts["digest"], facts["state_digest"]) == both(summary)
    assert facts["machine_class"] == summary["machine_class"]


def test_lag_is_decided_not_observed(hydrahive):
    digests = set()
    for lag in (0, 1, 3):
        options = ["--lag", lag, "--envs_per_shard", 8, "--stop.env_steps", 8_000, "--boundary_every", 4]
        mine = {both(hydrahive.train("snake/vtrace", f"{lag}-{n}", *options, "--workers", n)) for n in (0, 2)}
        assert len(mine) == 1
        digests |= mine
    assert len(digests) == 3
