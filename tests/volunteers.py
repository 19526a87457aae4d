"""Volunteers among plain objects, without Ray: two workers of other people's beside one of the run's user."""

import dataclasses
import json
from contextlib import contextmanager

from hydrahive.core.errors import LostError
from hydrahive.ledger.audit_rules import AuditConfig
from hydrahive.ledger.ledger import Ledger
from hydrahive.ledger.posting import WorkerFacts
from hydrahive.runtime.config.parsing import load_run_config
from hydrahive.runtime.config.shipped import shipped_experiments
from hydrahive.runtime.fleet.inline import InlineFleet
from hydrahive.runtime.fleet.refs import Ref, Stock
from hydrahive.runtime.roles.env_worker import EnvWorker
from hydrahive.runtime.runs.run_folder import RunFolder
from hydrahive.runtime.training import train as training

SIZES = ["--env.size=7", "--env.window=5", "--policy.encoder.hidden=[16]", "--shards=3", "--envs_per_shard=4"]
SIZES += ["--fragment_length=8", "--boundary_every=5", "--stop.env_steps=9000", "--checkpoint.every_boundaries=2"]


class SeveralWorkers(InlineFleet):
    """More than one worker in this process: `_workers`, by number."""

    def get(self, ref):
        if isinstance(ref, LostError):
            raise ref
        return ref

    def adopt(self, worker, shard, state):
        self._workers[worker].adopt(shard, self.get(state), self.segment)

    def release(self, worker, shard):
        self._workers[worker].release(shard)

    def stock(self):
        positions = {name: worker.positions() for name, worker in self._workers.items()}
        taken = self._replay.position() if self._replay else None
        return Stock(self._learner.position(), positions, replay_position=taken)


class VolunteerFleet(SeveralWorkers):
    """Two workers of other people's and one of the run's user, in this process; `spoil` may change what one gives."""

    def __init__(self, config, run_id, spoil=None, dishonest=(1,)):
        super().__init__(config, run_id, "cpu")
        self._workers = {worker: EnvWorker(config, run_id) for worker in range(3)}
        self._people = {0: "me", 1: "alice", 2: "bob"}
        self._spoil, self._dishonest = spoil, dishonest
        self.quarantined, self.refused = [], []

    worker_count = 3
    may_audit = True

    def workers(self):
        return sorted(self._workers)

    def facts(self, worker):
        return WorkerFacts(f"w{worker}", self._people[worker], f"node-{worker}")

    def audits(self, worker):
        return worker.owner != "me"

    def own(self, worker):
        return self.facts(worker)

    def hands_over(self, worker):
        return not self.audits(self.facts(worker))

    def simulate(self, worker, shards, round_, version, weights):
        if self._spoil and worker in self._dishonest:
            return self._spoil.simulate(self._workers[worker], shards, round_, version, weights)
        return self._workers[worker].simulate(shards, round_, version, weights)

    def snapshot(self, worker, shard):
        state = self._workers[worker].snapshot(shard)
        if self._spoil and worker in self._dishonest:
            state = self._spoil.snapshot(state)
        return Ref(state)

    def quarantine(self, worker, why):
        self.quarantined.append(worker.name)
        self._workers.pop(int(worker.name[1:]), None)

    def is_own(self, worker):
        return worker == 0

    def refuse(self, worker, refused):
        self.refused.append((self.facts(worker), refused))
        self.listener("work_refused", str(refused))
        self._workers.pop(worker, None)

    def take_refused(self):
        told, self.refused = self.refused, []
        return told


class Honest:
    def simulate(self, worker, shards, round_, version, weights):
        return worker.simulate(shards, round_, version, weights)

    def snapshot(self, state):
        return state


def training_in(tmp_path, monkeypatch):
    """Trains a run with a dishonest worker: (summary, fleet, ledger, events)."""

    def train(name, spoil, *options, dishonest=(1,), **audit):
        fleets = []

        @contextmanager
        def gathered(config, run_id, *_):
            fleets.append(VolunteerFleet(config, run_id, spoil, dishonest))
            yield fleets[-1]

        monkeypatch.setattr(training, "gathered_fleet", gathered)
        config = load_run_config(shipped_experiments()["snake/vtrace"], [*SIZES, *options])
        config = dataclasses.replace(config, audit=AuditConfig(**audit))
        folder = RunFolder(tmp_path / name)
        outcome = training.train(training.Request(config, folder, runs=tmp_path))
        events = [json.loads(line) for line in folder.events.read_text().splitlines()]
        return outcome.summary, fleets[0], Ledger(tmp_path / "ledger.sqlite"), events

    return train
