"""Who is there: the actors of a run, and what is known of them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from hydrahive.core.errors import LostError
from hydrahive.ledger.posting import WorkerFacts
from hydrahive.runtime.cluster.capacity import Room
from hydrahive.runtime.cluster.member import Actor, Role, RunOnCluster
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.coordinator.actor import coordinator
from hydrahive.runtime.coordinator.registry import Member
from hydrahive.runtime.fleet.refs import Listener
from hydrahive.runtime.fleet.waiting import Waits
from hydrahive.runtime.runs.run_user import run_user


class Crew:
    """The learner, the replay and the env workers of one run, those that come and those that go.

    Attributes:
        config: The run's.
        run: As its actors know it.
        listener: Is told what happens.
        waits: How the driver waits.
        coordinator: The cluster's.
        room: Where actors go.
        generation: Of this driver: one that was killed may have left actors of the same run behind, just being ended.
        workers: Those that have joined, by number.
        newcomers: Those that are being built, or have not joined yet.
        leaving: Workers that hand their shards over.
        departing: Of workers that hold nothing any more: their last call.
        homes: The worker of each shard.
        learner: The learner.
        replay: The replay, where there is one.
        gone: Which of these two, that are believed, is not there; beside the workers each is one of its kind.
        given_up: Which of them was killed because nothing was heard of it.
        slicers: Those that find slices' gradients and nothing else, by numbers above all workers'.
        facts: Every worker as its receipts name it, also once it is gone.
        machine_class: The learner's, which all share; None before it has joined.
        fingerprint: Likewise.
        hire_at: When another worker may be hired.
        env_steps: The run's, as the coordinator is told.
        paused: Likewise.
    """

    def __init__(self, config: RunConfig, run: RunOnCluster) -> None:
        """Nobody is there yet."""
        self.config, self.run = config, run
        self.listener: Listener = run.listener
        self.waits = Waits(lambda: self.listener)
        self.coordinator: Any = coordinator()
        self.room = Room(config, run)
        self.generation = uuid.uuid4().hex[:6]
        self.workers: dict[int, Actor] = {}
        self.newcomers: dict[int, Actor] = {}
        self.leaving: set[int] = set()
        self.departing: dict[int, Any] = {}
        self.homes: Mapping[int, int] = {}
        self.learner: Actor
        self.replay: Actor
        self.beside: dict[Role, Actor] = {}
        self.slicers: dict[int, Actor] = {}
        self.gone: set[str] = {"learner", "replay"} if config.replay else {"learner"}
        self.given_up: set[str] = set()
        self.facts: dict[int, WorkerFacts] = {}
        self.machine_class: str | None = None
        self.fingerprint: Mapping[str, str] = {}
        self.hire_at = 0.0
        self.env_steps, self.paused = 0, False

    def actor(self, worker: int) -> Any:
        """A worker's handle, whether or not it still lives.

        Raises:
            LostError: If it was buried.
        """
        if worker not in self.workers:
            raise LostError(f"env worker {worker} is gone")
        return self.workers[worker].actor

    @property
    def hired(self) -> list[int]:
        """The workers that CPUs were reserved for; the others lend their acting to volunteers."""
        return [worker for worker, member in self.workers.items() if member.slot >= 0]

    @property
    def slots(self) -> set[int]:
        """The numbers that workers and newcomers have among those that are there at once."""
        return {member.slot for member in (*self.workers.values(), *self.newcomers.values())}

    def staying(self) -> list[int]:
        """The workers that have joined and are not leaving; those that leave, if there are no others."""
        return [worker for worker in self.workers if worker not in self.leaving] or list(self.workers)

    def conditions(self) -> dict[str, str]:
        """How the workers are, by name."""
        return {
            self.facts[worker].name: "leaving" if worker in self.leaving else "late" if member.is_late else "alive"
            for worker, member in self.workers.items()
        }

    def present(self) -> dict[str, tuple[int, Actor]]:
        """Who has joined, by the coordinator's name; all but the workers count as worker -1."""
        present = {self.key(member): (worker, member) for worker, member in self.workers.items()}
        for role in {"learner", "replay"} - self.gone if self.config.replay else {"learner"} - self.gone:
            member = self.learner if role == "learner" else self.replay
            if member.has_joined:
                present[self.key(member)] = (-1, member)
        present |= {self.key(member): (-1, member) for member in self.beside.values() if member.has_joined}
        return present

    def key(self, member: Actor) -> str:
        """A member's name at the coordinator."""
        return f"{self.run.run_id}/{member.name.removeprefix('the ').replace(' ', '-')}@{member.pid}"

    def register(self, member: Actor, owner: str | None = None) -> None:
        """Tell the coordinator that a member works for the run, and have it show that it lives."""
        about, key = member.about, self.key(member)
        facts = Member(
            key,
            self.run.run_id,
            member.role,
            owner or run_user(),
            member.node_id,
            member.node_ip,
            member.pid,
            about.machine_class,
        )
        self.coordinator.register.remote(facts)
        if not member.shows_life:
            member.actor.show_life.remote(key, self.coordinator)
            member.shows_life = True
