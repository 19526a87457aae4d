"""Hydrahive: distributed reinforcement learning on Ray, reproducible to the byte.

    import hydrahive

    run = hydrahive.train("cartpole/ppo", seed=3)
    run.evaluate()["mean"], run.digest
    policy = hydrahive.load_policy(run)

`docs/python.md` says more. Importing this loads neither torch nor Ray; they come when they are used.
"""

from __future__ import annotations

import importlib

__version__ = "0.1.0"

WHERE = {
    "api.calls": "train load_policy",
    "api.run": "Run",
    "api.policy": "Policy",
    "api.sweeping": "sweep",
    "api.environments": "make_env",
    "runtime.config.run_config": "RunConfig",
    "core.config": "EnvConfig EncoderConfig CoreConfig AlgorithmConfig ReplayConfig",
    "core.errors": "HydrahiveError UsageError ConfigError",
    "envs.vector": "SnapshotVectorEnv",
    "envs.snake.config": "Snake",
    "envs.swarm.config": "Swarm",
    "envs.atari.config": "Atari",
    "envs.gym.config": "Gym",
    "envs.gym.pooled": "EnvPool",
    "envs.pettingzoo.config": "PettingZoo",
    "policies.agent": "Agent",
    "algorithms.base.learning": "Algorithm",
    "algorithms.config": "PPO VTrace",
    "algorithms.q_config": "DQN Rainbow AthQ",
    "algorithms.control_config": "SAC TQC TD3 DDPG",
    "replay.config": "Rows Hindsight",
    "telemetry.loggers.base": "Logger LoggerConfig",
    "telemetry.loggers.config": "Csv Wandb Mlflow",
}
"""The public names, by the modules that they come from; `__init__.pyi` says it to type checkers."""

_MODULE = {name: f"hydrahive.{module}" for module, names in WHERE.items() for name in names.split()}

__all__ = ["__version__", *_MODULE]


def __getattr__(name: str) -> object:
    if name not in _MODULE:
        raise AttributeError(f"module 'hydrahive' has no attribute {name!r}")
    found: object = getattr(importlib.import_module(_MODULE[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
