"""Hiring actors: where there is room, waited for until they are built."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable
from typing import Any

import ray
from ray.exceptions import OutOfMemoryError, RayActorError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from hydrahive.core.errors import HydrahiveError, LearnerLostError, first_line
from hydrahive.runtime.cluster.actors import NEVER_AGAIN, EnvWorkerActor, LearnerActor, ReplayActor
from hydrahive.runtime.cluster.capacity import reserved
from hydrahive.runtime.cluster.connecting import free_by_node, place_of
from hydrahive.runtime.cluster.crew import Crew
from hydrahive.runtime.cluster.ending import Ending
from hydrahive.runtime.cluster.hearing import Hearing
from hydrahive.runtime.cluster.member import BUILD_SECONDS, Actor, build_error, is_ready
from hydrahive.runtime.cluster.welcoming import HIRE_ATTEMPTS, Welcoming
from hydrahive.runtime.config.portable import PORTABLE_ENVIRONMENT

CALL_SECONDS = 1.0
"""Time between two looks at those who are waited for."""

OTHERS_SECONDS = 10.0
"""Longest wait for the other workers where the learner and one are there."""

MAKE_ROOM_SECONDS = 3.0
"""Time before, and between, ending workers to make room for a learner: Ray's count of free CPUs is a little late."""

ROOM_LOOK_SECONDS = 0.1
"""Time between two looks for a node with room."""


class Hiring:
    """Has the learner, the replay and workers built."""

    def __init__(self, crew: Crew, ending: Ending, hearing: Hearing, welcoming: Welcoming) -> None:
        """Hire nobody yet."""
        self._crew, self._ending, self._hearing, self._welcoming = crew, ending, hearing, welcoming
        self._next_id = self._learners = self._replays = 0

    def assemble(self) -> None:
        """Hire the learner and as many workers as there is room for, and wait for them.

        With the learner and one worker there, the others are waited for only a moment; they may join later.

        Raises:
            HydrahiveError: If one cannot be built.
        """
        crew = self._crew
        wanted, room = crew.room.wanted_workers(), crew.room.for_workers()
        first = max(1, min(wanted, room))
        if 1 <= room < wanted:
            self._say_short(f"training with {first} of {wanted} env workers, the others join when there is room")
        elif room < 1:
            self._say_short(f"waiting for the learner's {crew.config.learner.threads} and an env worker's 1")
        self._hire_learner()
        for _ in range(first if room >= 1 else 0):
            self.hire()
        if not self._learner_joined():
            self._new_learner()
        if crew.config.replay:
            self._new_replay()
        self.await_worker()
        self._await(list(crew.newcomers.values()), most_s=OTHERS_SECONDS)
        self._welcoming.welcome()

    def await_worker(self) -> None:
        """Wait until there is a worker.

        Raises:
            HydrahiveError: If none can be built.
        """
        crew = self._crew
        with crew.waits.of("proof", "an env worker's node to prove whom it works for"):
            proof = crew.waits.begin(tend=self._hearing.hear)
        while not crew.workers:
            if not crew.newcomers:
                anywhere = reserved() or crew.room.follows_demand
                self.hire(None if anywhere else self._node_with_room(1, "an env worker"))
            self._await(list(crew.newcomers.values()), enough=1)
            if not self._welcoming.welcome():
                proof.look()
                time.sleep(ROOM_LOOK_SECONDS)

    def renew(self, *, everything: bool) -> None:
        """Hire a learner and a replay in place of those that are gone, or of both.

        Raises:
            HydrahiveError: If one cannot be built.
        """
        crew = self._crew
        if everything or "learner" in crew.gone:
            self._new_learner()
        if crew.config.replay and (everything or "replay" in crew.gone):
            self._new_replay()

    def hire(self, node: str | None = None) -> None:
        """Have a worker built, on this node if it still has room, else wherever Ray finds some."""
        crew = self._crew
        name = f"env-worker-{self._next_id}:{crew.generation}"
        actor: Any = ray.remote(EnvWorkerActor)
        taken = crew.slots
        slot = next(slot for slot in itertools.count() if slot not in taken)
        options = {**self._options(name, 1, 0), **crew.room.worker_options(node, slot)}
        handle = actor.options(**options).remote(crew.config, crew.run.run_id)
        title = f"env worker {self._next_id}"
        crew.newcomers[self._next_id] = Actor(title, "env-worker", handle, handle.about.remote(), node, slot=slot)
        self._next_id += 1

    def hire_who_is_missing(self) -> None:
        """Hire as many workers as are missing and have room, at once, unless some are being built or it is early."""
        crew = self._crew
        missing = crew.room.wanted_workers() - len([worker for worker in crew.hired if worker not in crew.leaving])
        if missing <= 0 or crew.newcomers or time.monotonic() < crew.hire_at:
            return
        if reserved() or crew.room.follows_demand:
            places: list[str | None] = [None] * missing
        else:
            places = [*crew.room.places_for_workers(missing)]
        for node in places:
            self.hire(node)

    def environment(self) -> dict[str, Any]:
        """Ray's option for the environment that all processes that compute the run's bytes need."""
        return {"runtime_env": {"env_vars": dict(PORTABLE_ENVIRONMENT)}} if self._crew.config.portable else {}

    def _new_learner(self) -> None:
        """Hire a learner in place of the one there was, and wait for it; a worker makes room where there is none."""
        if "learner" not in self._crew.gone:
            self._ending.end(self._crew.learner, "left")
        for _ in range(HIRE_ATTEMPTS):
            self._hire_learner()
            if self._learner_joined():
                return
        raise HydrahiveError(f"no learner could be had in {HIRE_ATTEMPTS} attempts{self._why_gone()}")

    def _why_gone(self) -> str:
        """What the last loss was put down to, where that is more than a death."""
        why = self._ending.last_loss
        return f"; the last: {why}" if why else ""

    def _new_replay(self) -> None:
        """Hire a replay beside the learner, which waits for what it gives; no CPU is reserved for it."""
        crew = self._crew
        if "replay" not in crew.gone:
            self._ending.end(crew.replay, "left")
        where = NodeAffinitySchedulingStrategy(crew.learner.node_id, soft=False)
        for _ in range(HIRE_ATTEMPTS):
            options = self._options(f"replay-{self._replays}:{crew.generation}", 0, 0)
            actor: Any = ray.remote(ReplayActor)
            handle = actor.options(**options, scheduling_strategy=where).remote(crew.config)
            crew.replay = Actor("the replay", "replay", handle, handle.about.remote())
            self._replays += 1
            self._await([crew.replay])
            try:
                crew.replay.hear()
            except RayActorError as error:
                if error.actor_init_failed:
                    raise build_error(crew.replay, error) from None
                self._ending.replay_lost(str(error))
                continue
            except RayError as error:
                # It can only be beside the learner, whose node is gone.
                self._ending.replay_lost(str(error))
                self._ending.learner_lost(str(error))
                raise LearnerLostError("the learner's node is gone") from None
            crew.gone.discard("replay")
            crew.given_up.discard("replay")
            crew.register(crew.replay)
            return
        raise HydrahiveError(f"the replay died {HIRE_ATTEMPTS} times while it was being built")

    def _hire_learner(self) -> None:
        crew = self._crew
        cpus, on_gpu = crew.config.learner.threads, crew.run.device == "cuda"
        options = self._options(f"learner-{self._learners}:{crew.generation}", cpus, 1 if on_gpu else 0)
        if group := reserved():
            options["scheduling_strategy"] = group
        else:
            node = self._node_with_room(cpus, "the learner", gpus=1 if on_gpu else 0, make_room=True)
            options["scheduling_strategy"] = crew.room.trusted(node)
        actor: Any = ray.remote(LearnerActor)
        handle = actor.options(**options).remote(crew.config, crew.run.device)
        crew.learner = Actor("the learner", "learner", handle, handle.about.remote())
        self._learners += 1
        crew.gone.discard("learner")
        crew.given_up.discard("learner")

    def _learner_joined(self) -> bool:
        """Wait for the learner; False if it died or is of another machine class, and another must be hired.

        Raises:
            HydrahiveError: If it cannot be built.
        """
        crew = self._crew
        self._await([crew.learner])
        try:
            crew.learner.hear()
        except RayActorError as error:
            if error.actor_init_failed:
                raise build_error(crew.learner, error) from None
            self._ending.learner_lost(str(error))
            return False
        except OutOfMemoryError as error:
            self._ending.learner_lost(first_line(error))
            return False
        about = crew.learner.about
        if crew.machine_class is None:
            crew.machine_class, crew.fingerprint = about.machine_class, about.fingerprint
        if self._welcoming.refused(crew.learner):
            self._ending.last_loss = f"it was refused: {about.machine_class} is not what the run was begun with"
            crew.gone.add("learner")
            return False
        crew.register(crew.learner)
        return True

    def _await(self, actors: list[Actor], *, enough: int | None = None, most_s: float = float("inf")) -> None:
        """Wait until `enough` of these (all by default) are built or have failed, but not longer than `most_s`."""

        def names() -> str:
            late = ", ".join(actor.name for actor in actors if not is_ready(actor.asked))
            return f"{late} to be built ({self._crew.room.report()})"

        refs, enough = [actor.asked for actor in actors], len(actors) if enough is None else enough
        with self._crew.waits.of("building", names):
            wait = self._crew.waits.begin(tend=self._hearing.hear)
        while refs and len(ray.wait(refs, num_returns=enough, timeout=CALL_SECONDS, fetch_local=False)[0]) < enough:
            self.end_who_hangs(actors)
            wait.look()
            if wait.waited_s > most_s:
                return

    def end_who_hangs(self, actors: Iterable[Actor] = ()) -> None:
        """End whoever has a process and is still being built after so long; whoever waits for it meets its loss."""
        for actor in [*actors, *self._crew.newcomers.values()]:
            late = time.monotonic() - actor.asked_at > BUILD_SECONDS
            if late and not actor.has_joined and not is_ready(actor.asked) and place_of(actor.actor)[2]:
                actor.asked_at = time.monotonic()
                text = f"{actor.name} was not built within {BUILD_SECONDS:.0f} s: does its environment hang?"
                self._crew.listener("building_hangs", text)
                ray.kill(actor.actor)

    def _node_with_room(self, cpus: int, who: str, *, gpus: int = 0, make_room: bool = False) -> str:
        """Wait for a node with so many free CPUs.

        `make_room` is for the learner: newcomers, then workers are ended to get there, and the node is the run
        user's own, for the learner is believed.
        """
        with self._crew.waits.of("room", lambda: f"room for {who} ({self._crew.room.report()})"):
            wait = self._crew.waits.begin(tend=self._hearing.hear)
        made_room_at = time.monotonic()
        demand = self._crew.room.demand(cpus, gpus)
        while (node := self._crew.room.free_node(cpus, gpus=gpus, trusted=make_room)) is None:
            now = time.monotonic()
            if make_room and now - made_room_at > MAKE_ROOM_SECONDS and self._make_room(cpus, gpus):
                made_room_at = now
            wait.look()
            if demand:
                demand.show()
            time.sleep(ROOM_LOOK_SECONDS)
        if demand:
            demand.end()
        return node

    def _make_room(self, cpus: int, gpus: int) -> bool:
        """End who is not needed to train on, on a node that gets so many CPUs free by it, and has the GPUs free."""
        crew = self._crew
        own = crew.room.own_nodes()
        found = {node: there for node, there in free_by_node().items() if node in own and there.get("GPU", 0) >= gpus}
        if all(there.get("CPU", 0) >= cpus for there in found.values()):
            return False  # nobody takes the CPUs: it is something else that is missing
        if crew.newcomers:
            for newcomer in crew.newcomers.values():
                ray.kill(newcomer.actor)
            crew.newcomers.clear()
            return True
        free = {node: there.get("CPU", 0) for node, there in found.items()}
        by_node: dict[str, list[int]] = {}
        for worker in crew.hired:
            by_node.setdefault(crew.workers[worker].node_id, []).append(worker)
        for node, workers in by_node.items():
            if node not in free:
                continue  # the learner does not go there
            missing = max(1, round(cpus - free.get(node, 0)))
            if missing <= len(workers) and missing < len(crew.workers):
                for worker in workers[:missing]:
                    self._ending.bury(worker, "it makes room for the learner")
                return True
        return False

    def _options(self, name: str, cpus: int, gpus: int) -> dict[str, Any]:
        environment = self.environment()
        return {
            "name": f"{self._crew.run.name}:{name}",
            "num_cpus": cpus,
            "num_gpus": gpus,
            **NEVER_AGAIN,
            **environment,
        }

    def _say_short(self, what: str) -> None:
        resources = ray.cluster_resources()
        free = ray.available_resources().get("CPU", 0)
        self._crew.listener(
            "short_of_cpus", f"the cluster has {resources.get('CPU', 0):.0f} CPUs, {free:.0f} of them free: {what}"
        )
