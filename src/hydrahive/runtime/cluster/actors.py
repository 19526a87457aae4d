"""The run's actor classes: thin shells around plain classes, with a heart.

Actors are never restarted and their methods never retried by Ray: re-running a method that changes state would
change the run.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from hydrahive.core.sink import Clip
from hydrahive.envs.vector import pulse_of
from hydrahive.runtime.config.fingerprint import fingerprint_of
from hydrahive.runtime.config.machine_class import machine_class, prepare_torch
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.roles.auditor import AuditJob, Auditor, Finding
from hydrahive.runtime.roles.env_worker import WORKER_THREADS, EnvWorker
from hydrahive.runtime.roles.evaluation import Evaluation, evaluate_weights
from hydrahive.runtime.roles.heart import Heart, Work
from hydrahive.runtime.roles.learner import Learner
from hydrahive.runtime.roles.pictures import Undrawn, clip_of
from hydrahive.runtime.roles.replay import Replay

NEVER_AGAIN = {"max_restarts": 0, "max_task_retries": 0}


@dataclass(frozen=True)
class About:
    """What an actor says of its process: what its bytes are relative to.

    Where it is, and so for whom it works, it is not asked: Ray knows (`hydrahive.runtime.cluster.connecting.place_of`).
    """

    machine_class: str
    fingerprint: Mapping[str, str]


class _Process:
    """What the run's actors share: they say who they are, and show that they live."""

    def about(self) -> About:
        """Who this process is."""
        plain: Any = self  # the plain class that this is mixed into
        return About(plain.machine_class(), plain.fingerprint())

    def show_life(self, name: str, coordinator: Any) -> None:
        """Begin to send signs of life under this name."""
        work: Work = getattr(self, "work", Work())
        Heart(work, lambda sign: coordinator.beat.remote(name, sign)).start()


class EnvWorkerActor(_Process, EnvWorker):
    """`EnvWorker` in a process of its own."""

    def __init__(self, config: RunConfig, run_id: str) -> None:
        """Fix the threads before anything is computed."""
        prepare_torch(config, WORKER_THREADS)
        super().__init__(config, run_id)

    @ray.method(num_returns=2)
    def simulate(self, *arguments: Any) -> Any:
        """As `EnvWorker.simulate`, its two results as two objects."""
        return super().simulate(*arguments)


class LearnerActor(_Process, Learner):
    """`Learner` in a process of its own."""

    def __init__(self, config: RunConfig, device: str) -> None:
        """Fix the threads before anything is computed."""
        prepare_torch(config, config.learner.threads)
        super().__init__(config, device)

    @ray.method(num_returns=3)
    def update(self, *arguments: Any, **leased: Any) -> Any:
        """As `Learner.update`, its three results as three objects."""
        return super().update(*arguments, **leased)


class ReplayActor(_Process, Replay):
    """`Replay` in a process of its own."""

    def __init__(self, config: RunConfig) -> None:
        """Begin empty."""
        super().__init__(config)
        self._run_config = config

    def machine_class(self) -> str:
        """What this process's bytes are relative to."""
        return machine_class(self._run_config)

    def fingerprint(self) -> dict[str, str]:
        """Which code this process computes with."""
        return fingerprint_of(self._run_config.env)

    @ray.method(num_returns=2)
    def take(self, *arguments: Any, **leased: Any) -> Any:
        """As `Replay.take`, its two results as two objects."""
        return super().take(*arguments, **leased)


class _Busy(_Process):
    """What works through long calls: each step of an environment is a sign of life, and none for long is a hang."""

    def __init__(self, config: RunConfig) -> None:
        self._run_config, self.work = config, Work()

    def machine_class(self) -> str:
        """What this process's bytes are relative to."""
        return machine_class(self._run_config)

    def fingerprint(self) -> dict[str, str]:
        """Which code this process computes with."""
        return fingerprint_of(self._run_config.env)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Show progress during the block."""
        self.work.begin(0, 0, time.monotonic())

        def still_alive() -> None:
            self.work.since = time.monotonic()

        try:
            with pulse_of(still_alive):
                yield
        finally:
            self.work.end()


class AuditorActor(_Busy, Auditor):
    """`Auditor` in a process of its own."""

    def __init__(self, config: RunConfig, run_id: str) -> None:
        """Fix the threads before anything is computed: as a worker does, whose bytes it must get."""
        prepare_torch(config, WORKER_THREADS)
        _Busy.__init__(self, config)
        Auditor.__init__(self, config, run_id)

    def audit(self, job: AuditJob, *weights: Any) -> Finding:
        """As `Auditor.audit`."""
        with self.at_work():
            return Auditor.audit(self, job, *weights)


class EvaluatorActor(_Busy):
    """Plays held-out episodes beside the training."""

    def __init__(self, config: RunConfig, run_id: str) -> None:
        """Fix the threads before anything is computed."""
        prepare_torch(config, WORKER_THREADS)
        super().__init__(config)

    def evaluate(self, weights: Any) -> Evaluation:
        """Greedy scores of the weights."""
        with self.at_work():
            return evaluate_weights(self._run_config, weights, self._run_config.evaluate_episodes)

    def picture(self, weights: Any) -> Clip | Undrawn:
        """A greedy episode of the weights."""
        with self.at_work():
            return clip_of(self._run_config, weights)


def end_process(pid: int) -> None:
    """SIGKILL a Ray worker process on this node: the one way to end a process that no longer answers.

    A process that is no Ray worker (any longer) is left alone.
    """
    try:
        if (Path("/proc") / str(pid) / "cmdline").read_bytes().startswith(b"ray::"):
            os.kill(pid, signal.SIGKILL)
    except (FileNotFoundError, ProcessLookupError):
        return
