"""Who works beside the training: the evaluator, the auditor, and those who find slices' gradients for the learner."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from hydrahive.core.errors import first_line
from hydrahive.ledger.audit_rules import slicing
from hydrahive.ledger.posting import WorkerFacts
from hydrahive.runtime.cluster.actors import NEVER_AGAIN, AuditorActor, EvaluatorActor, SliceWorkerActor
from hydrahive.runtime.cluster.capacity import reserved
from hydrahive.runtime.cluster.crew import Crew
from hydrahive.runtime.cluster.ending import Ending
from hydrahive.runtime.cluster.hiring import Hiring
from hydrahive.runtime.cluster.member import BUILD_SECONDS, Actor, Role, is_ready
from hydrahive.runtime.cluster.welcoming import Welcoming
from hydrahive.runtime.runs.run_user import run_user

HIRE_AGAIN_SECONDS = 30.0
"""Time after which another slice worker is tried where one could not be built."""

GATHER_SECONDS = 10.0
"""Longest wait for slice workers where a run begins: it can do without them."""

LOOK_SECONDS = 0.1
"""Time between two looks at them."""

KINDS: dict[Role, Any] = {"evaluator": EvaluatorActor, "auditor": AuditorActor}


class Beside:
    """Has them built, and looked after like the others: who is silent or hangs is ended, and missed by who waits."""

    def __init__(self, crew: Crew, hiring: Hiring, ending: Ending) -> None:
        """Hire nobody yet."""
        self._crew, self._hiring, self._ending = crew, hiring, ending

    def one(self, role: Role) -> Any:
        """The handle of the one there is on the learner's node, which is trusted; a new one where there is none."""
        crew, node = self._crew, self._crew.learner.node_id
        there = crew.beside.get(role)
        if there is not None and there.node == node and role not in crew.given_up:
            return there.actor
        self.forget(role)
        where = NodeAffinitySchedulingStrategy(node, soft=False)
        options = {"num_cpus": 0, "scheduling_strategy": where, **NEVER_AGAIN, **self._hiring.environment()}
        actor: Any = ray.remote(**options)(KINDS[role]).remote(crew.config, crew.run.run_id)
        crew.beside[role] = Actor(f"the {role}", role, actor, actor.about.remote(), node)
        return actor

    def forget(self, role: Role) -> None:
        """End the one there is; the next who is needed is a new one."""
        there = self._crew.beside.pop(role, None)
        self._crew.given_up.discard(role)
        if there is not None:
            self._ending.end(there, "left")

    def look_after(self) -> None:
        """Have those that are built watched, and end those that are never built."""
        crew = self._crew
        for role, there in list(crew.beside.items()):
            if there.has_joined or role in crew.given_up:
                continue
            if is_ready(there.asked):
                try:
                    there.hear()
                except (RayError, ValueError) as error:  # whoever waits for it meets its loss
                    crew.given_up.add(role)
                    crew.listener(f"{role}_failed", f"{there.name} could not be built: {first_line(error)}")
                else:
                    crew.register(there)
            elif time.monotonic() - there.asked_at > BUILD_SECONDS:
                crew.given_up.add(role)
                crew.listener(f"{role}_failed", f"{there.name} was not built within {BUILD_SECONDS:.0f} s")
                ray.kill(there.actor)


FIRST_SLICER = 1_000_000
"""Slice workers' numbers begin here, above all env workers'."""


class Slicers:
    """Has slice workers built where there is room, and tells the learner who helps it.

    They are no part of what a run needs: while one is missing, the learner finds its slices.
    """

    def __init__(self, crew: Crew, hiring: Hiring, ending: Ending, welcoming: Welcoming) -> None:
        """Hire nobody yet."""
        self._crew, self._hiring, self._ending, self._welcoming = crew, hiring, ending, welcoming
        self._next = FIRST_SLICER
        self._told: tuple[Any, dict[int, float]] | None = None
        self._hire_at = 0.0
        self._secret = bytes(32)
        self._share_of: Callable[[WorkerFacts], float | None] = lambda facts: None

    def oversee(self, secret: bytes, audits: Callable[[WorkerFacts], bool], share: Callable[[str], float]) -> None:
        """Have it drawn by the run's secret whose slices are found again.

        Args:
            secret: Which no worker knows.
            audits: Whether a worker is audited; who is not may help only if it is the run's user's own.
            share: Of the updates of a node that is audited, how many.
        """
        self._secret = secret

        def share_of(facts: WorkerFacts) -> float | None:
            if audits(facts):
                return share(slicing(facts.node))
            return 0.0 if facts.owner == run_user() else None

        self._share_of = share_of

    def gather(self) -> None:
        """Have as many built as are wanted and have room; they are waited for only a moment."""
        wanted = self._crew.config.learner.workers
        if not isinstance(wanted, int) or not wanted:
            return
        with self._crew.waits.of("slice workers", "slice workers to be built"):
            wait = self._crew.waits.begin()
        while wait.waited_s < GATHER_SECONDS:
            self.look_after()
            if sum(slicer.has_joined for slicer in self._crew.slicers.values()) >= wanted:
                return
            wait.look()
            time.sleep(LOOK_SECONDS)

    def look_after(self) -> None:
        """Let those in that are built, hire those that are missing, and tell the learner."""
        wanted = self._crew.config.learner.workers
        if wanted == 0 or "learner" in self._crew.gone:
            return
        if isinstance(wanted, int):
            self._welcome()
            self._hire(wanted)
        self._tell()

    def _welcome(self) -> None:
        crew = self._crew
        for number, slicer in list(crew.slicers.items()):
            if slicer.has_joined or not is_ready(slicer.asked):
                continue
            try:
                slicer.hear()
            except (RayError, ValueError) as error:
                del crew.slicers[number]
                ray.kill(slicer.actor)
                crew.listener("slice_worker_failed", f"{slicer.name} could not be built: {first_line(error)}")
                self._hire_at = time.monotonic() + HIRE_AGAIN_SECONDS
                continue
            if slicer.node_id in crew.room.refused or self._welcoming.refused(slicer):
                ray.kill(slicer.actor)
                del crew.slicers[number]
                continue
            name = f"{slicer.name.replace(' ', '-')}-{crew.generation}"
            crew.facts[number] = WorkerFacts(name, run_user(), slicer.node_id)
            crew.listener("slice_worker_joined", f"{slicer} has joined", worker=slicer.name)

    def _hire(self, wanted: int) -> None:
        """Have those built that are missing, on nodes of the run's user, best where fragments lie."""
        crew, config = self._crew, self._crew.config
        on_gpu = int(crew.run.device == "cuda")
        for _ in range(wanted - len(crew.slicers) if time.monotonic() >= self._hire_at else 0):
            number = self._next
            slots = {slicer.slot for slicer in crew.slicers.values()}
            slot = next(i for i in itertools.count() if i not in slots)
            if (group := reserved((crew.run.workers or 0) + slot)) is not None:
                options: dict[str, Any] = {"scheduling_strategy": group}
                node = None
            else:
                near = Counter(member.node_id for member in crew.workers.values())
                node = crew.room.free_node(config.learner.threads, gpus=on_gpu, trusted=True, near=near)
                if node is None:
                    return
                options = {"scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False)}
            options |= {"num_cpus": config.learner.threads, "num_gpus": on_gpu, **NEVER_AGAIN}
            options |= self._hiring.environment()
            actor: Any = ray.remote(**options)(SliceWorkerActor).remote(config, crew.run.device)
            name = f"slice worker {number - FIRST_SLICER}"
            crew.slicers[number] = Actor(name, "slice-worker", actor, actor.about.remote(), node, slot=slot)
            self._next += 1
            if node is not None:
                self._hire_at = time.monotonic() + 0.5  # Ray's count of free CPUs is a little late
                return

    def _tell(self) -> None:
        """Tell the learner who may help, and how much of what each finds it is to find again."""
        crew = self._crew
        if crew.config.learner.workers == "auto":
            there = {number: member for number, member in crew.workers.items() if number not in crew.leaving}
        else:
            there = {number: member for number, member in crew.slicers.items() if member.has_joined}
        shares = {number: self._share_of(crew.facts[number]) for number in there}
        trusted = {number: share for number, share in shares.items() if share is not None}
        learner = crew.learner.actor
        if self._told is None or self._told[0] is not learner or self._told[1] != trusted:
            actors = {number: there[number].actor for number in trusted}
            learner.have_help.remote(self._secret, actors, trusted)
            self._told = (learner, trusted)
