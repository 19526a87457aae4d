"""RLlib as an opponent: its algorithms with the figures of a config of ours, or with those of its own examples."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from hydrahive.bench.contenders import settling
from hydrahive.core.errors import UsageError
from hydrahive.envs.atari.config import Atari
from hydrahive.ledger.prices import LedgerConfig
from hydrahive.policies.config import NATURE_CONVOLUTIONS, Mlp, Nature
from hydrahive.rllib.config import UNUSED, Rllib
from hydrahive.runtime.cluster.member import RunOnCluster
from hydrahive.runtime.cluster.rllib.fleet import RllibFleet
from hydrahive.runtime.config.parsing import load_run_config
from hydrahive.runtime.config.plain import as_plain, built
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.config.shipped import shipped_experiments
from hydrahive.runtime.schedule.schedules import schedule_of

NAME = "rllib"
"""Its IMPALA; others as `rllib:PPO`."""

NAMES = (NAME, *(f"{NAME}:{name}" for name in ("PPO", "IMPALA", "APPO", "DQN", "SAC", "TQC")))

TRAINED = "rllib/learners/__all_modules__/num_module_steps_trained_lifetime"
"""RLlib's own count of rows that it has trained on, in all minibatches of all epochs."""

SELDOM = 10**9
"""Updates between boundaries, of which a race has none."""


def is_rllib(name: str) -> bool:
    """Whether a contender is one of RLlib's."""
    return name in NAMES


class RllibRace:
    """One of RLlib's algorithms, trained as a run is, in windows of time."""

    def __init__(self, name: str, config: RunConfig, workers: int, embedded: bool) -> None:
        """Build it on the connected Ray cluster.

        Raises:
            UsageError: If the config uses a part that has no counterpart in RLlib.
        """
        self.name = name
        like = alike(config, _algorithm(name), max(workers, 1))
        self._fleet = RllibFleet(like, RunOnCluster(name, f"bench-{name}", "cpu", max(workers, 1), embedded))
        self._updates = schedule_of(like, self._fleet, None).updates()
        told: Any = like.algorithm
        self._on_policy = told.name in ("PPO", "IMPALA", "APPO")
        # In each fragment of IMPALA's there is one row for the bootstrap.
        extra = 1 / config.fragment_length if told.name in ("IMPALA", "APPO") else 0
        self._rows_per_step = told.config.get("num_epochs", 1) * (1 + extra)
        self._steps = 0.0

    def window(self, seconds: float) -> float:
        """Train; of those that learn on policy RLlib's own count of trained rows is believed."""
        self._train(settling(seconds))
        return self._train(seconds)

    def _train(self, seconds: float) -> float:
        self._update()
        first, started = self._steps, time.perf_counter()
        while time.perf_counter() - started < seconds:
            self._update()
        return (self._steps - first) / (time.perf_counter() - started)

    def _update(self) -> None:
        update = next(self._updates)
        if not self._on_policy:
            self._steps = update.progress.env_steps
        elif TRAINED in update.metrics:
            self._steps = update.metrics[TRAINED] / self._rows_per_step

    def close(self) -> None:
        """End its actors."""
        self._updates.close()
        self._fleet.close()


def _algorithm(name: str) -> str:
    return name.partition(":")[2] or "IMPALA"


def tuned(config: RunConfig, name: str) -> RunConfig:
    """RLlib's algorithm with the values of RLlib's own example where one is shipped, else with those of a config."""
    algorithm = _algorithm(name)
    for path in (path for name, path in shipped_experiments().items() if name.startswith("rllib/")):
        example = load_run_config(path)
        if example.env == config.env and isinstance(example.algorithm, Rllib) and example.algorithm.name == algorithm:
            return dataclasses.replace(example, stop=config.stop, boundary_every=SELDOM, ledger=LedgerConfig(False))
    return alike(config, algorithm, max(config.worker_count(), 1))


def alike(config: RunConfig, name: str, workers: int) -> RunConfig:
    """A run of RLlib's algorithm with the figures of a config of ours.

    Raises:
        UsageError: If that uses a part that has no counterpart there.
    """
    encoder: Any = config.policy.encoder
    algorithm: Any = config.algorithm
    fits = isinstance(encoder, Nature) if isinstance(config.env, Atari) else isinstance(encoder, Mlp)
    if not fits or config.policy.memory_size or config.policy.normalize:
        accepted = "encoder Mlp, or Nature on Atari, without a memory and without normalize"
        raise UsageError(f"--against {NAME}: RLlib has no counterpart to this policy; expected {accepted}")
    given = {"gamma": algorithm.discount, "lr": _now(algorithm.learning_rate)} if hasattr(algorithm, "discount") else {}
    if name in ("PPO", "IMPALA", "APPO"):
        given |= _on_policy(config, name, workers)
    plain = {key: value for key, value in as_plain(config).items() if key not in UNUSED}
    keys = {**given, "model_config": _model(config)}
    plain |= {"algorithm": {"class_path": "Rllib", "init_args": {"name": name, "config": keys}}, "workers": workers}
    plain |= {"schedule": "rllib", "boundary_every": SELDOM, "changes": []}
    return built(plain)


def _on_policy(config: RunConfig, name: str, workers: int) -> dict[str, Any]:
    """Its figures of sampling and of the loss, where ours are of that kind, too.

    Raises:
        UsageError: If they are not.
    """
    algorithm: Any = config.algorithm
    kind = type(algorithm).__name__
    if kind not in ("VTrace", "PPO"):
        raise UsageError(f"--against {NAME}:{name}: is raced against VTrace or PPO, not against {kind}")
    columns = config.shards * config.envs_per_shard
    rows = columns * config.fragment_length
    is_ppo = kind == "PPO"
    parts = algorithm.minibatches if is_ppo else algorithm.minibatches_of(columns, config.learner.slices)
    given = {
        "num_envs_per_env_runner": max(1, columns // workers),
        "rollout_fragment_length": config.fragment_length,
        "num_learners": 0,
        "train_batch_size_per_learner": rows,
        "num_epochs": algorithm.epochs,
        "minibatch_size": columns // parts * config.fragment_length if parts > 1 or name == "PPO" else None,
        "grad_clip": algorithm.gradient_norm,
        "grad_clip_by": "global_norm",
        "vf_loss_coeff": algorithm.value_cost,
        "entropy_coeff": _now(algorithm.entropy_cost),
    }
    if name == "PPO" and is_ppo:
        given |= {"lambda_": algorithm.trace_decay, "clip_param": _now(algorithm.policy_clip)}
    if name != "PPO":
        given |= {"vtrace_clip_rho_threshold": getattr(algorithm, "rho_clip", 1.0), "min_time_s_per_iteration": 0.5}
    return given


def _now(value: Any) -> float:
    return float(value if isinstance(value, int | float) else value.start)


def _model(config: RunConfig) -> dict[str, Any]:
    """RLlib's network of our encoder's layers."""
    encoder: Any = config.policy.encoder
    if isinstance(encoder, Mlp):
        return {"fcnet_hiddens": list(encoder.hidden), "fcnet_activation": "relu", "vf_share_layers": True}
    assert isinstance(config.env, Atari), "nothing else is raced with it"
    left = config.env.size
    for _, kernel, stride in NATURE_CONVOLUTIONS:
        left = (left - kernel) // stride + 1
    # The fully connected layer as a convolution over all that is left: RLlib's own heads would be two of them.
    filters = [[*layer, "valid"] for layer in NATURE_CONVOLUTIONS] + [[encoder.features, left, 1, "valid"]]
    return {"conv_filters": filters, "conv_activation": "relu", "vf_share_layers": True}
