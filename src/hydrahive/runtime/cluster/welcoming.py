"""Who may join: of the run's machine class, from a node that has proven whom it works for."""

from __future__ import annotations

import time

import ray
from ray.exceptions import RayActorError, RayError

from hydrahive.core.errors import first_line
from hydrahive.ledger.posting import WorkerFacts
from hydrahive.runtime.cluster.capacity import labels_by_node, owner_label
from hydrahive.runtime.cluster.connecting import OWNER_LABEL
from hydrahive.runtime.cluster.crew import Crew
from hydrahive.runtime.cluster.hearing import Hearing
from hydrahive.runtime.cluster.member import Actor, build_error, is_ready
from hydrahive.runtime.config.fingerprint import difference_in_words
from hydrahive.runtime.config.machine_class import bytes_of
from hydrahive.runtime.runs.run_user import run_user

PROOF_SECONDS = 30.0
"""Longest wait for a node to show the key of the account that it is labelled with."""

UNPROVEN = ""
"""In place of an owner: the node has not shown the key of the one that it names."""

HIRE_ATTEMPTS = 5
"""Actors in a row that may die before they have joined."""


class Welcoming:
    """Lets newcomers in, or refuses them in one line."""

    def __init__(self, crew: Crew, hearing: Hearing) -> None:
        """Nobody has come yet."""
        self._crew, self._hearing = crew, hearing
        self._failed_hires = 0
        self._unproven_since: dict[int, float] = {}

    def welcome(self) -> int:
        """Let newcomers that are ready join; how many left the waiting room, in or out.

        One of another machine class is refused, and one whose node is labelled as somebody's without proving it.
        """
        crew = self._crew
        waiting = len(crew.newcomers)
        labels: dict[str, dict[str, str]] | None = None
        for worker, newcomer in list(crew.newcomers.items()):
            if not is_ready(newcomer.asked):
                continue
            try:
                newcomer.hear()
            except RayActorError as error:
                del crew.newcomers[worker]
                self._not_built(newcomer, error)
                continue
            except (RayError, ValueError) as error:  # it says something else of itself than was asked
                del crew.newcomers[worker]
                self._refuse_answer(newcomer, first_line(error))
                continue
            labels = labels_by_node() if labels is None else labels
            owner = self._owner_of(worker, newcomer.node_id, labels.get(newcomer.node_id, {}).get(OWNER_LABEL))
            if owner is None:
                continue
            del crew.newcomers[worker]
            if newcomer.node_id in crew.room.refused:
                ray.kill(newcomer.actor)
                continue
            if self.refused(newcomer):
                continue
            if owner is UNPROVEN:
                self._refuse_owner(newcomer)
                continue
            self._failed_hires = 0
            crew.workers[worker] = newcomer
            name = f"{newcomer.name.replace(' ', '-')}-{crew.generation}"
            crew.facts[worker] = WorkerFacts(name, owner, newcomer.node_id)
            crew.register(newcomer, owner)
            if crew.homes:
                crew.listener("worker_joined", f"{newcomer} has joined", worker=newcomer.name, owner=owner)
        return waiting - len(crew.newcomers)

    def _refuse_answer(self, newcomer: Actor, why: str) -> None:
        """It was asked what its bytes are relative to, and failed at that."""
        ray.kill(newcomer.actor)
        if newcomer.node_id:
            self._crew.room.refused.add(newcomer.node_id)
        self._crew.listener("worker_refused", f"refused {newcomer}: {why}", worker=newcomer.name)

    def refused(self, member: Actor) -> bool:
        """Whether a member would compute other bytes than the run's; then it is ended, and its node not tried again."""
        crew, about = self._crew, member.about
        assert crew.machine_class is not None, "the first learner says what the run's are"
        is_learner = member.role == "learner"
        theirs, ours = (text if is_learner else bytes_of(text) for text in (about.machine_class, crew.machine_class))
        versions = difference_in_words(crew.fingerprint, about.fingerprint, "the run is computed with", "it has")
        if theirs == ours and not versions:
            return False
        ray.kill(member.actor)
        crew.room.refused.add(member.node_id)
        kind = f"its machine class is {about.machine_class}, the run's is {crew.machine_class}"
        crew.listener("worker_refused", f"refused {member}: {versions or kind}", worker=member.name)
        return True

    def _owner_of(self, worker: int, node: str, label: str | None) -> str | None:
        """Whom a node works for: its `label`'s account once that is proven, by default the run's user.

        None while the proof may still come, `UNPROVEN` when it has taken too long.
        """
        if label is None or label == run_user() or not self._crew.config.ledger.enabled:
            return label or run_user()
        if self._hearing.owners.get(node) == label:
            return label
        since = self._unproven_since.setdefault(worker, time.monotonic())
        return UNPROVEN if time.monotonic() - since > PROOF_SECONDS else None

    def _refuse_owner(self, member: Actor) -> None:
        """Its node says that it works for an account whose key it has not shown."""
        ray.kill(member.actor)
        self._crew.room.refused.add(member.node_id)
        owner = self._note_unproven(member)
        text = f"refused {member}: its node is labelled as {owner}'s, and has not shown the account's key"
        self._crew.listener("owner_refused", text, worker=member.name, owner=owner)

    def _note_unproven(self, member: Actor) -> str:
        """Have the ledger record whose key was not shown; the account's name."""
        owner = owner_label(member.node_id) or ""
        self._crew.coordinator.refuse_owner.remote(member.node_id, owner)
        return owner

    def _not_built(self, newcomer: Actor, error: RayActorError) -> None:
        """A newcomer died: that ends the run only if there is no other worker.

        Raises:
            HydrahiveError: If none can be built.
        """
        crew = self._crew
        self._failed_hires += 1
        failed = build_error(newcomer, error)
        alone = not crew.workers and not crew.newcomers
        if alone and (error.actor_init_failed or self._failed_hires >= HIRE_ATTEMPTS):
            raise failed from None
        if error.actor_init_failed and newcomer.node is not None:
            crew.room.refused.add(newcomer.node)
        crew.listener("worker_failed", str(failed), worker=newcomer.name)

    def note_who_waits(self) -> None:
        """The run ends: who has waited in vain to prove whom it works for is noted."""
        for worker, newcomer in self._crew.newcomers.items():
            if worker in self._unproven_since and newcomer.has_joined:
                self._note_unproven(newcomer)
