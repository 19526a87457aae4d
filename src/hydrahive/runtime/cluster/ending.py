"""Ending actors: those that are lost, that leave, that are caught, and all of them when the run ends."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Literal

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from hydrahive.core.errors import RefusedWorkError
from hydrahive.ledger.audit_rules import account_of
from hydrahive.runtime.cluster.actors import end_process
from hydrahive.runtime.cluster.connecting import draining_nodes
from hydrahive.runtime.cluster.crew import Crew
from hydrahive.runtime.cluster.member import Actor, is_ready
from hydrahive.runtime.runs.run_user import run_user

CLOSE_SECONDS = 2.0
"""Time that env workers have to close their environments when a run ends."""

HIRE_SECONDS = 3.0
"""Time from a worker's loss to hiring another, if there are others: building it would slow their replaying down."""


class Ending:
    """Does without members of the crew."""

    def __init__(self, crew: Crew) -> None:
        """End nobody yet."""
        self._crew = crew
        self.last_loss = ""
        """Why learner or replay were lost last, in words."""

    def bury(self, worker: int, why: str) -> None:
        """Do without a worker: it is killed; another is hired a little later, or when the last one is missed."""
        crew = self._crew
        member = crew.workers.pop(worker, None)
        if member is None:
            return
        crew.leaving.discard(worker)
        shards = [shard for shard, home in crew.homes.items() if home == worker]
        self.end(member, "dead")
        text = f"lost {member}: {self._reason(member, why)}; it held {_shards(shards)}"
        crew.listener("worker_lost", text, worker=member.name, shards=shards)
        crew.hire_at = time.monotonic() + HIRE_SECONDS

    def bury_slicer(self, number: int, why: str) -> None:
        """Do without a slice worker; the learner finds its slices, and another is hired when there is room."""
        member = self._crew.slicers.pop(number, None)
        if member is not None:
            self.end(member, "dead")
            text = f"lost {member}: {self._reason(member, why)}; its slices are found again"
            self._crew.listener("slice_worker_lost", text, worker=member.name)

    def learner_lost(self, why: str) -> None:
        """Note that the learner is gone."""
        self.lost(self._crew.learner, why)

    def replay_lost(self, why: str) -> None:
        """Note that the replay is gone."""
        self.lost(self._crew.replay, why)

    def lost(self, member: Actor, why: str) -> None:
        """Note that one that is believed is gone."""
        crew = self._crew
        if member.role not in crew.gone:
            crew.gone.add(member.role)
            self.end(member, "dead")
            self.last_loss = self._reason(member, why)
            crew.listener(f"{member.role}_lost", f"lost {member}: {self.last_loss}")

    def quarantine(self, node: str, why: str, *, is_caught_here: bool = True) -> None:
        """Want no work from a node any more; whoever was caught in this run has a strike."""
        crew = self._crew
        crew.room.refused.add(node)
        crew.coordinator.quarantine.remote(node, why)
        for owner in {facts.owner for facts in crew.facts.values() if facts.node == node} - {run_user()}:
            if crew.config.ledger.enabled and is_caught_here:
                crew.coordinator.strike.remote(owner, crew.run.run_id, node, why)
        for worker in [worker for worker in crew.workers if crew.facts[worker].node == node]:
            self.bury(worker, why)
        for number in [number for number in crew.slicers if crew.facts[number].node == node]:
            self.bury_slicer(number, why)
        what = node if account_of(node) else f"node {node}"
        crew.listener("quarantined", f"{what} is quarantined: {why}", node=node)

    def refuse(self, worker: int, refused: RefusedWorkError) -> None:
        """Do without a worker whose work was refused, and without its node if that works for another account."""
        crew, facts = self._crew, self._crew.facts[worker]
        text = f"{refused}; it came from worker {facts.name} of {facts.owner} (node {facts.node})"
        crew.listener("work_refused", text, worker=facts.name, owner=facts.owner, node=facts.node, shard=refused.shard)
        if facts.owner == run_user():
            (self.bury_slicer if worker in crew.slicers else self.bury)(worker, refused.what)
        elif refused.of_the_policy:
            crew.room.refused.add(facts.node)
            self.bury(worker, refused.what)
        elif facts.node not in crew.room.refused:
            self.quarantine(facts.node, f"its work was refused: {refused.what}")

    def note_homes(self, homes: Mapping[int, int], round_: int) -> None:
        """Have the leases written down; who leaves and holds nothing is let go."""
        crew = self._crew
        moved = {shard: worker for shard, worker in homes.items() if crew.homes.get(shard) != worker}
        crew.homes = dict(homes)
        names = {shard: crew.key(crew.workers[worker]) for shard, worker in moved.items() if worker in crew.workers}
        if names:
            crew.coordinator.lease.remote(crew.run.run_id, names, round_)
        self._have_depart()

    def _have_depart(self) -> None:
        """Ask those who leave, and hold nothing any more or never did, for the last time."""
        crew = self._crew
        for worker in crew.leaving - set(crew.homes.values()) - set(crew.departing):
            crew.departing[worker] = crew.workers[worker].actor.positions.remote()  # ready after all its other calls

    def see_who_must_leave(self) -> None:
        """Workers on nodes that Ray is draining hand their shards over."""
        crew = self._crew
        draining = draining_nodes()
        for worker, member in crew.workers.items():
            if member.node_id in draining and worker not in crew.leaving:
                crew.leaving.add(worker)
                crew.listener("worker_leaving", f"{member} is leaving: its node is being drained", worker=member.name)

    def see_off(self) -> None:
        """Let those go who leave and have done all that they were asked."""
        crew = self._crew
        if crew.homes:
            self._have_depart()
        for worker, last_call in list(crew.departing.items()):
            if worker in crew.workers and not is_ready(last_call):
                continue
            del crew.departing[worker]
            member = crew.workers.pop(worker, None)
            if member is not None:
                crew.leaving.discard(worker)
                self.end(member, "left")
                crew.listener("worker_left", f"{member} has left; its shards were handed over", worker=member.name)

    def end(self, member: Actor, state: Literal["left", "dead"]) -> None:
        """End a member; the coordinator is told how it went."""
        if member.has_joined:
            self._crew.coordinator.leave.remote(self._crew.key(member), state)
        self.kill(member)

    def kill(self, member: Actor) -> None:
        """End an actor's process, also when it does not listen to Ray any more."""
        ray.kill(member.actor)
        if member.has_joined:
            where = NodeAffinitySchedulingStrategy(member.node_id, soft=False)
            ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=where)(end_process).remote(member.pid)

    def _reason(self, member: Actor, why: str) -> str:
        """In words that people understand: a node that is gone, or what was said."""
        alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        if member.has_joined and member.node_id not in alive:
            return "its node is gone"
        return "its process died" if "actor" in why.lower() else why

    def end_all(self) -> None:
        """End all actors; the coordinator is told that the run has ended."""
        crew = self._crew
        crew.coordinator.call.remote(crew.run.run_id, crew.run.name, "ended", crew.env_steps)
        # Environments may have processes of their own, which they end when they are closed.
        closing = [member.actor.close.remote() for member in crew.workers.values() if member.has_joined]
        if closing:
            ray.wait(closing, num_returns=len(closing), timeout=CLOSE_SECONDS)
        believed = [
            member for member in map(vars(crew).get, ("learner", "replay")) if member
        ]  # may be before any is hired
        for member in (*believed, *crew.workers.values(), *crew.newcomers.values(), *crew.slicers.values()):
            if member.has_joined:
                crew.coordinator.leave.remote(crew.key(member), "left")
            ray.kill(member.actor)


def _shards(shards: list[int]) -> str:
    if not shards:
        return "no shard"
    return f"shard{'s' if len(shards) > 1 else ''} {', '.join(map(str, shards))}"
