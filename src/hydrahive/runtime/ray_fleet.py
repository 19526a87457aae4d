"""The run's objects as Ray actors: thin shells, nothing in them but the calls.

Actors are never restarted and their methods never retried by Ray: re-running a method that changes state would
change the run. Object references pass between actors; this process holds references, not data.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from hydrahive.core.errors import HydrahiveError, MachineClassError
from hydrahive.core.state import State
from hydrahive.runtime.config import RunConfig
from hydrahive.runtime.env_worker import WORKER_THREADS, EnvWorker
from hydrahive.runtime.evaluation import Evaluation, evaluate_weights
from hydrahive.runtime.fleet import Ref
from hydrahive.runtime.learner import Learner
from hydrahive.runtime.machine_class import prepare_torch
from hydrahive.runtime.portable import PORTABLE_ENVIRONMENT

NEVER_AGAIN = {"max_restarts": 0, "max_task_retries": 0}


class EnvWorkerActor(EnvWorker):
    """`EnvWorker` in a process of its own."""

    def __init__(self, config: RunConfig, run_id: str) -> None:
        """Fix the threads before anything is computed."""
        prepare_torch(config, WORKER_THREADS)
        super().__init__(config, run_id)

    @ray.method(num_returns=2)
    def simulate(self, *arguments: Any) -> Any:
        """As `EnvWorker.simulate`, its two results as two objects."""
        return super().simulate(*arguments)


class LearnerActor(Learner):
    """`Learner` in a process of its own."""

    def __init__(self, config: RunConfig, device: str) -> None:
        """Fix the threads before anything is computed."""
        prepare_torch(config, config.learner.threads)
        super().__init__(config, device)

    @ray.method(num_returns=2)
    def update(self, *arguments: Any) -> Any:
        """As `Learner.update`, its two results as two objects."""
        return super().update(*arguments)


class EvaluatorActor:
    """Plays held-out episodes beside the training."""

    def __init__(self, config: RunConfig) -> None:
        """Fix the threads before anything is computed."""
        prepare_torch(config, WORKER_THREADS)
        self._config = config

    def evaluate(self, weights: Any) -> Evaluation:
        """Greedy scores of the weights."""
        return evaluate_weights(self._config, weights, self._config.evaluate_episodes)


class RayFleet:
    """A learner actor and `workers` env-worker actors on the Ray cluster that this process is connected to."""

    def __init__(self, config: RunConfig, run_id: str, run_name: str, device: str, workers: int) -> None:
        """Start the actors.

        Raises:
            HydrahiveError: If an actor cannot be built.
        """
        self._config = config
        self.worker_count = workers
        runtime_env = {"env_vars": dict(PORTABLE_ENVIRONMENT)} if config.portable else {}
        options = {"runtime_env": runtime_env} if runtime_env else {}
        gpus = 1 if device == "cuda" else 0
        learner: Any = ray.remote(**NEVER_AGAIN)(LearnerActor)
        env_worker: Any = ray.remote(**NEVER_AGAIN)(EnvWorkerActor)
        self._learner = learner.options(
            name=f"{run_name}:learner:{run_id}", num_cpus=config.learner.threads, num_gpus=gpus, **options
        ).remote(config, device)
        self._workers = [
            env_worker.options(name=f"{run_name}:env-worker-{i}:{run_id}", num_cpus=1, **options).remote(config, run_id)
            for i in range(workers)
        ]
        self._evaluator: Any = None
        self._home: dict[int, Any] = {}

    def machine_class(self) -> str:
        """The learner's machine class.

        Raises:
            MachineClassError: If a worker computes other bytes.
        """
        learner, *workers = self.get(Ref([actor.machine_class.remote() for actor in (self._learner, *self._workers)]))
        for i, worker in enumerate(workers):
            if worker.split("/")[:2] != learner.split("/")[:2]:
                raise MachineClassError(f"env worker {i} is of machine class {worker}; this run's is {learner}")
        return str(learner)

    def place_shards(self, states: Sequence[State | None]) -> None:
        """Spread the shards over the workers in turn."""
        done = []
        for shard, state in enumerate(states):
            self._home[shard] = self._workers[shard % len(self._workers)]
            done.append(self._home[shard].adopt.remote(shard, state))
        self.get(Ref(done))

    def restore_learner(self, state: State, *, weights_only: bool = False) -> None:
        """Give the learner a state."""
        method = self._learner.load_weights if weights_only else self._learner.restore
        self.get(method.remote(state))

    def weights(self) -> Ref:
        """The learner's current weights."""
        return Ref(self._learner.weights.remote())

    def put(self, value: Any) -> Ref:
        """A reference to a value of this process."""
        return Ref(ray.put(value))

    def groups(self) -> list[tuple[int, ...]]:
        """The shards by the worker that holds them."""
        held: dict[Any, list[int]] = {}
        for shard, worker in self._home.items():
            held.setdefault(worker, []).append(shard)
        return [tuple(shards) for shards in held.values()]

    def simulate(self, group: tuple[int, ...], round_: int, version: int, weights: Ref) -> tuple[Ref, Ref]:
        """Have a group's fragments computed by the worker that holds it.

        One call and two objects for a worker's whole share of a round: Ray's part in a round's cost goes with
        their number, not with their size.
        """
        fragments, summaries = self._home[group[0]].simulate.remote(group, round_, version, weights)
        return fragments, summaries

    def update(self, version: int, parts: Sequence[Ref]) -> tuple[Ref, Ref]:
        """Have a round learned."""
        weights, metrics = self._learner.update.remote(version, *parts)
        return weights, metrics

    def snapshot(self, shard: int) -> Ref:
        """The shard's state after all calls made so far."""
        return Ref(self._home[shard].snapshot.remote(shard))

    def learner_state(self) -> Ref:
        """The learner's state after all calls made so far."""
        return Ref(self._learner.state.remote())

    def evaluate(self, weights: Ref) -> Ref:
        """Have the greedy policy evaluated in a process of its own, started at the first call."""
        if self._evaluator is None:
            evaluator: Any = ray.remote(num_cpus=0, **NEVER_AGAIN)(EvaluatorActor)
            self._evaluator = evaluator.remote(self._config)
        return Ref(self._evaluator.evaluate.remote(weights))

    def ready(self, refs: Sequence[Ref], timeout_s: float | None) -> bool:
        """Wait until all are ready, wherever they lie."""
        done, _ = ray.wait(list(refs), num_returns=len(refs), timeout=timeout_s, fetch_local=False)
        return len(done) == len(refs)

    def any_ready(self, refs: Sequence[Ref]) -> list[Ref]:
        """Wait until at least one is ready and give those that are."""
        ray.wait(list(refs), num_returns=1, fetch_local=False)
        done, _ = ray.wait(list(refs), num_returns=len(refs), timeout=0, fetch_local=False)
        return list(done)

    def get(self, ref: Ref) -> Any:
        """Fetch a value, or a list of them; the house's own errors come through as they were raised.

        Raises:
            HydrahiveError: If making the value failed.
        """
        try:
            return ray.get(ref)
        except RayTaskError as error:
            if isinstance(error.cause, HydrahiveError):
                raise error.cause from None
            raise HydrahiveError(f"{type(error.cause).__name__} in an actor of the run: {error.cause}") from error
        except RayError as error:
            raise HydrahiveError(f"lost an actor of the run: {str(error).splitlines()[0]}") from error

    def close(self) -> None:
        """End all actors."""
        for actor in (self._learner, *self._workers, *([self._evaluator] if self._evaluator else [])):
            ray.kill(actor)
