"""What can be raced: our trainer in its several ways, and RLlib's IMPALA. Each runs only inside its windows."""

from __future__ import annotations

import dataclasses
import logging
import tempfile
import time
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

from hydrahive.algorithms.config import VTrace
from hydrahive.core.errors import HydrahiveError, UsageError
from hydrahive.envs.atari.config import Atari
from hydrahive.envs.gym.config import Gym
from hydrahive.envs.snake.config import Snake
from hydrahive.ledger.audit_rules import Standings
from hydrahive.ledger.ledger import Ledger
from hydrahive.ledger.prices import price_of
from hydrahive.policies.config import NATURE_CONVOLUTIONS, Mlp, Nature
from hydrahive.runtime.accounting.audits import Audits, Caught
from hydrahive.runtime.accounting.run_accounts import RunAccounts
from hydrahive.runtime.cluster.member import RunOnCluster
from hydrahive.runtime.cluster.ray_fleet import RayFleet
from hydrahive.runtime.config.plain import as_plain
from hydrahive.runtime.config.run_config import RunConfig, StopConfig
from hydrahive.runtime.fleet.inline import InlineFleet
from hydrahive.runtime.fleet.interface import Fleet
from hydrahive.runtime.fleet.ledger_line import DirectLine, LedgerLine, RunAccount
from hydrahive.runtime.runs.boundary import Progress
from hydrahive.runtime.schedule.schedules import schedule_of
from hydrahive.runtime.training.memory_plan import MOST_WAITING

NEVER = StopConfig(env_steps=10**15)


def settling(seconds: float) -> float:
    """Time before a window of so many seconds that is not counted: pipelines fill, others' last work drains.

    That may be a fragment of a second and more, where steps are dear.
    """
    return max(1.0, seconds / 4)


class Contender(Protocol):
    """Something that trains in windows of time."""

    name: str

    def window(self, seconds: float) -> float:
        """Train for about so long and give the trained env steps/s."""

    def close(self) -> None:
        """End it."""


class Hydrahive:
    """Our own trainer: its schedule over a fleet, with its books, without sinks or checkpoints."""

    def __init__(self, name: str, config: RunConfig, fleet: Fleet, *, embedded: bool = True) -> None:
        """Begin a run that never stops by itself; its ledger is a file of its own that goes with it."""
        self.name = name
        self._fleet = fleet
        self._config = config = dataclasses.replace(config, stop=NEVER)
        self._folder = tempfile.TemporaryDirectory(prefix="hydrahive-bench-")
        path = Path(self._folder.name) / "ledger.sqlite"
        self._line: LedgerLine | None = None
        if config.ledger.enabled:
            # A race earns nothing: the ledger of a cluster that others use is left alone.
            self._line = fleet.ledger_line(path) if embedded else DirectLine(Ledger(path))
        account, price = RunAccount(name, name, "bench", bytes(32)), price_of(config.ledger, config.env.step_weight)
        self._accounts = RunAccounts(account, price, 0, Progress(), self._line)
        standings = Standings(config.audit)
        self._audits = Audits(fleet, standings, bytes(32), 0, None, MOST_WAITING)
        fleet.oversee(bytes(32), standings)
        self._updates = schedule_of(config, fleet, None).updates()

    def window(self, seconds: float) -> float:
        """Train; updates are counted when the learner has done them."""
        self._train(settling(seconds))
        return self._train(seconds)

    def _train(self, seconds: float) -> float:
        first = self._update()
        started = time.perf_counter()
        steps = first
        while time.perf_counter() - started < seconds:
            steps = self._update()
        return (steps - first) / (time.perf_counter() - started)

    def _update(self) -> int:
        """One update, and what the books want of it; the env steps after it."""
        update = next(self._updates)
        self._accounts.take(update)
        self._audits.take(update)
        for passed in self._audits.passed(wait=False):
            assert not isinstance(passed, Caught), passed.verdict.text
            if passed.updates // self._config.boundary_every % self._config.checkpoint.every_boundaries == 0:
                self._accounts.judge(self._audits.take_verdicts())
                self._accounts.seal(passed.progress)
                self._accounts.post(_complain)
        self._accounts.tend(_complain)
        return update.progress.env_steps

    def close(self) -> None:
        """End the fleet."""
        self._updates.close()
        self._fleet.close()
        if self._line:
            self._line.close()
        self._folder.cleanup()


def _complain(kind: str, text: str, **fields: object) -> None:
    """Nothing may go wrong with the books in a race: it would be measured as speed.

    Raises:
        HydrahiveError: Always.
    """
    raise HydrahiveError(f"bench: {text}")


def ours(name: str, config: RunConfig, workers: int, device: str, *, embedded: bool = True) -> Hydrahive:
    """Our trainer inline (`workers` 0) or with so many env workers on the connected Ray cluster."""
    if workers == 0:
        return Hydrahive(name, config, InlineFleet(config, name, device))
    fleet = RayFleet(config, RunOnCluster(name, f"bench-{name}", device, workers, embedded))
    return Hydrahive(name, config, fleet, embedded=embedded)


class RllibImpala:
    """RLlib's IMPALA (new API stack) on the same environment, network sizes, environments a worker and batch.

    It is set up as its users can: our own fast vector environment as Gymnasium vector entry point instead of
    single environments, the learner in the driver's process (which saves it a hand-over) with torch's setting for
    matrix products that ours has, no aggregators. Convolutions, which that setting does not touch, are float32.
    """

    def __init__(self, config: RunConfig, workers: int) -> None:
        """Build the algorithm on the connected Ray cluster.

        Raises:
            UsageError: If the experiment uses a part that has no counterpart in RLlib.
        """
        env, encoder = config.env, config.policy.encoder
        is_plain_gym = isinstance(env, Gym) and env.has_vector and not (env.kwargs or env.wrappers)
        fits = isinstance(encoder, Nature) if isinstance(env, Atari) else isinstance(encoder, Mlp)
        known = isinstance(env, Snake | Atari) or is_plain_gym
        if not (known and fits and isinstance(config.algorithm, VTrace) and not config.policy.memory_size):
            raise UsageError(
                "--against rllib: needs VTrace without a memory, on Snake or a Gymnasium environment with a vector of "
                "its own (encoder Mlp), or on Atari (encoder Nature)"
            )
        self.name = "rllib"
        logging.getLogger("ray").setLevel(logging.ERROR)
        warnings.filterwarnings("ignore")
        self._algorithm = rllib_config(config, workers).build_algo()
        # It counts the rows of all minibatches in all epochs; in each fragment there is one for the bootstrap.
        self._rows_per_step = config.algorithm.epochs * (1 + 1 / config.fragment_length)
        self._trained = 0

    def window(self, seconds: float) -> float:
        """Train; RLlib's own count of the rows that it trained on is believed."""
        self._train(settling(seconds))
        return self._train(seconds)

    def _train(self, seconds: float) -> float:
        self._iterate()
        first, started = self._trained, time.perf_counter()
        while time.perf_counter() - started < seconds:
            self._iterate()
        return (self._trained - first) / (time.perf_counter() - started)

    def _iterate(self) -> None:
        results = self._algorithm.train()
        learners = results.get("learners", {}).get("__all_modules__", {})
        rows = learners.get("num_module_steps_trained_lifetime")
        self._trained = self._trained if rows is None else round(rows / self._rows_per_step)

    def close(self) -> None:
        """End the algorithm's actors."""
        self._algorithm.stop()


def rllib_config(config: RunConfig, workers: int) -> Any:
    """RLlib's IMPALA with the figures of our config."""
    from ray.rllib.algorithms.impala import IMPALAConfig

    algorithm: Any = config.algorithm
    columns = config.shards * config.envs_per_shard
    env: Any = config.env
    if isinstance(env, Snake):
        env_id, env_options = "hydrahive.envs:hydrahive/Snake-v0", _flat_options(env)
    elif isinstance(env, Atari):
        env_id, env_options = "hydrahive.envs:hydrahive/Atari-v0", {**as_plain(env)["init_args"], "floats": True}
    else:
        env_id, env_options = env.id, {}
    rate = algorithm.learning_rate
    rate = rate if isinstance(rate, float) else rate.start
    entropy = algorithm.entropy_cost
    entropy = entropy if isinstance(entropy, float) else entropy.start
    parts = algorithm.minibatches_of(columns, config.learner.slices)
    return (
        IMPALAConfig()
        .environment(env_id, env_config=env_options)
        .env_runners(
            num_env_runners=workers,
            num_envs_per_env_runner=max(1, columns // workers),
            rollout_fragment_length=config.fragment_length,
            gym_env_vectorize_mode="vector_entry_point",
        )
        .learners(num_learners=0)
        .rl_module(model_config=_rllib_model(config))
        .training(
            lr=rate,
            gamma=algorithm.discount,
            train_batch_size_per_learner=columns * config.fragment_length,
            num_epochs=algorithm.epochs,
            minibatch_size=columns // parts * config.fragment_length if parts > 1 else None,
            grad_clip=algorithm.gradient_norm,
            grad_clip_by="global_norm",
            vf_loss_coeff=algorithm.value_cost,
            entropy_coeff=entropy,
            vtrace_clip_rho_threshold=algorithm.rho_clip,
        )
        .reporting(min_time_s_per_iteration=0, min_sample_timesteps_per_iteration=0)
        .debugging(log_level="ERROR")
    )


def _rllib_model(config: RunConfig) -> Any:
    """RLlib's network of our encoder's layers."""
    from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

    encoder: Any = config.policy.encoder
    if isinstance(encoder, Nature):
        assert isinstance(config.env, Atari), "nothing else is raced with it"
        left = config.env.size
        for _, kernel, stride in NATURE_CONVOLUTIONS:
            left = (left - kernel) // stride + 1
        return DefaultModelConfig(
            # The fully connected layer as a convolution over all that is left: RLlib's own heads would be two of them.
            conv_filters=[[*layer, "valid"] for layer in NATURE_CONVOLUTIONS] + [[encoder.features, left, 1, "valid"]],
            conv_activation="relu",
            vf_share_layers=True,
        )
    return DefaultModelConfig(fcnet_hiddens=encoder.hidden, fcnet_activation="relu", vf_share_layers=True)


def _flat_options(env: Snake) -> dict[str, Any]:
    """The options of the Snake environment as `gymnasium.make_vec` takes them."""
    options: dict[str, Any] = as_plain(env)["init_args"]
    return {**options, "rewards": env.rewards}


def close_all(contenders: list[Contender]) -> None:
    """End all contenders, whatever any of them raises."""
    with ExitStack() as stack:
        for contender in contenders:
            stack.callback(contender.close)
