"""The actors of a run: hired, heard, and buried."""

from __future__ import annotations

import getpass
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import ray
from ray.exceptions import RayActorError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from hydrahive.core.errors import HydrahiveError, LostError
from hydrahive.runtime.config import RunConfig
from hydrahive.runtime.coordinator import Health, Member
from hydrahive.runtime.coordinator_actor import coordinator
from hydrahive.runtime.fleet import Listener, nobody
from hydrahive.runtime.portable import PORTABLE_ENVIRONMENT
from hydrahive.runtime.ray_actors import NEVER_AGAIN, About, EnvWorkerActor, LearnerActor, end_process

CALL_SECONDS = 1.0
"""Time between two looks at the members."""

SAY_WAITING_SECONDS = 10.0
"""Waiting for CPUs longer than this is said, and said again six times as rarely."""

HIRE_SECONDS = 3.0
"""Time from a worker's loss to hiring another, if there are others: building it would slow their replaying down."""

MAKE_ROOM_SECONDS = 5.0
"""Time that a new learner is waited for before a worker is ended to make room for it."""

HIRE_ATTEMPTS = 5
"""Actors in a row that may die before they have joined."""


@dataclass(frozen=True)
class RunOnCluster:
    """A run as its actors know it.

    Attributes:
        run_id: Its id.
        name: Its name.
        device: The learner's, `cpu` or `cuda`.
        workers: How many env workers are wanted; None for as many as the cluster has room for.
        listener: Is told what happens before the Trainer listens.
    """

    run_id: str
    name: str
    device: str
    workers: int | None
    listener: Listener = nobody


@dataclass
class Actor:
    """One actor: its handle, and what it says of its process once it is built."""

    name: str
    role: Literal["env-worker", "learner"]
    actor: Any
    asked: Any
    _about: About | None = None
    is_late: bool = False

    @property
    def has_joined(self) -> bool:
        """Whether it has said who it is."""
        return self._about is not None

    @property
    def about(self) -> About:
        """What it said; it must have joined."""
        assert self._about is not None, f"{self.name} has not joined yet"
        return self._about

    def hear(self) -> None:
        """Take its answer, for which it must be ready.

        Raises:
            RayError: If it is gone, or could not be built.
        """
        self._about = ray.get(self.asked)

    def __str__(self) -> str:
        """As people know it."""
        if self._about is None:
            return self.name
        return f"{self.name} (node {self._about.node_ip}, process {self._about.pid})"


@dataclass
class Members:
    """The learner and the env workers of one run, and the run's line to the coordinator."""

    config: RunConfig
    run: RunOnCluster
    workers: dict[int, Actor] = field(default_factory=dict)
    env_steps: int = 0
    paused: bool = False

    def __post_init__(self) -> None:
        """Hire nobody yet."""
        self.listener: Listener = self.run.listener
        self.learner: Actor
        self._coordinator = coordinator()
        # A driver that was killed may have left actors of the same run behind that are just being ended.
        self._generation = uuid.uuid4().hex[:6]
        self._newcomers: dict[int, Actor] = {}
        self._leaving: set[int] = set()
        self._homes: Mapping[int, int] = {}
        self._next_id = 0
        self._learners = 0
        self._learner_is_gone = False
        self._hire_at = 0.0
        self._failed_hires = 0
        self._call: Any = None
        self._looked_at = 0.0
        self._request: str | None = None
        self._suspects: list[tuple[int, int]] = []
        self._refused_nodes: set[str] = set()

    def actor(self, worker: int) -> Any:
        """A worker's handle, whether or not it still lives.

        Raises:
            LostError: If it was buried.
        """
        if worker not in self.workers:
            raise LostError(f"env worker {worker} is gone")
        return self.workers[worker].actor

    def staying(self) -> list[int]:
        """The workers that have joined and are not leaving; those that leave, if there are no others."""
        return [worker for worker in self.workers if worker not in self._leaving] or list(self.workers)

    def assemble(self) -> None:
        """Hire the learner and as many workers as there is room for, and wait for them.

        With the learner and one worker there, the others are waited for only a moment; they may join later.

        Raises:
            HydrahiveError: If one cannot be built.
        """
        learner_cpus = self.config.learner.threads
        room = int(ray.available_resources().get("CPU", 0)) - learner_cpus
        wanted = self._wanted()
        first = max(1, min(wanted, room))
        if room < 1:
            self._say_short(f"waiting for the learner's {learner_cpus} and an env worker's 1")
        elif first < wanted:
            self._say_short(f"training with {first} of {wanted} env workers, the others join when there is room")
        self._hire_learner()
        for _ in range(first):
            self._hire()
        self._await([self.learner])
        self._learner_joined()
        self.await_worker()
        self._await(list(self._newcomers.values()), most_s=SAY_WAITING_SECONDS)
        self._welcome()

    def await_worker(self) -> None:
        """Wait until there is a worker.

        Raises:
            HydrahiveError: If none can be built.
        """
        while not self.workers:
            if not self._newcomers:
                self._hire()
            self._await(list(self._newcomers.values()), enough=1)
            self._welcome()

    def new_learner(self) -> None:
        """Hire a learner in place of the one there was, and wait for it; a worker makes room where there is none.

        Raises:
            HydrahiveError: If none can be built.
        """
        if not self._learner_is_gone:
            self._end(self.learner, "left")
        for _ in range(HIRE_ATTEMPTS):
            self._hire_learner()
            while not self._await([self.learner], most_s=MAKE_ROOM_SECONDS):
                if len(self.workers) > 1 and ray.available_resources().get("CPU", 0) < self.config.learner.threads:
                    self.bury(max(self.workers), "it makes room for the learner")
            try:
                self._learner_joined()
            except RayError as error:
                self.learner_lost(str(error))
                continue
            return
        raise HydrahiveError(f"the learner died {HIRE_ATTEMPTS} times while it was being built")

    def look_after(self) -> None:
        """At most once in `CALL_SECONDS`: hear the coordinator, act on silence, let join and leave."""
        now = time.monotonic()
        if now - self._looked_at < CALL_SECONDS:
            return
        self._looked_at = now
        self._hear_coordinator()
        self._welcome()
        self._see_who_must_leave()
        if len(self.workers) < self._wanted() and not self._newcomers and now >= self._hire_at:
            node = self._free_node()
            if node is not None:
                self._hire(node)

    def request(self) -> str | None:
        """What was asked of the run, once."""
        request, self._request = self._request, None
        return request

    def suspects(self) -> list[tuple[int, int]]:
        """Fragments at which a worker hung until it was given up, once."""
        suspects, self._suspects = self._suspects, []
        return suspects

    def bury(self, worker: int, why: str) -> None:
        """Do without a worker: it is killed, and another is hired in its place, at once if it was the last."""
        member = self.workers.pop(worker, None)
        if member is None:
            return
        self._leaving.discard(worker)
        shards = [shard for shard, home in self._homes.items() if home == worker]
        self._end(member, "dead")
        text = f"lost {member}: {self._reason(member, why)}; it held {_shards(shards)}"
        self.listener("worker_lost", text, worker=member.name, shards=shards)
        self._hire_at = time.monotonic() + HIRE_SECONDS

    def learner_lost(self, why: str) -> None:
        """Note that the learner is gone."""
        if self._learner_is_gone:
            return
        self._learner_is_gone = True
        self._end(self.learner, "dead")
        self.listener("learner_lost", f"lost {self.learner}: {self._reason(self.learner, why)}")

    def note_homes(self, homes: Mapping[int, int], round_: int) -> None:
        """Have the leases written down; who leaves and holds nothing is let go."""
        moved = {shard: worker for shard, worker in homes.items() if self._homes.get(shard) != worker}
        self._homes = dict(homes)
        names = {shard: self._key(self.workers[worker]) for shard, worker in moved.items() if worker in self.workers}
        if names:
            self._coordinator.lease.remote(self.run.run_id, names, round_)
        for worker in [worker for worker in self._leaving if worker not in homes.values()]:
            member = self.workers.pop(worker)
            self._leaving.discard(worker)
            member.actor.__ray_terminate__.remote()
            self._coordinator.leave.remote(self._key(member), "left")
            self.listener("worker_left", f"{member} has left; its shards were handed over", worker=member.name)

    def end(self) -> None:
        """End all actors."""
        self._coordinator.call.remote(self.run.run_id, self.run.name, "ended", self.env_steps)
        for member in (self.learner, *self.workers.values(), *self._newcomers.values()):
            if member.has_joined:
                self._coordinator.leave.remote(self._key(member), "left")
            ray.kill(member.actor)

    def _wanted(self) -> int:
        if self.run.workers is not None:
            return self.run.workers
        return self.config.worker_count(int(ray.cluster_resources().get("CPU", 0)))

    def _free_node(self) -> str | None:
        """A node with a free CPU that is neither being drained nor of another machine class."""
        state = ray._private.state
        unfit = self._refused_nodes | set(state.state.get_draining_nodes())
        for node, resources in sorted(state.available_resources_per_node().items()):
            if node not in unfit and resources.get("CPU", 0) >= 1:
                return str(node)
        return None

    def _options(self, name: str, cpus: int, gpus: int) -> dict[str, Any]:
        environment = {"runtime_env": {"env_vars": dict(PORTABLE_ENVIRONMENT)}} if self.config.portable else {}
        return {"name": f"{self.run.name}:{name}", "num_cpus": cpus, "num_gpus": gpus, **NEVER_AGAIN, **environment}

    def _hire(self, node: str | None = None) -> None:
        name = f"env-worker-{self._next_id}:{self._generation}"
        where = {"scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=True)} if node else {}
        actor: Any = ray.remote(EnvWorkerActor)
        handle = actor.options(**self._options(name, 1, 0), **where).remote(self.config, self.run.run_id)
        title = f"env worker {self._next_id}"
        self._newcomers[self._next_id] = Actor(title, "env-worker", handle, handle.about.remote())
        self._next_id += 1

    def _hire_learner(self) -> None:
        name = f"learner-{self._learners}:{self._generation}"
        gpus = 1 if self.run.device == "cuda" else 0
        actor: Any = ray.remote(LearnerActor)
        options = self._options(name, self.config.learner.threads, gpus)
        handle = actor.options(**options).remote(self.config, self.run.device)
        self.learner = Actor("the learner", "learner", handle, handle.about.remote())
        self._learners += 1
        self._learner_is_gone = False

    def _await(self, actors: list[Actor], *, enough: int | None = None, most_s: float = float("inf")) -> bool:
        """Wait until `enough` of these (all by default) are built or have failed; False after `most_s` seconds."""
        said = SAY_WAITING_SECONDS
        began = time.monotonic()
        refs, enough = [actor.asked for actor in actors], len(actors) if enough is None else enough
        while refs and len(ray.wait(refs, num_returns=enough, timeout=CALL_SECONDS, fetch_local=False)[0]) < enough:
            self._hear_coordinator()
            waited = time.monotonic() - began
            if waited > said:
                said *= 6
                names = ", ".join(actor.name for actor in actors if not _is_ready(actor.asked))
                free, total = (found.get("CPU", 0) for found in (ray.available_resources(), ray.cluster_resources()))
                text = (
                    f"waiting for {names} since {waited:.0f} s; {free:.0f} of the cluster's {total:.0f} CPUs are free"
                )
                self.listener("waiting", text)
            if waited > most_s:
                return False
        return True

    def _learner_joined(self) -> None:
        try:
            self.learner.hear()
        except RayActorError as error:
            if error.actor_init_failed:
                raise _build_error(self.learner, error) from None
            raise
        self._register(self.learner)

    def _welcome(self) -> None:
        """Let newcomers that are ready join; one of another machine class is refused."""
        for worker, newcomer in list(self._newcomers.items()):
            if not _is_ready(newcomer.asked):
                continue
            del self._newcomers[worker]
            try:
                newcomer.hear()
            except RayActorError as error:
                self._failed_hires += 1
                if error.actor_init_failed or self._failed_hires >= HIRE_ATTEMPTS:
                    raise _build_error(newcomer, error) from None
                continue
            mine, theirs = self.learner.about.machine_class, newcomer.about.machine_class
            if theirs.split("/")[:2] != mine.split("/")[:2]:
                ray.kill(newcomer.actor)
                self._failed_hires += 1
                self._refused_nodes.add(newcomer.about.node_id)
                self.listener(
                    "worker_refused", f"refused {newcomer}: its machine class is {theirs}, the run's is {mine}"
                )
                if self._failed_hires >= HIRE_ATTEMPTS and not self.workers:
                    raise HydrahiveError(
                        f"no worker of the run's machine class {mine} was found in {HIRE_ATTEMPTS} attempts"
                    )
                continue
            self._failed_hires = 0
            self.workers[worker] = newcomer
            self._register(newcomer)
            if self._homes:
                self.listener(
                    "worker_joined", f"{newcomer} has joined; the shards are spread again", worker=newcomer.name
                )

    def _register(self, member: Actor) -> None:
        about, key = member.about, self._key(member)
        facts = Member(
            key,
            self.run.run_id,
            member.role,
            getpass.getuser(),
            about.node_id,
            about.node_ip,
            about.pid,
            about.machine_class,
        )
        self._coordinator.register.remote(facts)
        member.actor.show_life.remote(key, self._coordinator)

    def _key(self, member: Actor) -> str:
        return f"{self.run.run_id}/{member.name.removeprefix('the ').replace(' ', '-')}@{member.about.pid}"

    def _hear_coordinator(self) -> None:
        """Take the answer to the last call, if it is there, and call again."""
        if self._call is not None and not _is_ready(self._call):
            return
        if self._call is not None:
            try:
                health, request = ray.get(self._call)
            except RayError:
                health, request = {}, None  # it is being restarted; its silence is held against nobody
            self._request = request or self._request
            self._act_on(health)
        state = "paused" if self.paused else "running"
        self._call = self._coordinator.call.remote(self.run.run_id, self.run.name, state, self.env_steps)

    def _act_on(self, health: Mapping[str, Health]) -> None:
        present = {self._key(member): (worker, member) for worker, member in self.workers.items()}
        if self.learner.has_joined:
            present[self._key(self.learner)] = (-1, self.learner)
        for key, facts in health.items():
            if key not in present:
                continue
            worker, member = present[key]
            hung = facts.sign is not None and facts.sign.busy_s > self.config.faults.hang_seconds
            if facts.state == "late" and not member.is_late:
                self.listener("worker_late", f"{member} has been silent for {facts.silent_s:.0f} s")
            member.is_late = facts.state != "alive"
            if facts.state == "dead":
                self._give_up(worker, member, f"silent for {facts.silent_s:.0f} s")
            elif hung and facts.sign is not None:
                self._suspects.append((facts.sign.shard, facts.sign.round))
                at = f"shard {facts.sign.shard}, round {facts.sign.round}"
                self._give_up(worker, member, f"at {at} for {facts.sign.busy_s:.0f} s, faults.hang_seconds is less")

    def _give_up(self, worker: int, member: Actor, why: str) -> None:
        if worker < 0:
            self._kill(member)  # whoever waits for the learner meets its loss
        else:
            self.bury(worker, why)

    def _see_who_must_leave(self) -> None:
        """Workers on nodes that Ray is draining hand their shards over."""
        draining = ray._private.state.state.get_draining_nodes()
        for worker, member in self.workers.items():
            if member.about.node_id in draining and worker not in self._leaving:
                self._leaving.add(worker)
                self.listener("worker_leaving", f"{member} is leaving: its node is being drained", worker=member.name)

    def _end(self, member: Actor, state: Literal["left", "dead"]) -> None:
        if member.has_joined:
            self._coordinator.leave.remote(self._key(member), state)
        self._kill(member)

    def _kill(self, member: Actor) -> None:
        """End an actor's process, also when it does not listen to Ray any more."""
        ray.kill(member.actor)
        if member.has_joined:
            where = NodeAffinitySchedulingStrategy(member.about.node_id, soft=False)
            ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=where)(end_process).remote(member.about.pid)

    def _reason(self, member: Actor, why: str) -> str:
        """In words that people understand: a node that is gone, or what was said."""
        alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        if member.has_joined and member.about.node_id not in alive:
            return "its node is gone"
        return "its process died" if "actor" in why.lower() else why

    def _say_short(self, what: str) -> None:
        resources = ray.cluster_resources()
        free = ray.available_resources().get("CPU", 0)
        self.listener(
            "short_of_cpus", f"the cluster has {resources.get('CPU', 0):.0f} CPUs, {free:.0f} of them free: {what}"
        )


def _is_ready(ref: Any) -> bool:
    return bool(ray.wait([ref], timeout=0, fetch_local=False)[0])


def _build_error(member: Actor, error: RayActorError) -> HydrahiveError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return HydrahiveError(f"{member.name} could not be built: {lines[-1] if lines else error}")


def _shards(shards: list[int]) -> str:
    if not shards:
        return "no shard"
    return f"shard{'s' if len(shards) > 1 else ''} {', '.join(map(str, shards))}"
