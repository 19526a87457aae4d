"""A fleet whose learner is RLlib's Algorithm with env runners of its own."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from hydrahive.core.errors import LearnerLostError, LostError
from hydrahive.core.state import State
from hydrahive.ledger.audit_rules import Standings
from hydrahive.ledger.posting import WorkerFacts
from hydrahive.rllib.tallies import Counted
from hydrahive.rllib.trained import Iteration
from hydrahive.runtime.cluster.actors import NEVER_AGAIN
from hydrahive.runtime.cluster.capacity import owner_label, reserved, trusted_selector
from hydrahive.runtime.cluster.member import Actor, RunOnCluster, build_error, is_ready
from hydrahive.runtime.cluster.members import CALL_SECONDS, Members
from hydrahive.runtime.cluster.ray_fleet import RayFleet
from hydrahive.runtime.cluster.rllib.host import ANY_MACHINE, HostActor, bundles_of, rllib_of
from hydrahive.runtime.config.changes import algorithm_at, algorithms
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.fleet.refs import Ref, Stock
from hydrahive.runtime.runs.run_user import run_user


def _room_for(config: RunConfig) -> int:
    """Env runners for which the cluster has CPUs beside what RLlib asks for otherwise, one at least."""
    others = sum(bundle.get("CPU", 0) for bundle in bundles_of(config, 0))
    return max(1, int(ray.available_resources().get("CPU", 0) - others))


NOW = Ref("the policy as it is now")


class RllibFleet(RayFleet):
    """RLlib's Algorithm in an actor, on nodes of the run's user: what it does cannot be audited."""

    def __init__(self, config: RunConfig, run: RunOnCluster) -> None:
        """Have it built, with as many env runners as are wanted; HydrahiveError if it cannot be."""
        self._config, self._run = config, run
        self.run_id, self.segment = run.run_id, 0
        self._refused, self.wishes = [], ()
        self._members = Members(config, run)
        self._lenders = self._members.lenders
        self.waits = self._members.crew.waits
        self.waits.obey = partial(run.obey, self._members.hearing.request)
        self._showing: Any = None
        self._group: PlacementGroup | None = None
        self._runners = _room_for(config) if run.workers is None else run.workers
        self._shards: dict[tuple[int, int], int] = {}
        self._healthy, self._restarts = self._runners, 0
        self._fingerprint: Mapping[str, str] = {}
        try:
            self._hire()
        except BaseException:
            self.close()
            raise
        self.waits.tend = self._look_after

    @property
    def worker_count(self) -> int:
        """Env runners; 1 where RLlib samples in its own process."""
        return max(1, self._runners)

    def machine_class(self) -> str:
        """Any."""
        return ANY_MACHINE

    def fingerprint(self) -> Mapping[str, str]:
        """Of the actor's process."""
        return self._fingerprint

    @property
    def may_audit(self) -> bool:
        """Nobody can compute RLlib's work again."""
        return False

    def oversee(self, secret: bytes, standings: Standings) -> None:
        """There is nothing to oversee."""

    def iterate(self) -> Iteration:
        """One of RLlib's iterations; losses of env runners, which RLlib replaces itself, are told.

        Raises:
            LostError: If the Algorithm's own process is gone.
            HydrahiveError: If it failed.
        """
        with self.waits.of("iteration", "RLlib's iteration"):
            done: Iteration = self.get(Ref(self._members.crew.learner.actor.iterate.remote()))
        again = f"{done.healthy} of RLlib's {self._runners} env runners work"
        if done.healthy < self._healthy:
            lost = self._healthy - done.healthy
            self.listener("env_runner_lost", f"{again}: it has lost {lost}, and replaces them", lost=lost)
        elif done.healthy > self._healthy or done.restarts > self._restarts:
            restarted = done.restarts - self._restarts
            self.listener("env_runner_back", f"{again} again: it has restarted {restarted}", restarted=restarted)
        self._healthy, self._restarts = done.healthy, done.restarts
        return done

    def runner(self, counted: Counted) -> tuple[int, WorkerFacts]:
        """An env runner's number among all that this process has seen, and as receipts name it."""
        shard = self._shards.setdefault((counted.worker, counted.process), len(self._shards))
        owner = owner_label(counted.node) or run_user()
        return shard, WorkerFacts(f"env-runner-{counted.worker}-{counted.process}", owner, counted.node)

    def save(self) -> State:
        """What the run can be continued from."""
        with self.waits.of("checkpoint", "RLlib's checkpoint"):
            state: State = self.get(Ref(self._members.crew.learner.actor.save.remote()))
        return state

    def restore_learner(self, state: State, *, weights_only: bool = False) -> None:
        """Have it go on, with the values that hold after as many updates."""
        if weights_only:
            self.get(Ref(self._members.crew.learner.actor.load_weights.remote(state)))
            return
        algorithm = algorithm_at(algorithms(self._config), int(state["counters"][0]))
        self.get(Ref(self._members.crew.learner.actor.restore.remote(state, algorithm)))

    def weights(self) -> Ref:
        """The policy as it is now, looked up when it is asked for: before RLlib is asked for its next iteration."""
        return NOW

    def get(self, ref: Ref) -> Any:
        """Fetch a value; errors as `RayFleet.get`."""
        return super().get(self._opened(ref))

    def evaluate(self, weights: Ref) -> Ref:
        """Have the greedy policy evaluated."""
        return super().evaluate(self._opened(weights))

    def picture(self, weights: Ref) -> Ref:
        """Have it played."""
        return super().picture(self._opened(weights))

    def _opened(self, ref: Ref) -> Ref:
        return Ref(self._members.crew.learner.actor.weights.remote()) if ref is NOW else ref

    def follow(self, config: RunConfig) -> None:
        """Go on with other values of RLlib's keys: the whole config's."""
        self._config = self._members.crew.config = config

    def change(self, algorithm: Any) -> None:
        """Have other values of RLlib's keys hold from the next iteration on."""
        self.get(Ref(self._members.crew.learner.actor.follow.remote(algorithm)))

    def renew(self, *, everything: bool) -> None:
        """A new actor."""
        self._hire()

    def stock(self) -> Stock:
        """Whether it is there.

        Raises:
            LearnerLostError: If not.
        """
        try:
            self.get(Ref(self._members.crew.learner.actor.about.remote()))
        except LostError as error:
            self._members.ending.learner_lost(str(error))
            raise LearnerLostError(f"RLlib's process is gone: {error}") from None
        return Stock(0, {})

    def tend(self, env_steps: int, *, paused: bool = False) -> str | None:
        """Hear what people ask."""
        crew = self._members.crew
        crew.env_steps, crew.paused = env_steps, paused
        self._look_after()
        return self._members.hearing.request()

    def conditions(self) -> Mapping[str, str]:
        """Of those that RLlib says work, nobody knows which they are."""
        return {f"env-runner-{worker}-{process}": "alive" for worker, process in self._shards}

    def _look_after(self) -> None:
        self._members.hearing.hear_now_and_then(CALL_SECONDS)
        self._members.beside.look_after()

    def _hire(self) -> None:
        """Have the actor built where its bundles have room.

        Raises:
            HydrahiveError: If it cannot be.
        """
        crew = self._members.crew
        self._release()
        place = reserved()
        if place is not None:  # inside a trial, in whose group its children are put, too
            group, bundle = place.placement_group, 1
            cpus = group.bundle_specs[bundle].get("CPU", 0)
        else:
            bundles = bundles_of(self._config, self._runners)
            trusted = trusted_selector()
            group = ray.util.placement_group(bundles, bundle_label_selector=[trusted] * len(bundles))
            self._group, bundle, cpus = group, 0, bundles[0].get("CPU", 0)
            self._await_room(group)
        where = PlacementGroupSchedulingStrategy(group, bundle, placement_group_capture_child_tasks=True)
        actor: Any = ray.remote(num_cpus=cpus, scheduling_strategy=where, **NEVER_AGAIN)(HostActor)
        handle = actor.remote(self._config, self._runners)
        crew.learner = Actor("the learner", "learner", handle, handle.about.remote())
        with self.waits.of("building", f"RLlib's {rllib_of(self._config).name} to be built"):
            wait = self.waits.begin(tend=lambda: None)
        while not ray.wait([crew.learner.asked], timeout=CALL_SECONDS, fetch_local=False)[0]:
            wait.look()
        try:
            crew.learner.hear()
        except RayError as error:
            raise build_error(crew.learner, error) from None
        crew.gone.discard("learner")
        crew.given_up.discard("learner")
        self._fingerprint = crew.learner.about.fingerprint
        self._healthy, self._restarts = self._runners, 0
        crew.register(crew.learner)

    def _await_room(self, group: PlacementGroup) -> None:
        with self.waits.of("room", lambda: f"room for RLlib ({self._members.crew.room.report()})"):
            wait = self.waits.begin(tend=lambda: None)
        ready = group.ready()
        while not is_ready(ready):
            ray.wait([ready], timeout=CALL_SECONDS, fetch_local=False)
            wait.look()

    def _release(self) -> None:
        if self._group is not None:
            ray.util.remove_placement_group(self._group)
        self._group = None

    def close(self) -> None:
        """End all."""
        super().close()
        self._release()
