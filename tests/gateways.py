"""A gateway in this process, behind a real port and a real ledger, whose volunteers work for a fleet of plain objects."""

from __future__ import annotations

import asyncio
import json
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import uvicorn

from conftest import wait_for
from hydrahive.core.errors import RefusedError, RefusedWorkError
from hydrahive.ledger.audit_rules import node_of
from hydrahive.ledger.ledger import Ledger
from hydrahive.ledger.posting import WorkerFacts
from hydrahive.ledger.statements import balances
from hydrahive.ledger.till.queries import Queries
from hydrahive.runtime.cluster.lending.actor import _packed
from hydrahive.runtime.cluster.lending.crowd import lent_config
from hydrahive.runtime.cluster.lending.words import Offer, Wanted
from hydrahive.runtime.config.fingerprint import fingerprint_of
from hydrahive.runtime.config.machine_class import machine_class, prepare_torch
from hydrahive.runtime.roles.lending.known import known_digest
from hydrahive.runtime.roles.lending.worker import LendingWorker
from hydrahive.serving.gateway.desk import Desk
from hydrahive.serving.gateway.web import Behind, application
from hydrahive.volunteer.budget import Budget
from hydrahive.volunteer.line import Line
from hydrahive.volunteer.working import Working
from lenders import LentFleet


class PlainTill:
    """The ledger itself; what it says is asked in a thread, for SQLite's connections belong to one."""

    def __init__(self, path):
        self._path, self._local = path, threading.local()

    def _ledger(self):
        if not hasattr(self._local, "ledger"):
            self._local.ledger = Ledger(self._path)
        return self._local.ledger

    async def account_of(self, key):
        return Queries(self._ledger().journal).account_of(key)

    async def refused(self, account):
        try:
            self._ledger().accounts.require_good_standing(account)
        except RefusedError as error:
            return str(error)
        return ""

    async def earnings(self, account):
        return next(iter(balances(self._ledger().journal, account)), None)


class Gateway:
    """The application at a free port, in a thread of its own."""

    def __init__(self, ledger):
        self.desk, self.delivered = Desk(), []
        self.behind = Behind(self.desk, PlainTill(ledger), self._deliver)
        app = application(self.behind, self._page)
        self.server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", access_log=False))
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        self.port = self.server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def _run(self):
        self.loop = asyncio.new_event_loop()
        self.loop.run_until_complete(self.server.serve())

    def _deliver(self, lease, shard, body):
        self.delivered.append((lease.offer.id, shard, len(body)))
        lease.lender.answer(lease.offer.id, shard, body)

    async def _page(self):
        return b"<!doctype html><title>hive</title>"

    def soon(self, call, *arguments):
        """Have the desk called in its own thread."""
        done = threading.Event()
        given = []

        def there():
            given.append(call(*arguments))
            done.set()

        self.loop.call_soon_threadsafe(there)
        assert done.wait(10)
        return given[0]

    def close(self):
        self.server.should_exit = True
        self.thread.join(10)

    def call(self, method, path, body=None, key=None, **headers):
        """Status, answer and its headers."""
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        kind = {"Content-Type": "application/octet-stream" if isinstance(body, bytes) else "application/json"}
        headers = {**kind, **{name.replace("_", "-"): text for name, text in headers.items()}}
        headers |= {"Authorization": f"Bearer {key}"} if key else {}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                content = answer.read()
                is_json = answer.headers["Content-Type"] == "application/json"
                return answer.status, json.loads(content) if is_json else content, answer.headers
        except urllib.error.HTTPError as error:
            text = error.read().decode()
            assert "Traceback" not in text
            return error.code, json.loads(text) if text else None, error.headers


@contextmanager
def gateway_with(ledger):
    gateway = Gateway(ledger)
    try:
        yield gateway
    finally:
        gateway.close()


def wanted_of(config, run_id="run", nonces=(3, 4)):
    prepare_torch(config, 1)
    known = {nonce: known_digest(config, nonce) for nonce in nonces}
    return Wanted(
        run_id,
        "r",
        lent_config(config),
        machine_class(config),
        fingerprint_of(config.env),
        config.portable,
        known,
        0,
        "",
    )


class HttpLine:
    """A lender's line to the desk of this process, as `GatewayLine` is to the actor's."""

    def __init__(self, gateway, session, run_id="run"):
        self.gateway, self.session, self.run_id, self.lender = gateway, session, run_id, None
        self.accused, self.let_go_of = [], []

    def offer(self, lease, weights):
        states = {shard: _packed(lease.states.get(shard)) for shard in lease.shards}
        offer = Offer(
            self.session, lease.id, self.run_id, lease.round, lease.version, states, lease.least, lease.most, 10.0
        )
        self._soon(self.gateway.desk.offer, offer, self.lender, weights.tobytes())

    def withdraw(self, lease):
        self._soon(self.gateway.desk.withdraw, lease)

    def accuse(self, shard, round_, why):
        self.accused.append(why)
        self._soon(self.gateway.desk.accuse, self.session, shard, round_, why)

    def let_go(self, why):
        self.let_go_of.append(why)
        self._soon(self.gateway.desk.let_go, self.session, why)

    def _soon(self, call, *arguments):
        self.gateway.loop.call_soon_threadsafe(call, *arguments)


class Person:
    """A volunteer's process as a thread of this one: the client's own code, which `way` may spoil."""

    def __init__(self, url, key, way=None):
        self.said = []
        self.line = Line(url, key, self.said.append)
        self.working = Working(self.line, Budget(), self.said.append, lambda: None)
        self.working.line = self.line
        if way is not None:
            way(self.working)
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.error = None
        self.thread.start()

    def _work(self):
        try:
            self.working.work()
        except Exception as error:
            self.error = error

    def leave(self):
        self.working.stop.set()
        self.line.close()
        self.thread.join(30)


def opened(ledger, *names):
    """Keys of new accounts."""
    return {name: Ledger(ledger).accounts.open(name) for name in names}


class HttpFleet(LentFleet):
    """A fleet whose volunteers come through a gateway; each is hired as `Lenders` would."""

    def __init__(self, config, run_id, people, ledger):
        """`people`: by name how each is dishonest, or None."""
        super().__init__(config, run_id, ())
        self.gateway = Gateway(ledger)
        self.wanted = wanted_of(config, run_id)
        self.gateway.soon(self.gateway.desk.announce, self.wanted)
        keys = opened(ledger, *people)
        self.volunteers = {name: Person(self.gateway.url, keys[name], way) for name, way in people.items()}
        self.names, self.lines, self.accused, self._told = {}, {}, [], []
        self._config, self._next = config, 1
        wait_for(lambda: len(self._crowd().sessions) + self._turned_away() == len(people), "everybody to enter")
        self.hire()

    def _crowd(self):
        crowd = self.gateway.soon(self.gateway.desk.announce, self.wanted)
        self.accused += crowd.accused
        return crowd

    def _turned_away(self):
        return sum(person.error is not None for person in self.volunteers.values())

    def hire(self):
        there = self._crowd().sessions
        for session in there:
            is_new = session.id not in {line.session for line in self.lines.values()}
            if is_new and session.account not in {one.account for one in self.accused}:
                line = HttpLine(self.gateway, session.id, self.run_id)
                line.lender = self._workers[self._next] = LendingWorker(self._config, self.run_id, line)
                self.names[self._next], self.lines[self._next] = session.account, line
                self._next += 1
        self._there = {session.id for session in there if session.account not in {one.account for one in self.accused}}

    def workers(self):
        self.hire()
        return sorted(n for n in self._workers if n == 0 or self.lines[n].session in self._there)

    def facts(self, worker):
        name = self.names.get(worker)
        return WorkerFacts(f"v{worker}", name, node_of(name)) if worker else self._facts

    def take_refused(self):
        told = [one for one in self.accused if one not in self._told]
        self._told += told
        number_of = {line.session: number for number, line in self.lines.items()}
        return [
            (self.facts(number_of[one.session]), RefusedWorkError(one.shard, one.round, one.why))
            for one in told
            if one.session in number_of
        ]

    def close(self):
        for person in self.volunteers.values():
            person.leave()
        super().close()
        self.gateway.close()
