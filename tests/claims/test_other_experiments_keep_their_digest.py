"""The README's first promise for other experiments and odd sizes. Small here, at full size with `make claims`."""

import signal

import pytest

from conftest import FULL, digests_of

OTHERS = {
    "odd sizes": (
        "snake/vtrace",
        ["--shards", 3, "--envs_per_shard", 17, "--fragment_length", 23, "--boundary_every", 7],
    ),
    "cartpole": ("cartpole/vtrace", ["--shards", 3, "--envs_per_shard", 11]),
    "swarm": (
        "swarm/vtrace-lstm",
        ["--shards", 3, "--env.agents", 5, "--envs_per_shard", 10, "--boundary_every", 3, "--policy.core.hidden", 32],
    ),
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


@pytest.mark.parametrize("name", OTHERS)
def test_other_experiments_keep_theirs(hydrahive, report, name):
    config, options = OTHERS[name]
    steps = {"cartpole": 200_000, "odd sizes": 200_000, "planes": 30_000, "swarm": 60_000}[name] if FULL else 12_000
    options = [*options, "--stop.env_steps", steps, "--metrics_every", 1, "--checkpoint.every_boundaries", 1]
    inline = digests_of(hydrahive.train(config, "inline", *options, "--workers", 0))
    killed = hydrahive.start_training(config, "killed", *options, "--workers", 0)
    hydrahive.stop_at(killed, "killed", steps // 2, signal.SIGKILL)
    assert digests_of(hydrahive.train(config, "killed", *options, "--workers", 2)) == inline
    report.add(
        "One digest",
        f"- {name}: `{config}` {steps:,} env steps, inline, and killed and resumed on 2 workers: `{inline[0]}`",
    )
