"""Stable-Baselines3 as an opponent, with rl-baselines3-zoo's values (hyperparams/*.yml); needs the extra `sb3`."""

from __future__ import annotations

from collections.abc import Iterator
from queue import Queue
from threading import Thread
from typing import Any

import numpy as np
import torch

from hydrahive.bench.score import EPISODES, Learner, Look
from hydrahive.core.config import AlgorithmConfig
from hydrahive.core.errors import UsageError, not_installed
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.training.clock import Clock

ZOO: dict[tuple[str, str], dict[str, Any]] = {
    ("CartPole-v1", "PPO"): {
        "n_envs": 8,
        "n_timesteps": 100_000,
        "n_steps": 32,
        "batch_size": 256,
        "gae_lambda": 0.8,
        "gamma": 0.98,
        "n_epochs": 20,
        "ent_coef": 0.0,
        "learning_rate": "lin_0.001",
        "clip_range": "lin_0.2",
    },
    ("CartPole-v1", "DQN"): {
        "n_envs": 1,
        "n_timesteps": 50_000,
        "learning_rate": 2.3e-3,
        "batch_size": 64,
        "buffer_size": 100_000,
        "learning_starts": 1000,
        "gamma": 0.99,
        "target_update_interval": 10,
        "train_freq": 256,
        "gradient_steps": 128,
        "exploration_fraction": 0.16,
        "exploration_final_eps": 0.04,
        "policy_kwargs": {"net_arch": [256, 256]},
    },
    ("Acrobot-v1", "DQN"): {
        "n_envs": 1,
        "n_timesteps": 100_000,
        "learning_rate": 6.3e-4,
        "batch_size": 128,
        "buffer_size": 50_000,
        "learning_starts": 0,
        "gamma": 0.99,
        "target_update_interval": 250,
        "train_freq": 4,
        "gradient_steps": -1,
        "exploration_fraction": 0.12,
        "exploration_final_eps": 0.1,
        "policy_kwargs": {"net_arch": [256, 256]},
    },
    ("LunarLander-v3", "PPO"): {
        "n_envs": 16,
        "n_timesteps": 1_000_000,
        "n_steps": 1024,
        "batch_size": 64,
        "gae_lambda": 0.98,
        "gamma": 0.999,
        "n_epochs": 4,
        "ent_coef": 0.01,
    },
    ("Pendulum-v1", "SAC"): {"n_envs": 1, "n_timesteps": 20_000, "learning_rate": 1e-3},
    ("Pendulum-v1", "TD3"): {
        "n_envs": 1,
        "n_timesteps": 20_000,
        "learning_rate": 1e-3,
        "gamma": 0.98,
        "buffer_size": 200_000,
        "learning_starts": 10_000,
        "noise_std": 0.1,
        "gradient_steps": 1,
        "train_freq": 1,
        "policy_kwargs": {"net_arch": [400, 300]},
    },
}
"""By environment and algorithm, as the zoo has them (LunarLander-v3 with the values of v2)."""

LIKE = {"AthQ": "DQN", "DQN": "DQN", "Rainbow": "DQN", "SAC": "SAC", "TQC": "SAC", "TD3": "TD3", "DDPG": "TD3"}
"""SB3's algorithm for ours; PPO for others."""

HELD_OUT_SEED = 1_000_003
"""Of the episodes that SB3 is judged by; it trains with small seeds."""

EVALUATION_ENVS = 10


def sb3(config: RunConfig) -> Learner:
    """SB3's algorithm for what a config trains.

    Raises:
        UsageError: If the zoo's values for it are not known here, or SB3 is not installed.
    """
    env_id = str(getattr(config.env, "id", type(config.env).__name__))
    name = _like(config.algorithm)
    if (env_id, name) not in ZOO:
        known = ", ".join(f"{algorithm} on {env}" for env, algorithm in ZOO)
        raise UsageError(f"--against: sb3 is raced where the zoo's values are known: {known}; not {name} on {env_id}")
    try:
        import stable_baselines3
    except ImportError as error:
        raise not_installed("--against: sb3", error) from None
    made = getattr(stable_baselines3, name)
    return lambda seed, every: _trained(made, env_id, dict(ZOO[env_id, name]), seed, every)


def _like(algorithm: AlgorithmConfig) -> str:
    """The algorithm of SB3's that is nearest."""
    return LIKE.get(type(algorithm).__name__, "PPO")


def _trained(made: Any, env_id: str, values: dict[str, Any], seed: int, every: int) -> Iterator[Look]:
    """Train on one thread and look every so many steps; the looks come out of the training's own thread."""
    from stable_baselines3.common.env_util import make_vec_env

    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("highest")  # SB3's own
    count, steps = values.pop("n_envs"), values.pop("n_timesteps")
    values = {name: _schedule(value) for name, value in values.items()}
    environments = make_vec_env(env_id, count, seed=seed)
    if (deviation := values.pop("noise_std", None)) is not None:
        from stable_baselines3.common.noise import NormalActionNoise

        width = int(np.prod(environments.action_space.shape or ()))
        values["action_noise"] = NormalActionNoise(np.zeros(width), deviation * np.ones(width))
    model = made("MlpPolicy", environments, seed=seed, device="cpu", **values)
    held_out = make_vec_env(env_id, EVALUATION_ENVS, seed=HELD_OUT_SEED)
    # `learn` calls back; whoever asks for looks pulls. A thread hands them over, one at a time.
    looks: Queue[Look | BaseException | None] = Queue(1)
    asked: Queue[bool] = Queue(1)
    callback = _looking(held_out, every, looks, asked)

    def learn() -> None:
        try:
            if asked.get():
                model.learn(steps, callback=callback)
            looks.put(None)
        except BaseException as error:  # is raised where the looks are awaited
            looks.put(error)

    thread = Thread(target=learn, daemon=True)
    thread.start()
    asked.put(True)
    try:
        while (look := looks.get()) is not None:
            if isinstance(look, BaseException):
                raise look
            yield look
            asked.put(True)
    finally:
        asked.put(False)
        thread.join(timeout=60)


def _looking(held_out: Any, every: int, looks: Queue[Any], asked: Queue[bool]) -> Any:
    """SB3's callback: evaluates greedily every so many steps, with the clock stopped."""
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.evaluation import evaluate_policy

    class Looking(BaseCallback):
        def _on_training_start(self) -> None:
            self.clock, self.due = Clock(), every

        def _on_step(self) -> bool:
            return True

        def _on_rollout_start(self) -> None:  # between two updates, as ours are looked at
            if self.num_timesteps < self.due:
                return
            seconds, self.due = self.clock.seconds, (self.num_timesteps // every + 1) * every
            scores, _ = evaluate_policy(self.model, held_out, EPISODES, deterministic=True, return_episode_rewards=True)
            mean = float(np.mean(scores))
            looks.put(Look(seconds, self.num_timesteps, mean))
            if not asked.get():
                raise KeyboardInterrupt  # nobody looks any more
            self.clock.leave_out(self.clock.seconds - seconds)

    return Looking()


def _schedule(value: Any) -> Any:
    """The zoo's `lin_0.001` as SB3 takes it: a line from there to 0."""
    from stable_baselines3.common.utils import LinearSchedule

    if not (isinstance(value, str) and value.startswith("lin_")):
        return value
    return LinearSchedule(float(value.removeprefix("lin_")), 0.0, 1.0)
