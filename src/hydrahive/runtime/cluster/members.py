"""The actors of a run: hired, heard, and buried."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import ray
from ray.exceptions import RayActorError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from hydrahive.core.errors import HydrahiveError, LearnerLostError, LostError
from hydrahive.ledger.posting import WorkerFacts
from hydrahive.runtime.cluster.actors import NEVER_AGAIN, EnvWorkerActor, LearnerActor, ReplayActor, end_process
from hydrahive.runtime.cluster.connecting import draining_nodes, free_by_node
from hydrahive.runtime.cluster.member import Actor, RunOnCluster, build_error, is_ready
from hydrahive.runtime.cluster.room import Room, is_own, owner_label, reserved
from hydrahive.runtime.config.portable import PORTABLE_ENVIRONMENT
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.coordinator.actor import coordinator
from hydrahive.runtime.coordinator.registry import Health, Heard, Member
from hydrahive.runtime.fleet.fleet import Listener
from hydrahive.runtime.runs.run_user import run_user
from hydrahive.runtime.runs.watch_feed import Watched

CALL_SECONDS = 1.0
"""Time between two looks at the members."""

SAY_WAITING_SECONDS = 10.0
"""Waiting longer than this is said, and said again six times as rarely."""

HIRE_SECONDS = 3.0
"""Time from a worker's loss to hiring another, if there are others: building it would slow their replaying down."""

MAKE_ROOM_SECONDS = 3.0
"""Time before, and between, ending workers to make room for a learner: Ray's count of free CPUs is a little late."""

ROOM_LOOK_SECONDS = 0.1
"""Time between two looks for a node with room."""

PROOF_SECONDS = 30.0
"""Longest wait for a node to show the key of the account that it is labelled with."""

UNPROVEN = ""
"""In place of an owner: the node has not shown the key of the one that it names."""

HIRE_ATTEMPTS = 5
"""Actors in a row that may die before they have joined."""


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
        self.replay: Actor
        self._coordinator = coordinator()
        # A driver that was killed may have left actors of the same run behind that are just being ended.
        self._generation = uuid.uuid4().hex[:6]
        self._newcomers: dict[int, Actor] = {}
        self._leaving: set[int] = set()
        self._homes: Mapping[int, int] = {}
        self._next_id = 0
        self._learners = 0
        self._replays = 0
        self._gone: set[str] = {"learner", "replay"} if self.config.replay else {"learner"}
        """Which of the two that are believed is not there; beside the workers each is one of its kind."""
        self._given_up: set[str] = set()
        self._hire_at = 0.0
        self._failed_hires = 0
        self._call: Any = None
        self._looked_at = 0.0
        self._request: str | None = None
        self._suspects: list[tuple[int, int]] = []
        self._room = Room(self.config, self.run)
        self._machine_class: str | None = None
        self._departing: dict[int, Any] = {}
        self.watched: Watched | None = None
        self.facts: dict[int, WorkerFacts] = {}
        self._owners: Mapping[str, str] = {}
        self._unproven_since: dict[int, float] = {}
        self._coordinator.forget.remote(self.run.run_id)
        self._room.refused |= self._quarantined()

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
        wanted, room = self._room.wanted_workers(), self._room.for_workers()
        first = max(1, min(wanted, room))
        if 1 <= room < wanted:
            self._say_short(f"training with {first} of {wanted} env workers, the others join when there is room")
        elif room < 1:
            self._say_short(f"waiting for the learner's {self.config.learner.threads} and an env worker's 1")
        self._hire_learner()
        for _ in range(first if room >= 1 else 0):
            self._hire()
        if not self._learner_joined():
            self._new_learner()
        if self.config.replay:
            self._new_replay()
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
                anywhere = reserved() or self._room.follows_demand
                self._hire(None if anywhere else self._node_with_room(1, "an env worker"))
            self._await(list(self._newcomers.values()), enough=1)
            if not self._welcome():
                self._hear_coordinator()
                time.sleep(ROOM_LOOK_SECONDS)  # who is there has still to prove whom it works for

    def renew(self, *, everything: bool) -> None:
        """Hire a learner and a replay in place of those that are gone, or of both.

        Raises:
            HydrahiveError: If one cannot be built.
        """
        if everything or "learner" in self._gone:
            self._new_learner()
        if self.config.replay and (everything or "replay" in self._gone):
            self._new_replay()

    def _new_learner(self) -> None:
        """Hire a learner in place of the one there was, and wait for it; a worker makes room where there is none."""
        if "learner" not in self._gone:
            self._end(self.learner, "left")
        for _ in range(HIRE_ATTEMPTS):
            self._hire_learner()
            if self._learner_joined():
                return
        raise HydrahiveError(f"the learner died {HIRE_ATTEMPTS} times while it was being built")

    def _new_replay(self) -> None:
        """Hire a replay beside the learner, which waits for what it gives; no CPU is reserved for it."""
        if "replay" not in self._gone:
            self._end(self.replay, "left")
        where = NodeAffinitySchedulingStrategy(self.learner.about.node_id, soft=False)
        for _ in range(HIRE_ATTEMPTS):
            options = self._options(f"replay-{self._replays}:{self._generation}", 0, 0)
            actor: Any = ray.remote(ReplayActor)
            handle = actor.options(**options, scheduling_strategy=where).remote(self.config)
            self.replay = Actor("the replay", "replay", handle, handle.about.remote())
            self._replays += 1
            self._await([self.replay])
            try:
                self.replay.hear()
            except RayActorError as error:
                if error.actor_init_failed:
                    raise build_error(self.replay, error) from None
                self.replay_lost(str(error))
                continue
            except RayError as error:
                # It can only be beside the learner, whose node is gone.
                self.replay_lost(str(error))
                self.learner_lost(str(error))
                raise LearnerLostError("the learner's node is gone") from None
            self._gone.discard("replay")
            self._given_up.discard("replay")
            self._register(self.replay)
            return
        raise HydrahiveError(f"the replay died {HIRE_ATTEMPTS} times while it was being built")

    def look_after(self) -> None:
        """At most once in `CALL_SECONDS`: hear the coordinator, act on silence, let join and leave."""
        now = time.monotonic()
        if now - self._looked_at < CALL_SECONDS:
            return
        self._looked_at = now
        self._hear_coordinator()
        self._welcome()
        self._see_who_must_leave()
        self._see_off()
        staying = len(self.workers) - len(self._leaving)
        if staying < self._room.wanted_workers() and not self._newcomers and now >= self._hire_at:
            if reserved():
                self._hire()
            elif (node := self._room.free_node(1)) is not None:
                self._hire(node)
            elif self._room.follows_demand:
                for _ in range(self._room.wanted_workers() - staying):
                    self._hire()

    def request(self) -> str | None:
        """What was asked of the run, once."""
        request, self._request = self._request, None
        return request

    @property
    def coordinator(self) -> Any:
        """The cluster's coordinator."""
        return self._coordinator

    def conditions(self) -> dict[str, str]:
        """How the workers are, by name."""
        return {
            self.facts[worker].name: "leaving" if worker in self._leaving else "late" if member.is_late else "alive"
            for worker, member in self.workers.items()
        }

    def suspects(self) -> list[tuple[int, int]]:
        """Fragments at which a worker hung until it was given up, once."""
        suspects, self._suspects = self._suspects, []
        return suspects

    def bury(self, worker: int, why: str) -> None:
        """Do without a worker: it is killed; another is hired a little later, or when the last one is missed."""
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
        self._lost(self.learner, why)

    def replay_lost(self, why: str) -> None:
        """Note that the replay is gone."""
        self._lost(self.replay, why)

    def _lost(self, member: Actor, why: str) -> None:
        if member.role not in self._gone:
            self._gone.add(member.role)
            self._end(member, "dead")
            self.listener(f"{member.role}_lost", f"lost {member}: {self._reason(member, why)}")

    def note_homes(self, homes: Mapping[int, int], round_: int) -> None:
        """Have the leases written down; who leaves and holds nothing is let go."""
        moved = {shard: worker for shard, worker in homes.items() if self._homes.get(shard) != worker}
        self._homes = dict(homes)
        names = {shard: self._key(self.workers[worker]) for shard, worker in moved.items() if worker in self.workers}
        if names:
            self._coordinator.lease.remote(self.run.run_id, names, round_)
        for worker in self._leaving - set(homes.values()) - set(self._departing):
            self._departing[worker] = self.workers[worker].actor.positions.remote()  # ready after all its other calls

    def end(self) -> None:
        """End all actors; who has waited in vain to prove whom it works for is noted."""
        for worker, newcomer in self._newcomers.items():
            if worker in self._unproven_since and newcomer.has_joined:
                self._note_unproven(newcomer)
        self._coordinator.call.remote(self.run.run_id, self.run.name, "ended", self.env_steps)
        believed = [self.learner, self.replay] if self.config.replay else [self.learner]
        for member in (*believed, *self.workers.values(), *self._newcomers.values()):
            if member.has_joined:
                self._coordinator.leave.remote(self._key(member), "left")
            ray.kill(member.actor)

    def _node_with_room(self, cpus: int, who: str, *, gpus: int = 0, make_room: bool = False) -> str:
        """Wait for a node with so many free CPUs.

        `make_room` is for the learner: newcomers, then workers are ended to get there, and the node is the run
        user's own, for the learner is believed.
        """
        began, said = time.monotonic(), SAY_WAITING_SECONDS
        made_room_at = began
        demand = self._room.demand(cpus, gpus)
        while (node := self._room.free_node(cpus, gpus=gpus, trusted=make_room)) is None:
            now = time.monotonic()
            if make_room and now - made_room_at > MAKE_ROOM_SECONDS and self._make_room(cpus):
                made_room_at = now
            if now - began > said:
                said *= 6
                self._say_waiting(who, now - began)
            self._hear_coordinator()
            if demand:
                demand.show()
            time.sleep(ROOM_LOOK_SECONDS)
        if demand:
            demand.end()
        return node

    def _make_room(self, cpus: int) -> bool:
        """End who is not needed to train on, on a node that gets so many CPUs free by it."""
        if self._newcomers:
            for newcomer in self._newcomers.values():
                ray.kill(newcomer.actor)
            self._newcomers.clear()
            return True
        free = {node: found.get("CPU", 0) for node, found in free_by_node().items()}
        by_node: dict[str, list[int]] = {}
        for worker, member in self.workers.items():
            by_node.setdefault(member.about.node_id, []).append(worker)
        for node, workers in by_node.items():
            if not is_own(node):
                continue  # the learner does not go there
            missing = max(1, round(cpus - free.get(node, 0)))
            if missing <= len(workers) and missing < len(self.workers):
                for worker in workers[:missing]:
                    self.bury(worker, "it makes room for the learner")
                return True
        return False

    def _options(self, name: str, cpus: int, gpus: int) -> dict[str, Any]:
        environment = self.environment()
        return {"name": f"{self.run.name}:{name}", "num_cpus": cpus, "num_gpus": gpus, **NEVER_AGAIN, **environment}

    def environment(self) -> dict[str, Any]:
        """Ray's option for the environment that all processes that compute the run's bytes need."""
        return {"runtime_env": {"env_vars": dict(PORTABLE_ENVIRONMENT)}} if self.config.portable else {}

    def _hire(self, node: str | None = None) -> None:
        """Have a worker built, on this node if it still has room, else wherever Ray finds some."""
        name = f"env-worker-{self._next_id}:{self._generation}"
        actor: Any = ray.remote(EnvWorkerActor)
        handle = actor.options(**self._options(name, 1, 0), **self._room.worker_options(node)).remote(
            self.config, self.run.run_id
        )
        title = f"env worker {self._next_id}"
        self._newcomers[self._next_id] = Actor(title, "env-worker", handle, handle.about.remote(), node)
        self._next_id += 1

    def _hire_learner(self) -> None:
        cpus, on_gpu = self.config.learner.threads, self.run.device == "cuda"
        options = self._options(f"learner-{self._learners}:{self._generation}", cpus, 1 if on_gpu else 0)
        if reserved():
            options["scheduling_strategy"] = reserved()
        else:
            node = self._node_with_room(cpus, "the learner", gpus=1 if on_gpu else 0, make_room=True)
            options["scheduling_strategy"] = self._room.trusted(node)
        actor: Any = ray.remote(LearnerActor)
        handle = actor.options(**options).remote(self.config, self.run.device)
        self.learner = Actor("the learner", "learner", handle, handle.about.remote())
        self._learners += 1
        self._gone.discard("learner")
        self._given_up.discard("learner")

    def _await(self, actors: list[Actor], *, enough: int | None = None, most_s: float = float("inf")) -> None:
        """Wait until `enough` of these (all by default) are built or have failed, but not longer than `most_s`."""
        said = SAY_WAITING_SECONDS
        began = time.monotonic()
        refs, enough = [actor.asked for actor in actors], len(actors) if enough is None else enough
        while refs and len(ray.wait(refs, num_returns=enough, timeout=CALL_SECONDS, fetch_local=False)[0]) < enough:
            self._hear_coordinator()
            waited = time.monotonic() - began
            if waited > most_s:
                return
            if waited > said:
                said *= 6
                self._say_waiting(", ".join(actor.name for actor in actors if not is_ready(actor.asked)), waited)

    def _learner_joined(self) -> bool:
        """Wait for the learner; False if it died or is of another machine class, and another must be hired.

        Raises:
            HydrahiveError: If it cannot be built.
        """
        self._await([self.learner])
        try:
            self.learner.hear()
        except RayActorError as error:
            if error.actor_init_failed:
                raise build_error(self.learner, error) from None
            self.learner_lost(str(error))
            return False
        about = self.learner.about
        if self._machine_class not in (None, about.machine_class):
            self._refuse(self.learner)
            self._gone.add("learner")
            return False
        self._machine_class = about.machine_class
        self._register(self.learner)
        return True

    def _welcome(self) -> int:
        """Let newcomers that are ready join; how many left the waiting room, in or out.

        One of another machine class is refused, and one whose node is labelled as somebody's without proving it.
        """
        waiting = len(self._newcomers)
        for worker, newcomer in list(self._newcomers.items()):
            if not is_ready(newcomer.asked):
                continue
            try:
                newcomer.hear()
            except RayActorError as error:
                del self._newcomers[worker]
                self._not_built(newcomer, error)
                continue
            owner = self._owner_of(worker, newcomer.about.node_id)
            if owner is None:
                continue
            del self._newcomers[worker]
            if newcomer.about.node_id in self._room.refused:
                ray.kill(newcomer.actor)
                continue
            assert self._machine_class is not None, "the learner joins first"
            if newcomer.about.machine_class.split("/")[:2] != self._machine_class.split("/")[:2]:
                self._refuse(newcomer)
                continue
            if owner is UNPROVEN:
                self._refuse_owner(newcomer)
                continue
            self._failed_hires = 0
            self.workers[worker] = newcomer
            name = f"{newcomer.name.replace(' ', '-')}-{self._generation}"
            self.facts[worker] = WorkerFacts(name, owner, newcomer.about.node_id)
            self._register(newcomer, owner)
            if self._homes:
                self.listener("worker_joined", f"{newcomer} has joined", worker=newcomer.name, owner=owner)
        return waiting - len(self._newcomers)

    def _owner_of(self, worker: int, node: str) -> str | None:
        """Whom a node works for: its label's account once that is proven, by default the run's user.

        None while the proof may still come, `UNPROVEN` when it has taken too long.
        """
        label = owner_label(node)
        if label is None or label == run_user() or not self.config.ledger.enabled:
            return label or run_user()
        if self._owners.get(node) == label:
            return label
        since = self._unproven_since.setdefault(worker, time.monotonic())
        return UNPROVEN if time.monotonic() - since > PROOF_SECONDS else None

    def _refuse_owner(self, member: Actor) -> None:
        """Its node says that it works for an account whose key it has not shown."""
        ray.kill(member.actor)
        self._room.refused.add(member.about.node_id)
        owner = self._note_unproven(member)
        text = f"refused {member}: its node is labelled as {owner}'s, and has not shown the account's key"
        self.listener("owner_refused", text, worker=member.name, owner=owner)

    def _note_unproven(self, member: Actor) -> str:
        """Have the ledger record whose key was not shown; the account's name."""
        owner = owner_label(member.about.node_id) or ""
        self._coordinator.refuse_owner.remote(member.about.node_id, owner)
        return owner

    def quarantine(self, node: str, why: str) -> None:
        """Want no work from a node any more."""
        self._room.refused.add(node)
        self._coordinator.quarantine.remote(node, why)
        for worker, member in list(self.workers.items()):
            if member.about.node_id == node:
                self.bury(worker, why)
        self.listener("quarantined", f"node {node} is quarantined: {why}", node=node)

    def _not_built(self, newcomer: Actor, error: RayActorError) -> None:
        """A newcomer died: that ends the run only if there is no other worker.

        Raises:
            HydrahiveError: If none can be built.
        """
        self._failed_hires += 1
        failed = build_error(newcomer, error)
        alone = not self.workers and not self._newcomers
        if alone and (error.actor_init_failed or self._failed_hires >= HIRE_ATTEMPTS):
            raise failed from None
        if error.actor_init_failed and newcomer.node is not None:
            self._room.refused.add(newcomer.node)
        self.listener("worker_failed", str(failed), worker=newcomer.name)

    def _refuse(self, member: Actor) -> None:
        """Of another machine class: it would compute other bytes. Its node is not tried again."""
        ray.kill(member.actor)
        self._room.refused.add(member.about.node_id)
        text = (
            f"refused {member}: its machine class is {member.about.machine_class}, the run's is {self._machine_class}"
        )
        self.listener("worker_refused", text, worker=member.name)

    def _register(self, member: Actor, owner: str | None = None) -> None:
        about, key = member.about, self._key(member)
        facts = Member(
            key,
            self.run.run_id,
            member.role,
            owner or run_user(),
            about.node_id,
            about.node_ip,
            about.pid,
            about.machine_class,
        )
        self._coordinator.register.remote(facts)
        if not member.shows_life:
            member.actor.show_life.remote(key, self._coordinator)
            member.shows_life = True

    def _key(self, member: Actor) -> str:
        return f"{self.run.run_id}/{member.name.removeprefix('the ').replace(' ', '-')}@{member.about.pid}"

    def _hear_coordinator(self) -> None:
        """Take the answer to the last call, if it is there, and call again."""
        if self._call is not None and not is_ready(self._call):
            return
        if self._call is not None:
            try:
                heard: Heard = ray.get(self._call)
            except RayError:
                pass  # it is being restarted; its silence is held against nobody
            else:
                self._register_again(heard.health)
                self._request = heard.request or self._request
                self._owners = heard.owners
                self.watched = heard.watched
                self._shun(heard.quarantined)
                self._act_on(heard.health)
        state = "paused" if self.paused else "running"
        self._call = self._coordinator.call.remote(self.run.run_id, self.run.name, state, self.env_steps)

    def _quarantined(self) -> set[str]:
        """Nodes that were caught before this run began; none while the coordinator is being restarted."""
        try:
            return {node["node_id"] for node in ray.get(self._coordinator.nodes.remote()) if node["quarantined"]}
        except RayError:
            return set()

    def _shun(self, quarantined: frozenset[str]) -> None:
        """Do without nodes that were caught in another run."""
        for node in quarantined - self._room.refused:
            self.quarantine(node, "it was caught in another run")

    def _present(self) -> dict[str, tuple[int, Actor]]:
        """Who has joined, by the coordinator's name; learner and replay count as worker -1."""
        present = {self._key(member): (worker, member) for worker, member in self.workers.items()}
        for role in {"learner", "replay"} - self._gone if self.config.replay else {"learner"} - self._gone:
            member = self.learner if role == "learner" else self.replay
            if member.has_joined:
                present[self._key(member)] = (-1, member)
        return present

    def _register_again(self, health: Mapping[str, Health]) -> None:
        """A coordinator that was restarted may have missed who joined meanwhile."""
        for key, (worker, member) in self._present().items():
            if key not in health:
                self._register(member, self.facts[worker].owner if worker >= 0 else None)

    def _act_on(self, health: Mapping[str, Health]) -> None:
        present = self._present()
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
            if member.role not in self._given_up:
                self._given_up.add(member.role)
                self._kill(member)  # whoever waits for it meets its loss
        else:
            self.bury(worker, why)

    def _see_who_must_leave(self) -> None:
        """Workers on nodes that Ray is draining hand their shards over."""
        draining = draining_nodes()
        for worker, member in self.workers.items():
            if member.about.node_id in draining and worker not in self._leaving:
                self._leaving.add(worker)
                self.listener("worker_leaving", f"{member} is leaving: its node is being drained", worker=member.name)

    def _see_off(self) -> None:
        """Let those go who leave and have done all that they were asked."""
        for worker, last_call in list(self._departing.items()):
            if worker in self.workers and not is_ready(last_call):
                continue
            del self._departing[worker]
            member = self.workers.pop(worker, None)
            if member is not None:
                self._leaving.discard(worker)
                self._end(member, "left")
                self.listener("worker_left", f"{member} has left; its shards were handed over", worker=member.name)

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

    def _say_waiting(self, who: str, waited_s: float) -> None:
        self.listener("waiting", f"waiting for {who} since {waited_s:.0f} s; {self._room.report()}")


def _shards(shards: list[int]) -> str:
    if not shards:
        return "no shard"
    return f"shard{'s' if len(shards) > 1 else ''} {', '.join(map(str, shards))}"
