"""Volunteers of this process, without Ray and without HTTP: honest ones, and those that are not."""

from __future__ import annotations

import dataclasses
import threading
import time

import numpy as np
import torch

from hydrahive.core.errors import RefusedWorkError
from hydrahive.ledger.audit_rules import node_of
from hydrahive.ledger.posting import WorkerFacts
from hydrahive.policies.flat_weights import FlatWeights
from hydrahive.runtime.fleet.refs import Ref
from hydrahive.runtime.roles.env_worker import EnvWorker, build_network
from hydrahive.runtime.roles.lending.acting import lent_of
from hydrahive.runtime.roles.lending.layout import Layout
from hydrahive.runtime.roles.lending.worker import LendingWorker
from hydrahive.runtime.roles.shard import Shard
from volunteers import SeveralWorkers


class Person:
    """Does what is lent in a thread of his own; `spoil(lease, shard, lent, body)` gives what he sends, or None."""

    def __init__(self, config, spoil=None):
        self.config, self._spoil, self.layout = config, spoil, Layout(config)
        self.network = build_network(config, torch.Generator())
        self.weights = FlatWeights(self.network)
        self.shards, self.todo, self.changed = {}, [], threading.Condition()
        self.worker, self.accused, self.withdrawn, self.let_go_of, self.answered = None, [], [], [], 0
        self.caught = []
        self.was_late = 0
        threading.Thread(target=self._work, daemon=True).start()

    def offer(self, lease, weights):
        with self.changed:
            self.todo.append((lease, weights))
            self.changed.notify_all()

    def withdraw(self, lease):
        self.withdrawn.append(lease)

    def accuse(self, shard, round_, why):
        self.accused.append(f"shard {shard}, round {round_}: {why}")
        self.caught.append((shard, round_, why))

    def let_go(self, why):
        self.let_go_of.append(why)

    def _work(self):
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.todo)
                lease, weights = self.todo.pop(0)
            self.weights.load(weights)
            for shard in lease.shards:
                self._act(lease, shard)

    def _act(self, lease, index):
        if index in lease.states:
            env = self.config.env.make_vector(self.config.envs_per_shard)
            self.shards[index] = Shard(self.config, "his", index, env)
            self.shards[index].restore(lease.states[index])
        shard = self.shards[index]
        lent = lent_of(*shard.simulate(lease.round, lease.version, self.network), shard)
        body = self.layout.packed(lent)
        if self._spoil:
            body = self._spoil(self, lease, index, lent, body)
        if body is not None:
            self.was_late += not self.worker.answer(lease.id, index, body)
            self.answered += 1


class LentFleet(SeveralWorkers):
    """One worker of the run's user, and a lending one for each person; trusted once the standings say so."""

    def __init__(self, config, run_id, spoils=(None,), most=None):
        super().__init__(config, run_id, "cpu")
        self._workers = {0: EnvWorker(config, run_id)}
        self.people, self._share = {}, lambda node: 1.0
        for number, spoil in enumerate(spoils, 1):
            person = Person(config, spoil)
            person.worker = self._workers[number] = LendingWorker(config, run_id, person)
            self.people[number] = person
        self._most = most or {}
        self.quarantined, self.refused, self.audited = [], [], 0

    may_audit = True

    @property
    def worker_count(self):
        return len(self._workers)

    def oversee(self, secret, standings):
        self._share = standings.share

    def workers(self):
        there = [n for n in self._workers if n == 0 or not self.people[n].accused]
        return sorted(n for n in there if n == 0 or node_of(f"p{n}") not in self.quarantined)

    def facts(self, worker):
        return WorkerFacts(f"v{worker}", f"p{worker}", node_of(f"p{worker}")) if worker else self._facts

    def lends(self, worker):
        return worker > 0

    def own(self, worker):
        return WorkerFacts(f"lender{worker}", self._facts.owner, "here") if worker else self._facts

    def hands_over(self, worker):
        return not worker or not self._config.policy.memory_size

    def most_shards(self):
        return self._most

    def audits(self, worker):
        return worker.owner != self._facts.owner

    def audit(self, job, weights):
        self.audited += 1
        return super().audit(job, weights)

    def is_own(self, worker):
        return True

    def simulate(self, worker, shards, round_, version, weights):
        if worker:
            self._workers[worker].trust(self._share(self.facts(worker).node) < 1)
            self._workers[worker].foretell(shards, round_, version, weights)
        fragments, summaries = self._workers[worker].simulate(shards, round_, version, weights, ())
        return Ref(fragments), Ref(summaries)

    def snapshot(self, worker, shard):
        return Ref(self._workers[worker].snapshot(shard))

    def refuse(self, worker, refused):
        self.refused.append((worker, refused.what))
        self.quarantined.append(self.facts(worker).node)

    def take_refused(self):
        told = []
        for number, person in self.people.items():
            told += [(self.facts(number), RefusedWorkError(*one)) for one in person.caught]
            person.caught = []
        return told

    def quarantine(self, worker, why):
        self.quarantined.append(worker.node)

    def close(self):
        for worker in self._workers.values():
            worker.close()


def other_actions(person, lease, shard, lent, body):
    """Acts otherwise, by one action, within what the environment takes."""
    actions = lent.actions.copy()
    actions.flat[0] = 1 - min(int(actions.flat[0]), 1)
    return person.layout.packed(dataclasses.replace(lent, actions=actions))


def other_behaviour(person, lease, shard, lent, body):
    """Says that he was as good as sure."""
    return person.layout.packed(dataclasses.replace(lent, behaviour=lent.behaviour * np.float32(1.001)))


def nan(person, lease, shard, lent, body):
    return person.layout.packed(dataclasses.replace(lent, behaviour=lent.behaviour * np.float32("nan")))


def short(person, lease, shard, lent, body):
    return body[:-4]


def nothing(person, lease, shard, lent, body):
    return None


def again(person, lease, shard, lent, body):
    """Always the first fragment that he ever made."""
    person.first = getattr(person, "first", body)
    return person.first


def slow(seconds):
    def spoil(person, lease, shard, lent, body):
        time.sleep(seconds)
        return body

    return spoil
