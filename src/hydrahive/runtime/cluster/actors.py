"""The run's actor classes: thin shells around plain classes, with a heart.

Actors are never restarted and their methods never retried by Ray: re-running a method that changes state would
change the run.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray.exceptions import RayActorError, RayError, RayTaskError, TaskCancelledError

from hydrahive.algorithms.base.sharing import Done, Standing
from hydrahive.algorithms.base.sharing import Work as SliceWork
from hydrahive.core.errors import HydrahiveError, LostError, first_line
from hydrahive.core.sink import Clip
from hydrahive.envs.vector import pulse_of
from hydrahive.runtime.config.fingerprint import fingerprint_of
from hydrahive.runtime.config.machine_class import learner_device, machine_class, prepare_torch
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.roles.auditor import AuditJob, Auditor, Finding
from hydrahive.runtime.roles.env_worker import WORKER_THREADS, EnvWorker
from hydrahive.runtime.roles.evaluation import Evaluation, evaluate_weights, validate_weights
from hydrahive.runtime.roles.heart import Heart, Work
from hydrahive.runtime.roles.learner import Learner
from hydrahive.runtime.roles.pictures import Undrawn, clip_of
from hydrahive.runtime.roles.replay import Replay
from hydrahive.runtime.roles.slices import Here, SliceWorker

NEVER_AGAIN = {"max_restarts": 0, "max_task_retries": 0}


@dataclass(frozen=True)
class About:
    """What an actor says of its process: what its bytes are relative to.

    Where it is, and so for whom it works, it is not asked: Ray knows (`hydrahive.runtime.cluster.connecting.place_of`).
    """

    machine_class: str
    fingerprint: Mapping[str, str]


class Process:
    """What the run's actors share: they say who they are, and show that they live."""

    def about(self) -> About:
        """Who this process is."""
        plain: Any = self  # the plain class that this is mixed into
        return About(plain.machine_class(), plain.fingerprint())

    def show_life(self, name: str, coordinator: Any) -> None:
        """Begin to send signs of life under this name."""
        work: Work = getattr(self, "work", Work())
        Heart(work, lambda sign: coordinator.beat.remote(name, sign)).start()


class _Slicer:
    """Finds slices' gradients: what is to be known of the weights arrives as arguments of their own."""

    _slicer: SliceWorker | None = None

    def find(self, numbers: Mapping[str, int], standing: Here, work: SliceWork, *vectors: np.ndarray) -> Done:
        """As `SliceWorker.find`.

        Args:
            numbers: Of the vectors, by their networks' names, in order.
            standing: Without them.
            work: What is wanted.
            *vectors: Those that this worker has not had yet.
        """
        plain: Any = self
        if self._slicer is None:
            self._slicer = SliceWorker(plain.run_config, plain.slicing_device)
        named = {name: (number, vector) for (name, number), vector in zip(numbers.items(), vectors, strict=True)}
        return self._slicer.find(replace(standing, vectors=named), work)


class SliceWorkerActor(Process, _Slicer):
    """Finds slices' gradients in a process of its own."""

    def __init__(self, config: RunConfig, device: str) -> None:
        """Fix the threads before anything is computed: as the learner does, whose bytes it must get."""
        prepare_torch(config, config.learner.threads)
        self.run_config, self.slicing_device = config, device
        self._slicer = SliceWorker(config, device)

    def machine_class(self) -> str:
        """What this process's bytes are relative to."""
        return machine_class(self.run_config, learner_device(self.slicing_device).type)

    def fingerprint(self) -> dict[str, str]:
        """Which code this process computes with."""
        return fingerprint_of(self.run_config.env)


class RayLine:
    """A learner's line to slice workers, which are actors: `hydrahive.runtime.roles.slices.Line`."""

    def __init__(self) -> None:
        """Reach nobody yet."""
        self.actors: Mapping[int, Any] = {}
        self._put: dict[str, tuple[int, Any]] = {}
        self._had: dict[int, dict[str, int]] = {}
        self._asked: dict[Any, int] = {}

    def ask(self, worker: int, standing: Standing, work: SliceWork) -> Any:
        """Send what the worker has not had yet of the weights, each put into the object store once for all."""
        had = self._had.setdefault(worker, {})
        numbers = {name: number for name, (number, _) in standing.vectors.items() if had.get(name) != number}
        for name, number in numbers.items():
            if self._put.get(name, (None, None))[0] != number:
                self._put[name] = (number, ray.put(standing.vectors[name][1]()))
        vectors = [self._put[name][1] for name in numbers]
        here = Here({}, standing.returns, standing.gradient_steps, standing.config)
        call = self.actors[worker].find.remote(numbers, here, work, *vectors)
        had |= numbers
        self._asked[call] = worker
        return call

    def ready(self, calls: Sequence[Any], timeout_s: float) -> list[Any]:
        """Those that are answered, or have failed."""
        return list(ray.wait(list(calls), num_returns=1, timeout=timeout_s)[0])

    def answer(self, call: Any) -> Done | None:
        """What came, if it is what an honest worker gives.

        Raises:
            LostError: If the worker is gone.
            HydrahiveError: If it failed.
        """
        worker = self._asked.pop(call)
        try:
            done = ray.get(call)
        except TaskCancelledError:
            self._had.pop(worker, None)
            return None
        except RayTaskError as error:
            self._had.pop(worker, None)
            raise HydrahiveError(f"finding a slice's gradient failed: {first_line(error.cause)}") from None
        except RayActorError as error:
            raise LostError(first_line(error)) from None
        except RayError as error:
            self._had.pop(worker, None)
            raise HydrahiveError(first_line(error)) from None
        if type(done) is not Done:
            raise HydrahiveError("no gradient")
        return done

    def call_off(self, call: Any) -> None:
        """Have it not begun, if it has not been yet."""
        with suppress(RayError, ValueError):
            ray.cancel(call, recursive=False)


class EnvWorkerActor(Process, _Slicer, EnvWorker):
    """`EnvWorker` in a process of its own, which finds slices' gradients when it is asked."""

    slicing_device = "cpu"

    def __init__(self, config: RunConfig, run_id: str) -> None:
        """Fix the threads before anything is computed."""
        prepare_torch(config, WORKER_THREADS)
        super().__init__(config, run_id)
        self.run_config = config

    @ray.method(num_returns=2)
    def simulate(self, *arguments: Any) -> Any:
        """As `EnvWorker.simulate`, its two results as two objects."""
        prepare_torch(self.run_config, WORKER_THREADS)  # a slice may have changed them
        return super().simulate(*arguments)


class LearnerActor(Process, Learner):
    """`Learner` in a process of its own."""

    def __init__(self, config: RunConfig, device: str) -> None:
        """Fix the threads before anything is computed."""
        prepare_torch(config, config.learner.threads)
        super().__init__(config, device)
        self._line = RayLine()

    def have_help(self, secret: bytes, actors: Mapping[int, Any], shares: Mapping[int, float]) -> None:
        """Have slices' gradients found by these actors, too; as `Learner.help_from`."""
        self._line.actors = actors
        self.help_from(self._line, secret, shares)

    @ray.method(num_returns=3)
    def update(self, *arguments: Any, **leased: Any) -> Any:
        """As `Learner.update`, its three results as three objects."""
        return super().update(*arguments, **leased)


class ReplayActor(Process, Replay):
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


class _Busy(Process):
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

    def validate(self, weights: Any) -> Evaluation:
        """A pilot's validation of the weights."""
        with self.at_work():
            return validate_weights(self._run_config, weights)

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
