"""The run's side of the gateway: who is there, who is given shards, who is trusted, and who is done without."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from hydrahive.core.errors import RefusedWorkError, UsageError, first_line
from hydrahive.ledger.audit_rules import Standings, node_of
from hydrahive.ledger.posting import WorkerFacts
from hydrahive.runtime.cluster.actors import NEVER_AGAIN
from hydrahive.runtime.cluster.crew import Crew
from hydrahive.runtime.cluster.hiring import Hiring
from hydrahive.runtime.cluster.lending.actor import GROUPS, LendingWorkerActor, known_fragments
from hydrahive.runtime.cluster.lending.shares import shares
from hydrahive.runtime.cluster.lending.words import Accused, Crowd, Session, Wanted, gateway
from hydrahive.runtime.cluster.member import Actor, is_ready
from hydrahive.runtime.cluster.welcoming import Welcoming
from hydrahive.runtime.config.named_code import unfit_for_strangers
from hydrahive.runtime.config.plain import as_plain
from hydrahive.runtime.config.run_config import BYTE_NEUTRAL, RunConfig
from hydrahive.runtime.roles.carried import carries_something
from hydrahive.runtime.runs.run_user import run_user

FIRST = 2_000_000
"""Lending workers' numbers begin here, above all others'."""

LOOK_SECONDS = 1.0
"""Time between two questions to the gateway."""

FIND_SECONDS = 5.0
"""Time between two looks for a gateway where there is none."""

NONCES = 4
"""Known fragments of a run: nobody knows beforehand which one he will be asked."""


class Lenders:
    """Has an env worker built for each volunteer that there is a place for, and looks after them."""

    def __init__(self, crew: Crew, hiring: Hiring, welcoming: Welcoming) -> None:
        """Lend nothing yet.

        Raises:
            UsageError: If the run names code that volunteers would have to run.
        """
        self._crew, self._hiring, self._welcoming = crew, hiring, welcoming
        self._wants = crew.config.remote.share > 0 and not crew.run.embedded
        self._gateway: Any = None
        self._asked: Any = None
        self._ask_at = 0.0
        self._known: Any = None
        self._nonces = [secrets.randbelow(2**62) for _ in range(NONCES)]
        self._crowd = Crowd()
        self._sessions: dict[int, Session] = {}
        self._own: dict[int, WorkerFacts] = {}
        self._facts_of: dict[str, WorkerFacts] = {}
        self._caught: list[tuple[WorkerFacts, RefusedWorkError]] = []
        self._newcomers: dict[int, tuple[Actor, Session]] = {}
        self._told: dict[int, bool] = {}
        self._most: dict[int, int] = {}
        self._next = FIRST
        self._standings: Standings | None = None
        if self._wants:
            refuse_code(crew.config)

    def oversee(self, standings: Standings) -> None:
        """Rely on those whose intervals are not all computed again any more."""
        self._standings = standings

    def lends(self, worker: int) -> bool:
        """Whether a worker is one of these."""
        return worker in self._own

    def own(self, worker: int) -> WorkerFacts:
        """A worker itself, in place of whom it lends to."""
        return self._own.get(worker) or self._crew.facts[worker]

    def conditions(self) -> dict[str, str]:
        """How those are, by name, that act in place of whom they lend to."""
        return {facts.name: "alive" for worker, facts in self._own.items() if worker in self._crew.workers}

    def hands_over(self, worker: int) -> bool:
        """Whether a worker of these makes all of a state itself."""
        return self.lends(worker) and not carries_something(self._crew.config)

    def most_shards(self) -> Mapping[int, int]:
        """How many shards a worker may hold; of those that are not named any number."""
        return self._most

    def foretell(self, worker: int, shards: Sequence[int], round_: int, version: int, weights: Any) -> None:
        """Tell a worker of these what it will be asked next."""
        if worker in self._own:
            self._crew.actor(worker).foretell.remote(list(shards), round_, version, [weights])

    def look_after(self) -> None:
        """Hear the gateway, let come and go, and tell the workers whom they may rely on."""
        if not self._wants:
            return
        self._hear()
        self._welcome()
        self._see_off()
        self._hire()
        self._tell_trust()
        self._most = self._limits()

    def close(self) -> None:
        """End those that have not joined; the others are workers like all."""
        for newcomer, _ in self._newcomers.values():
            ray.kill(newcomer.actor)

    def _hear(self) -> None:
        now = time.monotonic()
        if self._asked is not None and is_ready(self._asked):
            asked, self._asked = self._asked, None
            try:
                crowd: Crowd = ray.get(asked)
            except RayError as error:
                if self._crowd.gateway:
                    self._crew.listener("gateway_lost", f"the gateway is gone: {first_line(error)}")
                self._gateway, crowd = None, Crowd()
            if crowd.gateway and crowd.gateway != self._crowd.gateway:
                self._crew.listener("gateway_found", "volunteers may join through the gateway")
            self._crowd = crowd
            for one in crowd.accused:
                self._expel(one)
        if self._asked is not None or now < self._ask_at:
            return
        self._gateway = self._gateway or gateway()
        self._ask_at = now + (LOOK_SECONDS if self._gateway else FIND_SECONDS)
        wanted = self._wanted() if self._gateway else None
        if wanted is not None:
            self._asked = self._gateway.announce.remote(wanted)

    def _wanted(self) -> Wanted | None:
        """What the run wants; None while the known fragments are computed."""
        crew = self._crew
        if self._known is None:
            where = NodeAffinitySchedulingStrategy(crew.learner.node_id, soft=False)
            options = {"num_cpus": 0, "scheduling_strategy": where, **self._hiring.environment()}
            self._known = ray.remote(**options)(known_fragments).remote(crew.config, self._nonces)
        if not is_ready(self._known):
            return None
        try:
            known: dict[int, str] = ray.get(self._known)
        except RayError as error:
            crew.listener("gateway_failed", f"a known fragment could not be computed: {first_line(error)}")
            self._known = None
            return None
        return Wanted(
            crew.run.run_id,
            crew.run.name,
            lent_config(crew.config),
            str(crew.machine_class),
            dict(crew.fingerprint),
            crew.config.portable,
            known,
            crew.env_steps,
            crew.run.place,
        )

    def take_caught(self) -> list[tuple[WorkerFacts, RefusedWorkError]]:
        """Who was caught since the last call, and by what."""
        caught, self._caught = self._caught, []
        return caught

    def _expel(self, accused: Accused) -> None:
        """Somebody was caught: the run goes on with what its own processes hold; nothing of his was used."""
        crew, account, why = self._crew, accused.account, accused.why
        node = node_of(account)
        if node in crew.room.refused:
            return
        facts = self._facts_of.get(accused.session)
        if facts is not None:
            self._caught.append((facts, RefusedWorkError(accused.shard, accused.round, why)))
        crew.room.refused.add(node)
        crew.coordinator.quarantine.remote(node, why)
        if crew.config.ledger.enabled:
            crew.coordinator.strike.remote(account, crew.run.run_id, node, why)
        crew.listener("volunteer_caught", f"volunteer {account} is not wanted any more: {why}", owner=account)

    def _welcome(self) -> None:
        crew = self._crew
        for worker, (newcomer, session) in list(self._newcomers.items()):
            if not is_ready(newcomer.asked):
                continue
            del self._newcomers[worker]
            try:
                newcomer.hear()
            except (RayError, ValueError) as error:
                crew.listener("worker_failed", f"{newcomer.name} could not be built: {first_line(error)}")
                continue
            if self._welcoming.refused(newcomer):
                continue
            crew.workers[worker] = newcomer
            name = f"{newcomer.name.replace(' ', '-')}-{crew.generation}"
            crew.facts[worker] = WorkerFacts(name, session.account, node_of(session.account))
            self._own[worker] = WorkerFacts(f"lender-{worker - FIRST}-{crew.generation}", run_user(), newcomer.node_id)
            self._sessions[worker], self._facts_of[session.id] = session, crew.facts[worker]
            crew.register(newcomer, session.account)
            text = f"volunteer {session.account} is given work; its rounds are computed here as well at first"
            crew.listener("volunteer_joined", text, worker=newcomer.name, owner=session.account)

    def _see_off(self) -> None:
        """Have those leave whose volunteers are gone or not wanted; they compute what they hold until it is taken."""
        crew, there = self._crew, {session.id for session in self._crowd.sessions}
        for worker, session in list(self._sessions.items()):
            if worker not in crew.workers:
                del self._sessions[worker]
            elif session.id not in there or node_of(session.account) in crew.room.refused:
                del self._sessions[worker]
                crew.workers[worker].actor.gone.remote()
                crew.leaving.add(worker)
                name = crew.workers[worker].name
                crew.listener("volunteer_left", f"volunteer {session.account} has left", worker=name)
                if self._standings and session.account not in {one.account for one in self._present()}:
                    self._standings.begin_anew(node_of(session.account))

    def _hire(self) -> None:
        """Have a worker built for the next in line, as long as shards may be lent to one more."""
        crew = self._crew
        busy = {session.id for session in self._sessions.values()}
        busy |= {session.id for _, session in self._newcomers.values()}
        waiting = [one for one in self._crowd.sessions if one.id not in busy]
        for session in waiting:
            if self._gateway is None or node_of(session.account) in crew.room.refused:
                continue
            accounts = [one.account for one in [*self._present(), session]]
            proven = [self._is_proven(node_of(account)) for account in accounts]
            if not shares(crew.config.shards, crew.config.remote.share, 1, proven, accounts).has_room:
                continue
            self._build(session)

    def _present(self) -> list[Session]:
        return [*self._sessions.values(), *(session for _, session in self._newcomers.values())]

    def _build(self, session: Session) -> None:
        crew, worker = self._crew, self._next
        self._next += 1
        own = sorted(crew.room.own_nodes() - crew.room.refused) or [crew.learner.node_id]
        where = NodeAffinitySchedulingStrategy(own[worker % len(own)], soft=False)
        options = {"num_cpus": 0, "scheduling_strategy": where, **NEVER_AGAIN, **self._hiring.environment()}
        actor: Any = ray.remote(concurrency_groups=GROUPS, **options)(LendingWorkerActor)
        handle = actor.remote(crew.config, crew.run.run_id, session.id, self._gateway)
        title = f"volunteer {session.account} {worker - FIRST}"
        self._newcomers[worker] = Actor(title, "env-worker", handle, handle.about.remote()), session

    def _is_proven(self, node: str) -> bool:
        return self._standings is not None and self._standings.share(node) < 1

    def _tell_trust(self) -> None:
        """Who has earned trust is relied on; where nobody audits, nobody ever earns it."""
        crew = self._crew
        for worker in self._sessions:
            facts = crew.facts[worker]
            is_trusted = self._is_proven(facts.node)
            if is_trusted != self._told.get(worker, False):
                self._told[worker] = is_trusted
                crew.workers[worker].actor.trust.remote(is_trusted)
                if is_trusted:
                    crew.listener("volunteer_trusted", f"volunteer {facts.owner} has earned trust", owner=facts.owner)

    def _limits(self) -> dict[int, int]:
        crew = self._crew
        lenders = [worker for worker in self._sessions if worker in crew.workers]
        others = [worker for worker in crew.workers if worker not in self._own and worker not in crew.leaving]
        if not lenders:
            return {}
        proven = [self._told.get(worker, False) for worker in lenders]
        accounts = [self._sessions[worker].account for worker in lenders]
        found = shares(crew.config.shards, crew.config.remote.share, len(others), proven, accounts)
        most = dict(zip(lenders, found.most, strict=True))
        left = crew.config.shards - min(found.lent, sum(found.most))
        return most | {worker: math.ceil(left / len(others)) for worker in others}


def refuse_code(config: RunConfig) -> None:
    """Refuse to lend what names code that does not come with us.

    Raises:
        UsageError: Names the code.
    """
    named = unfit_for_strangers(lent_config(config))
    if named:
        text = f"remote.share: {config.remote.share} is not accepted; expected 0: volunteers run what we ship only"
        raise UsageError(f"{text}, and this run names {', '.join(named)}")


def lent_config(config: RunConfig) -> dict[str, Any]:
    """A run's config as volunteers are told it: what acting depends on; nothing of it changes while a run goes on."""
    plain: dict[str, Any] = as_plain(config)
    for key in (*BYTE_NEUTRAL, "changes", "pilot"):
        top, _, below = key.partition(".")
        if below:
            plain.get(top, {}).pop(below, None)
        else:
            plain.pop(top, None)
    return plain
