"""The small runs whose digests are kept: every shipped experiment, and whatever else changes how bytes are made."""

from __future__ import annotations

import sys
from pathlib import Path

from hydrahive.runtime.config.parsing import load_run_config
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.config.shipped import find_config, shipped_experiments

TESTS = Path(__file__).parents[1]
sys.path.append(str(TESTS / "games"))  # where the games of the tests lie

UPDATES = 8

SMALL = ["--envs_per_shard", "8", "--fragment_length", "12", "--boundary_every", "3"]
ATARI = ["--envs_per_shard", "2", "--fragment_length", "8", "--boundary_every", "5", "--algorithm.minibatches", "4"]
IMPALA = '{"class_path": "Impala", "init_args": {"channels": [4, 8], "features": 32}}'
Q = ["--replay", "Uniform", "--replay.capacity", "4000"]
Q += ["--algorithm", "AthQ", "--algorithm.exploration.start", "0.5"]

DQN = ["--algorithm", "DQN", "--algorithm.warm_up", "100", "--algorithm.env_steps_per_gradient_step", "12"]
DQN += ["--algorithm.target_every", "7", "--algorithm.duelling", "true"]

ROWS = ["--replay", "Rows", "--replay.capacity", "600"]
LIVES = ["--env.game", "breakout", "--env.protocol", "deepmind"]
CROWD = ["--envs_per_shard", "10", "--fragment_length", "16", "--boundary_every", "2", "--policy.core", "Gru"]
FEWER = ["--env.time_limit", "20", "--env.agents", "10", "--env.stages", '[{"from_env_steps": 0, "agents": 4}]']

PPO = ["--algorithm.minibatches", "3", "--algorithm.target_kl", "0.02", "--algorithm.value_clip", "0.2"]
PPO += ["--policy.normalize", "true"]

DEEP_ATARI = ["--envs_per_shard", "2", "--fragment_length", "8", "--boundary_every", "5", "--algorithm.warm_up", "20"]
DEEP_ATARI += ["--replay", "Rows", "--replay.capacity", "600"]

JUDGED = ["--algorithm.warm_up", "40", "--algorithm.env_steps_per_gradient_step", "16", "--algorithm.batch", "32"]
"""Options that make an actor's critics learn in a small run."""

SHIPPED = {
    "atari/breakout": ATARI,
    "atari/breakout-dqn": DEEP_ATARI,
    "atari/breakout-rainbow": DEEP_ATARI,
    "atari/pong": ATARI,
    "atari/pong-ppo": ATARI,
    "atari/breakout-ppo": ATARI,
    "atari/pong-dqn": DEEP_ATARI,
    "atari/pong-rainbow": DEEP_ATARI,
    "cartpole/dqn": [*SMALL, "--algorithm.warm_up", "100"],
    "classic/acrobot": [*SMALL, "--algorithm.warm_up", "100"],
    "box2d/bipedal-walker": [*SMALL, *JUDGED],
    "classic/pendulum": [*SMALL, *JUDGED],
    **{f"mujoco/{name}": [*SMALL, *JUDGED] for name in ("ant", "halfcheetah", "hopper", "walker2d")},
    "robotics/fetch-reach": [*SMALL, *JUDGED],
    "swarm/sac": ["--envs_per_shard", "10", "--fragment_length", "12", "--boundary_every", "3", *JUDGED],
    "pettingzoo/speaker-listener": ["--envs_per_shard", "8", "--boundary_every", "3"],
    "snake/ai-hydra": ["--boundary_every", "10", "--env.size", "7"],
    "snake/ath-q": ["--boundary_every", "10", "--env.size", "9", "--fragment_length", "64"],
    "snake/ath-q-gru": ["--boundary_every", "10", "--env.size", "9", "--fragment_length", "64"],
    "snake/ath-q-rnn": ["--boundary_every", "10", "--env.size", "9", "--fragment_length", "64"],
    "snake/ath-vtrace": ["--boundary_every", "5", "--env.size", "9", "--envs_per_shard", "32", "--replay.ratio", "1.0"],
    "snake/hive": ["--boundary_every", "5"],
    "snake/planes": ["--env.size", "10", *SMALL, "--policy.encoder.strides", "[1,2,2]"],
    "snake/vtrace": ["--boundary_every", "5"],
    "swarm/hundred": ["--envs_per_shard", "100", "--fragment_length", "4", "--boundary_every", "2"],
    "swarm/obstacles": ["--envs_per_shard", "10", "--fragment_length", "12", "--boundary_every", "3"],
    "swarm/vtrace-lstm": ["--envs_per_shard", "10", "--fragment_length", "12", "--boundary_every", "3"],
}
"""Options that make a shipped experiment small; `SMALL` for the others."""

VARIED = {
    "cartpole, lag 0": ("cartpole/vtrace", [*SMALL, "--lag", "0", "--shards", "3"]),
    "cartpole, lag 3": ("cartpole/vtrace", [*SMALL, "--lag", "3"]),
    "cartpole, highest": ("cartpole/vtrace", [*SMALL, "--precision", "highest", "--learner.slices", "3"]),
    "cartpole, bfloat16": ("cartpole/vtrace", [*SMALL, "--precision", "bfloat16", "--policy.core", "Gru"]),
    "cartpole, 2 threads": ("cartpole/vtrace", [*SMALL, "--learner.threads", "2", "--envs_per_shard", "64"]),
    "cartpole, epochs": (
        "cartpole/vtrace",
        [
            *SMALL,
            "--algorithm.epochs",
            "2",
            "--algorithm.minibatches",
            "4",
            "--algorithm.policy_clip",
            "0.2",
            "--algorithm.normalize_advantages",
            "true",
        ],
    ),
    "cartpole, normalised": (
        "cartpole/vtrace",
        [*SMALL, "--policy.normalize", "true", "--algorithm.normalize_rewards", "true"],
    ),
    "cartpole, Rnn": ("cartpole/vtrace", [*SMALL, "--policy.core", "Rnn"]),
    "cartpole, Gru": ("cartpole/vtrace", [*SMALL, "--policy.core", "Gru"]),
    "cartpole, Lstm": ("cartpole/vtrace", [*SMALL, "--policy.core", "Lstm", "--learner.slices", "2"]),
    "cartpole, changes": (
        "cartpole/vtrace",
        [*SMALL, "--changes", '[{"from_update": 3, "key": "algorithm.learning_rate", "value": 0.01}]'],
    ),
    "cartpole, PPO": ("cartpole/ppo", [*SMALL, "--shards", "3", "--lag", "1", "--algorithm.minibatches", "4"]),
    "cartpole, PPO, Lstm": (
        "cartpole/ppo",
        [*SMALL, "--policy.core", "Lstm", "--learner.slices", "2", *PPO],
    ),
    "cartpole, Q": ("cartpole/vtrace", [*SMALL, *Q, "--fragment_length", "32"]),
    "cartpole, Q, Lstm": ("cartpole/vtrace", [*SMALL, *Q, "--fragment_length", "32", "--policy.core", "Lstm"]),
    "cartpole, DQN": ("cartpole/vtrace", [*SMALL, *DQN, "--policy.normalize", "true", "--learner.slices", "2"]),
    "cartpole, DQN, quantiles": (
        "cartpole/vtrace",
        [*SMALL, *DQN, "--algorithm.distribution", "quantiles", "--algorithm.n_step", "3", "--lag", "0"],
    ),
    "cartpole, Rainbow": (
        "cartpole/vtrace",
        [*SMALL, "--algorithm", "Rainbow", "--algorithm.warm_up", "100", *ROWS, "--replay.priority_exponent", "0.6"],
    ),
    "cartpole, SAC": ("cartpole/vtrace", [*SMALL, "--algorithm", "SAC", *JUDGED, "--policy.normalize", "true"]),
    "masks, SAC": ("cartpole/vtrace", [*SMALL, "--algorithm", "SAC", *JUDGED, "--env.id", "games:Cards-v0"]),
    "pendulum, SAC, dropout, slices": (
        "classic/pendulum",
        [
            *[*SMALL, *JUDGED, "--learner.slices", "3", "--algorithm.layer_norm", "true", "--algorithm.dropout", "0.1"],
            *["--algorithm.n_step", "3", "--replay.priority_exponent", "0.6"],
        ],
    ),
    "pendulum, TQC": ("classic/pendulum", [*SMALL, "--algorithm", "TQC", *JUDGED]),
    "pendulum, TD3": ("classic/pendulum", [*SMALL, "--algorithm", "TD3", *JUDGED]),
    "pendulum, DDPG": (
        "classic/pendulum",
        [*SMALL, "--algorithm", "DDPG", *JUDGED, "--algorithm.noise_correlation", "0.9"],
    ),
    "cartpole, curious": ("cartpole/ppo", [*SMALL, "--curiosity.bonus", "0.2"]),
    "snake, fisheye": ("snake/vtrace", [*SMALL, "--env.observation", "fisheye"]),
    "snake, features": ("snake/vtrace", [*SMALL, "--env.observation", "features"]),
    "snake, uniform replay": (
        "snake/vtrace",
        [*SMALL, "--env.size", "9", "--fragment_length", "48", "--replay", "Uniform", "--replay.capacity", "4000"],
    ),
    "atari, lives, Rainbow": (
        "atari/pong",
        [*ATARI[:-2], *LIVES, "--algorithm", "Rainbow", "--algorithm.warm_up", "20", *ROWS],
    ),
    "atari, lives, residual": (
        "atari/pong",
        [
            *ATARI,
            "--env.game",
            "breakout",
            "--env.protocol",
            "deepmind",
            "--policy.encoder",
            IMPALA,
            "--policy.core",
            "Lstm",
            "--algorithm.minibatches",
            "1",
        ],
    ),
    "masks in a Dict": ("cartpole/vtrace", [*SMALL, "--env.id", "games:Cards-v0", "--policy.core", "Gru"]),
    "masks, DQN": ("cartpole/vtrace", [*SMALL, *DQN, "--env.id", "games:Cards-v0"]),
    "masks in infos": ("cartpole/vtrace", [*SMALL, "--env.id", "games:ToldCards-v0"]),
    "MultiDiscrete": ("cartpole/vtrace", [*SMALL, "--env.id", "games:Dials-v0"]),
    "no snapshots": ("cartpole/vtrace", [*SMALL, "--env.id", "games:Secret-v0", "--env.snapshots", "none"]),
    "no snapshots, replay": (
        "cartpole/vtrace",
        [*SMALL, "--env.id", "games:Secret-v0", "--env.snapshots", "none", "--replay", "Uniform"],
    ),
    "agents that leave": (str(TESTS / "games" / "leaving.yaml"), ["--boundary_every", "3", "--policy.core", "Gru"]),
    "swarm, stages, replay": (
        "swarm/obstacles",
        [*CROWD, *FEWER, "--replay", "Uniform", "--replay.sequence", "4", "--replay.batch", "8"],
    ),
    "swarm, central critic": (
        "swarm/obstacles",
        [*CROWD, *FEWER, "--algorithm", "PPO", "--algorithm.central_critic", "true", "--algorithm.epochs", "2"],
    ),
    "swarm, stages": (
        "swarm/obstacles",
        ["--envs_per_shard", "10", "--fragment_length", "8", "--boundary_every", "2", "--policy.core", "Lstm"],
    ),
}

PORTABLE = {
    "snake/vtrace": ("snake/vtrace", ["--boundary_every", "5"]),
    "cartpole, Lstm": ("cartpole/vtrace", [*SMALL, "--policy.core", "Lstm", "--learner.slices", "2"]),
    "cartpole, normalised": VARIED["cartpole, normalised"],
    "snake/ath-q": ("snake/ath-q", SHIPPED["snake/ath-q"]),
    "swarm/vtrace-lstm": ("swarm/vtrace-lstm", SHIPPED["swarm/vtrace-lstm"]),
    "snake/planes": ("snake/planes", SHIPPED["snake/planes"]),
}
"""Those that are kept for the portable machine class, too."""

README_TABLE = ("snake/vtrace", ["--shards", "4", "--stop.env_steps", "500000"])
"""The run of the README's table of digests."""

OTHER_SEED = "7"

README_TRAIN = ("snake/ppo", [])
"""What `make train` trains."""


def runs() -> dict[str, tuple[str, list[str]]]:
    """All runs of an ordinary machine class: a config and its options, by name."""
    shipped = {name: (name, SHIPPED.get(name, SMALL)) for name in sorted(shipped_experiments())}
    return {name: (config, [*options, *_end(name)]) for name, (config, options) in {**shipped, **VARIED}.items()}


def portable_runs() -> dict[str, tuple[str, list[str]]]:
    """Those of the portable one."""
    options = ["--portable", "true", "--precision", "highest"]
    return {name: (config, [*given, *_end(name), *options]) for name, (config, given) in PORTABLE.items()}


def _end(name: str) -> list[str]:
    return ["--stop.updates", str(3 if name.startswith("atari") else UPDATES)]


def config_of(config: str, options: list[str]) -> RunConfig:
    """A run's config."""
    path, _ = find_config(config)
    return load_run_config(path, options)
