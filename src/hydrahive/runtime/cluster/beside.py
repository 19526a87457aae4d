"""Who works beside the training on the learner's node: the evaluator and the auditor, hired when they are needed."""

from __future__ import annotations

import time
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from hydrahive.core.errors import first_line
from hydrahive.runtime.cluster.actors import NEVER_AGAIN, AuditorActor, EvaluatorActor
from hydrahive.runtime.cluster.crew import Crew
from hydrahive.runtime.cluster.ending import Ending
from hydrahive.runtime.cluster.hiring import Hiring
from hydrahive.runtime.cluster.member import BUILD_SECONDS, Actor, Role, is_ready

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
