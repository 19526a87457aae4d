"""The README's first promise for other experiments and odd sizes. Small here, at full size with `make claims`."""

import signal

import pytest
from torch.cuda import is_available

from conftest import FULL, ROOT, digests_of

GAME = ["--boundary_every", 3, "--env.id"]

TAXI = [
    *GAME,
    "Taxi-v3",
    "--env.wrappers",
    '[{"class_path": "gymnasium.wrappers.ClipReward", "init_args": {"min_reward": -1}}]',
    "--env.kwargs",
]
TAXI += ['{"fickle_passenger": true}']

ATARI = ["--shards", 3, "--envs_per_shard", 2, "--fragment_length", 13, "--boundary_every", 5, "--recording", "false"]
ATARI += ["--algorithm.epochs", 2]

PPO = ["--shards", 3, "--envs_per_shard", 5, "--lag", 1, "--policy.core", "Gru"]
PPO += ["--algorithm.minibatches", 4, "--algorithm.epochs", 3]

OTHERS = {
    "odd sizes": (
        "snake/vtrace",
        ["--shards", 3, "--envs_per_shard", 17, "--fragment_length", 23, "--boundary_every", 7],
    ),
    "cartpole": ("cartpole/vtrace", ["--shards", 3, "--envs_per_shard", 11]),
    "ppo": ("cartpole/ppo", PPO),
    "swarm": (
        "swarm/vtrace-lstm",
        ["--shards", 3, "--env.agents", 5, "--envs_per_shard", 10, "--boundary_every", 3, "--policy.core.hidden", 32],
    ),
    "atari": ("atari/pong", ATARI),
    "atari, lives, residual": (
        "atari/pong",
        [
            *ATARI,
            "--env.game",
            "breakout",
            "--env.protocol",
            "deepmind",
            "--policy.encoder",
            '{"class_path": "Impala", "init_args": {"channels": [4, 8], "features": 32}}',
            "--policy.core",
            "Lstm",
        ],
    ),
    "masks": ("cartpole/vtrace", [*GAME, "games:ToldCards-v0", "--shards", 3, "--envs_per_shard", 7]),
    "masks in a Dict": ("cartpole/vtrace", [*GAME, "games:Cards-v0", "--policy.core", "Gru", "--shards", 3]),
    "masks in infos, wrapped": ("cartpole/vtrace", [*TAXI, "--shards", 2, "--envs_per_shard", 4]),
    "agents that leave": (ROOT / "tests" / "games" / "leaving.yaml", ["--boundary_every", 3, "--policy.core", "Gru"]),
    "groups": ("pettingzoo/speaker-listener", ["--shards", 3, "--envs_per_shard", 8, "--boundary_every", 3]),
    "MultiDiscrete": ("cartpole/vtrace", [*GAME, "games:Dials-v0", "--shards", 3, "--envs_per_shard", 5]),
    "no snapshots": (
        "cartpole/vtrace",
        [*GAME, "games:Secret-v0", "--env.snapshots", "none", "--shards", 3, "--envs_per_shard", 5],
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


ONLY_FULL = (
    "odd sizes",
    "cartpole",
    "ppo",
    "planes",
    "masks",
    "masks in infos, wrapped",
    "atari, lives, residual",
    "groups",
)
ONLY_FULL += ("MultiDiscrete", "no snapshots", "swarm")
"""What differs least from others; half a minute each."""


ON_A_GPU = {"atari on a GPU": "atari", "residual on a GPU": "atari, lives, residual", "swarm on a GPU": "swarm"}
"""With the learner there, wherever the machine has one; a round comes in slices."""

OTHERS |= {
    name: (OTHERS[other][0], [*OTHERS[other][1], "--learner.device", "cuda", "--learner.slices", 3])
    for name, other in ON_A_GPU.items()
}


INLINE = ("atari", "agents that leave", "MultiDiscrete", "masks in a Dict", "no snapshots")
"""Those that small claims do not put on workers."""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.skipif(name in ON_A_GPU and not is_available(), reason="has no GPU"))
        for name in OTHERS
        if FULL or name not in ONLY_FULL
    ],
)
def test_other_experiments_keep_theirs(hydrahive, report, name):
    config, options = OTHERS[name]
    many = {"cartpole": 200_000, "odd sizes": 200_000}
    is_swarm = name.startswith("swarm")
    steps = many.get(name, 60_000 if is_swarm else 30_000) if FULL else 6_000 if is_swarm else 12_000
    if name.startswith(("atari", "residual")):
        steps = 12_000 if FULL else 800
    hydrahive.environment["PYTHONPATH"] = str(ROOT / "tests" / "games")
    options = [*options, "--stop.env_steps", steps, "--metrics_every", 1, "--checkpoint.every_boundaries", 1]
    inline = digests_of(hydrahive.train(config, "inline", *options, "--workers", 0))
    killed = hydrahive.start_training(config, "killed", *options, "--workers", 0)
    hydrahive.stop_at(killed, "killed", steps // 2, signal.SIGKILL)
    workers = 3 if FULL else 0 if name in INLINE else 2 if is_swarm else 1
    assert digests_of(hydrahive.train(config, "killed", *options, "--workers", workers)) == inline
    if FULL:
        assert digests_of(hydrahive.train(config, "one", *options, "--workers", 1)) == inline
    report.add(
        "One digest",
        f"- {name}: `{getattr(config, 'name', config)}` {steps:,} env steps, inline, {'on 1 worker, ' if FULL else ''}and killed and resumed on {workers} workers: `{inline[0]}`",
    )
