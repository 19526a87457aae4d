"""Hearing the coordinator: who is silent, what people ask, who has proven whom they work for, who was caught."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import ray
from ray.exceptions import RayError

from hydrahive.core.errors import first_line
from hydrahive.runtime.cluster.crew import Crew
from hydrahive.runtime.cluster.ending import Ending
from hydrahive.runtime.cluster.member import Actor, is_ready
from hydrahive.runtime.coordinator.registry import Health, Heard
from hydrahive.runtime.runs.watch_feed import Watched

TELL_AWAY_SECONDS = 30.0
"""Time for which a coordinator may be silent before it is told."""


class Hearing:
    """The crew's line to the coordinator.

    Attributes:
        watched: Who watches the run; None if nobody does.
        owners: The accounts that nodes have proven to work for.
    """

    def __init__(self, crew: Crew, ending: Ending) -> None:
        """Hear nothing yet; whoever worked for the run before is forgotten, who was caught before is not wanted."""
        self._crew, self._ending = crew, ending
        self.watched: Watched | None = None
        self.owners: Mapping[str, str] = {}
        self._call: Any = None
        self._requests: list[str] = []
        self._heard, self._heard_at = 0, 0.0
        """The last request that was heard, as the coordinator counts them."""
        self._away_since: float | None = None
        self._is_away_told = False
        self._suspects: list[tuple[int, int]] = []
        crew.coordinator.forget.remote(crew.run.run_id)
        crew.room.refused |= self._caught_before()

    def request(self) -> str | None:
        """What was asked of the run, once."""
        return self._requests.pop(0) if self._requests else None

    def suspects(self) -> list[tuple[int, int]]:
        """Fragments at which a worker hung until it was given up, once."""
        suspects, self._suspects = self._suspects, []
        return suspects

    def hear_now_and_then(self, every_s: float) -> None:
        """`hear`, at most once in so many seconds."""
        now = time.monotonic()
        if now - self._heard_at >= every_s:
            self._heard_at = now
            self.hear()

    def hear(self) -> None:
        """Take the answer to the last call, if it is there, and call again."""
        crew = self._crew
        if self._call is not None and not is_ready(self._call):
            return
        if self._call is not None:
            try:
                heard: Heard = ray.get(self._call)
            except RayError as error:  # it is being restarted; its silence is held against nobody
                self._tell_away(error)
            else:
                self._away_since = None
                self._register_again(heard.health)
                if heard.request and heard.request.id > self._heard:
                    self._heard = heard.request.id
                    self._requests.append(heard.request.request)
                self.owners = heard.owners
                self.watched = heard.watched
                self._shun(heard.quarantined)
                self._act_on(heard.health)
        state = "paused" if crew.paused else "running"
        self._call = crew.coordinator.call.remote(crew.run.run_id, crew.run.name, state, crew.env_steps, self._heard)

    def _tell_away(self, error: RayError) -> None:
        """Say once that the coordinator has not answered for long, and why: a full disk is nothing that passes."""
        now = time.monotonic()
        self._away_since = now if self._away_since is None else self._away_since
        if now - self._away_since > TELL_AWAY_SECONDS and not self._is_away_told:
            self._is_away_told = True
            text = f"the coordinator has not answered for {now - self._away_since:.0f} s: {first_line(error)}"
            self._crew.listener("coordinator_away", f"{text}; training goes on without joining, requests and receipts")

    def _caught_before(self) -> set[str]:
        """Nodes that were caught before this run began; none while the coordinator is being restarted."""
        try:
            return {node["node_id"] for node in ray.get(self._crew.coordinator.nodes.remote()) if node["quarantined"]}
        except RayError:
            return set()

    def _shun(self, quarantined: frozenset[str]) -> None:
        """Do without nodes that were caught in another run."""
        for node in quarantined - self._crew.room.refused:
            self._ending.quarantine(node, "it was caught in another run", is_caught_here=False)

    def _register_again(self, health: Mapping[str, Health]) -> None:
        """A coordinator that was restarted may have missed who joined meanwhile."""
        crew = self._crew
        for key, (worker, member) in crew.present().items():
            if key not in health:
                crew.register(member, crew.facts[worker].owner if worker >= 0 else None)

    def _act_on(self, health: Mapping[str, Health]) -> None:
        crew = self._crew
        present = crew.present()
        for key, facts in health.items():
            if key not in present:
                continue
            worker, member = present[key]
            hung = facts.sign is not None and facts.sign.busy_s > crew.config.faults.hang_seconds
            if facts.state == "late" and not member.is_late:
                crew.listener("worker_late", f"{member} has been silent for {facts.silent_s:.0f} s")
            member.is_late = facts.state != "alive"
            if facts.state == "dead":
                self._give_up(worker, member, f"silent for {facts.silent_s:.0f} s")
            elif hung and facts.sign is not None:
                self._suspects.append((facts.sign.shard, facts.sign.round))
                at = f"shard {facts.sign.shard}, round {facts.sign.round}"
                advice = "where steps are that slow: raise it, or lower envs_per_shard or fragment_length"
                why = f"at {at} for {facts.sign.busy_s:.0f} s, faults.hang_seconds is less ({advice})"
                self._give_up(worker, member, why)

    def _give_up(self, worker: int, member: Actor, why: str) -> None:
        if worker < 0:
            if member.role not in self._crew.given_up:
                self._crew.given_up.add(member.role)
                self._ending.kill(member)  # whoever waits for it meets its loss
        else:
            self._ending.bury(worker, why)
