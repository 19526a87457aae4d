"""One of RLlib's algorithms at work: iterations, what they tell, and its checkpoints as arrays."""

from __future__ import annotations

import json
import logging
import pickle
import tempfile
import warnings
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME
from ray.tune.registry import register_env

from hydrahive.core.config import EnvConfig
from hydrahive.core.errors import CheckpointError, ConfigError, DivergedError, HydrahiveError
from hydrahive.core.state import State, nested, under
from hydrahive.policies.flat_weights import FlatWeights
from hydrahive.rllib.config import Rllib
from hydrahive.rllib.masks import module_spec
from hydrahive.rllib.policy import RllibPolicy
from hydrahive.rllib.reading import figures_of
from hydrahive.rllib.runners import COUNTED, Counts, EnvRunner, WorldRunner, seed
from hydrahive.rllib.settings import settings
from hydrahive.rllib.shown import spaces_of
from hydrahive.rllib.tallies import Counted
from hydrahive.rllib.vectors import RllibVector
from hydrahive.rllib.worlds import RllibWorld

ENV = "hydrahive"
"""The name under which RLlib finds the environment."""

MODULE = "shared"
"""The module that all agents of a world share, as they share one policy elsewhere here."""

BUFFER = "replay_buffer.pkl"
"""Among those files the replay buffer, where `store_buffer_in_checkpoints` says so: RLlib's new stack does not."""

FILES = "rllib"
"""Under which the files of RLlib's own checkpoint stand among a learner's arrays."""


@dataclass(frozen=True)
class Iteration:
    """What RLlib did between two calls.

    Attributes:
        figures: By our names, and RLlib's own under `rllib/`.
        counted: What the env runners counted.
        healthy: Env runners that work.
        restarts: How often RLlib has restarted one, in all.
    """

    figures: dict[str, float]
    counted: tuple[Counted, ...]
    healthy: int
    restarts: int


class Trained:
    """RLlib's Algorithm for a run."""

    def __init__(self, config: Rllib, env: EnvConfig, seed: int, workers: int) -> None:
        """Build it.

        Args:
            config: Which algorithm, and RLlib's keys.
            env: What it learns.
            seed: The run's.
            workers: Env runners; with 0 it samples in this process.

        Raises:
            HydrahiveError: If RLlib cannot build it.
        """
        for name in ("ray", "ray.rllib"):
            logging.getLogger(name).setLevel(logging.ERROR)
        warnings.filterwarnings("ignore")
        self._env, self._seed, self._workers = env, seed, workers
        self._updates = self._gradient_steps = 0
        self._build(config)

    def _build(self, config: Rllib) -> None:
        register_env(ENV, partial(make_env, self._env))
        with closing(self._env.make_vector(self._env.group)) as probe:
            spaces, asked = (probe.single_observation_space, probe.single_action_space), spaces_of(probe)
            has_masks = probe.legal_actions() is not None
        self._config, self._is_fresh = config, True
        self.policy = RllibPolicy(config, *spaces, self._env.group)
        self._flat = FlatWeights(self.policy)
        built = configured(config, self._env, self._seed, self._workers)
        if has_masks:
            built.rl_module(rl_module_spec=module_spec(built, *asked))
        try:
            self.algorithm = built.build_algo()
        except Exception as error:  # RLlib raises what it likes
            raise HydrahiveError(f"RLlib cannot build {config.name}: {_told(error)}") from error

    @property
    def module_id(self) -> str:
        """The one module's name."""
        return MODULE if self._env.group > 1 else "default_policy"

    def iterate(self) -> Iteration:
        """One of RLlib's iterations.

        Raises:
            HydrahiveError: If it fails.
        """
        self._is_fresh = False
        try:
            told = self.algorithm.train()
        except Exception as error:
            raise HydrahiveError(f"RLlib's {self._config.name} failed: {_told(error)}") from error
        self._updates += 1
        figures = figures_of(told, self.module_id)
        self._gradient_steps = max(self._gradient_steps, int(figures["gradient_steps"]))
        of_runners = told.get(ENV_RUNNER_RESULTS, {})
        counted = of_runners.pop(COUNTED, [])
        texts = [counted] if isinstance(counted, str) else [one for one in counted if isinstance(one, str)]
        health = told.get("fault_tolerance", {})
        return Iteration(
            figures,
            tuple(map(Counted.of, texts)),
            int(health.get("num_healthy_workers", self._workers)),
            int(health.get("num_remote_worker_restarts", 0)),
        )

    def weights(self) -> np.ndarray:
        """The policy as it acts now, with what its connectors know, as a flat vector."""
        policy, flat = self.policy, self._flat
        state = self.algorithm.learner_group.get_state(components=f"learner/rl_module/{self.module_id}")
        arrays: Any = state["learner"]["rl_module"][self.module_id]
        with torch.no_grad():
            own = dict(policy.module.named_parameters()) | dict(policy.module.named_buffers())
            for name, tensor in own.items():
                tensor.copy_(torch.as_tensor(np.asarray(arrays[name])))
        if policy.filters:
            policy.take_filter(self._filter())
        vector = flat.numpy()
        if not np.isfinite(vector).all():
            raise DivergedError(
                f"weights of RLlib's {self._config.name} are not finite after {self._updates} iterations"
            )
        return vector

    def _filter(self) -> dict[str, Any]:
        runner = self.algorithm.env_runner
        pipeline = self.algorithm.env_to_module_connector if runner is None else runner._env_to_module
        states: Any = pipeline.get_state()
        return next(state for name, state in states.items() if "MeanStdFilter" in name)

    def save(self) -> State:
        """All that it can be continued from: weights, counters, and the files of RLlib's own checkpoint."""
        self.weights()
        with tempfile.TemporaryDirectory(prefix="hydrahive-rllib-") as folder:
            self.algorithm.save_to_path(folder)
            files = _files_in(Path(folder))
        buffer = self.algorithm.local_replay_buffer
        if buffer is not None and self.algorithm.config.store_buffer_in_checkpoints:
            files[BUFFER] = np.frombuffer(pickle.dumps(buffer.get_state()), np.uint8)
        counters = np.array([self._updates, self._gradient_steps, self._steps], np.int64)
        return {
            **nested("weights", self._flat.named(self._flat.vector)),
            "counters": counters,
            "config": np.frombuffer(json.dumps(self._config.config, sort_keys=True).encode(), np.uint8),
            **nested(FILES, files),
        }

    def restore(self, state: State, config: Rllib) -> None:
        """Go on from what `save` gave, with RLlib's keys as they are now.

        Raises:
            CheckpointError: If RLlib cannot read it, or does not stand where it stood then.
        """
        if self._stands_at(state, config):
            return
        if config != self._config or not self._is_fresh:  # IMPALA's learner thread may be in the middle of a step
            self.close()
            self._build(config)
        self._is_fresh = False
        files = under(FILES, state)
        with tempfile.TemporaryDirectory(prefix="hydrahive-rllib-") as folder:
            for name, data in files.items():
                path = Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data.tobytes())
            try:
                self.algorithm.restore_from_path(folder)
            except Exception as error:
                raise CheckpointError(f"RLlib cannot read its checkpoint: {_told(error)}") from error
        if BUFFER in files and self.algorithm.local_replay_buffer is not None:
            self.algorithm.local_replay_buffer.set_state(pickle.loads(files[BUFFER].tobytes()))  # noqa: S301
        self._updates, self._gradient_steps, steps = (int(count) for count in state["counters"])
        if (self._steps, self.algorithm.iteration) != (steps, self._updates):
            raise CheckpointError(
                f"RLlib goes on at {self._steps} env steps and iteration {self.algorithm.iteration}; its checkpoint "
                f"was made at {steps} and {self._updates}"
            )
        is_other = json.loads(state["config"].tobytes()) != json.loads(json.dumps(config.config))
        self._have_hold(steps, rates=is_other)
        self.algorithm.env_runner_group.foreach_env_runner(partial(seed, since=steps))

    def load_weights(self, state: State) -> None:
        """Begin with a policy's weights; what only learning needs keeps what RLlib drew for it."""
        prefix = "module."
        arrays = {name.removeprefix(prefix): array for name, array in under("weights", state).items()}
        self.algorithm.learner_group.foreach_learner(partial(_take, self.module_id, arrays))
        self.algorithm.env_runner_group.sync_weights(
            from_worker_or_learner_group=self.algorithm.learner_group, inference_only=True
        )

    def _stands_at(self, state: State, config: Rllib) -> bool:
        """Whether it is where it would be brought: building it anew takes seconds."""
        if config != self._config or self._is_fresh or int(state["counters"][0]) != self._updates:
            return False
        self.weights()
        kept = under("weights", state)
        return all(np.array_equal(now, kept[name]) for name, now in self._flat.named(self._flat.vector).items())

    def _have_hold(self, steps: int, *, rates: bool) -> None:
        """Have the config's own values hold, where a checkpoint brings others or none.

        RLlib restores the optimizer with the checkpoint's learning rate, whatever the config says now, and begins
        schedules of entropy costs anew until the first update.
        """
        self.algorithm.learner_group.foreach_learner(partial(_stand_at, steps=steps, rates=rates))

    def learning_rates(self) -> list[float]:
        """Of all optimizers of the first learner."""
        found = self.algorithm.learner_group.foreach_learner(_rates)
        return list(next(iter(found)).get())

    @property
    def _steps(self) -> int:
        """Env steps, as RLlib counts them."""
        return int(self.algorithm.metrics.peek((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), default=0))

    def follow(self, config: Rllib) -> None:
        """Go on with other values of RLlib's keys, all else as it is."""
        self.restore(self.save(), config)

    def close(self) -> None:
        """End its env runners."""
        self.algorithm.stop()


def _files_in(root: Path) -> State:
    paths = [path for path in sorted(root.rglob("*")) if path.is_file()]
    return {path.relative_to(root).as_posix(): np.frombuffer(path.read_bytes(), np.uint8) for path in paths}


def _stand_at(learner: Any, *, steps: int, rates: bool) -> None:
    """Have a learner's schedules stand where they stand after so many env steps; with `rates` learning rates, too."""
    for optimizer, schedule in learner._optimizer_lr_schedules.items():
        value = schedule.update(timestep=steps)
        if rates:
            learner._set_optimizer_lr(optimizer, lr=value)
    costs: Any = getattr(learner, "entropy_coeff_schedulers_per_module", None)
    if costs is not None:
        for module in list(learner.module.keys()):
            costs[module].update(timestep=steps)


def _take(module: str, arrays: State, learner: Any) -> None:
    """Give a learner's module these weights."""
    own = learner.module[module].state_dict()
    with torch.no_grad():
        for name, tensor in own.items():
            if name in arrays:
                tensor.copy_(torch.as_tensor(arrays[name]))


def _rates(learner: Any) -> list[float]:
    optimizers = learner._optimizer_lr_schedules
    return [float(group["lr"]) for optimizer in optimizers for group in optimizer.param_groups]


def configured(config: Rllib, env: EnvConfig, seed: int, workers: int) -> Any:
    """RLlib's AlgorithmConfig for a run.

    Raises:
        ConfigError: If RLlib refuses a value.
    """
    built = settings(config.name, config.config)
    built.environment(ENV, env_config={"seed": seed})
    several = env.group > 1
    built.env_runners(num_env_runners=workers, env_runner_cls=WorldRunner if several else EnvRunner)
    if several and "MeanStdFilter" in config.config.get("env_to_module_connector", []):
        accepted = "none in worlds of several agents: RLlib's filter keeps statistics of each by its name"
        raise ConfigError("algorithm.config.env_to_module_connector", ["MeanStdFilter"], accepted)
    if several:
        built.multi_agent(policies={MODULE}, policy_mapping_fn=_shared)
        buffer = getattr(built, "replay_buffer_config", None)
        if buffer and not str(buffer["type"]).startswith("MultiAgent"):
            built.training(replay_buffer_config={**buffer, "type": f"MultiAgent{buffer['type']}"})
    else:
        built.env_runners(gym_env_vectorize_mode="vector_entry_point")
    built.callbacks(Counts)
    built.debugging(seed=seed % 2**31, log_level="ERROR")
    return built


def make_env(config: EnvConfig, context: Any) -> Any:
    """What RLlib's env runners are given: a vector, or one world of several agents."""
    return RllibWorld(config) if config.group > 1 else RllibVector(config, context["num_envs"])


def _shared(*_: Any, **__: Any) -> str:
    return MODULE


def _told(error: BaseException) -> str:
    """What went wrong, in a line: RLlib's and Ray's errors have their causes inside."""
    cause: Any = error
    while getattr(cause, "cause", None) is not None:
        cause = cause.cause
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return f"{type(cause).__name__}: {lines[-1] if lines else ''}"
