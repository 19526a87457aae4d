"""The coordinator: who works on what, who is alive, and what people asked of a run. It records; it never schedules.

One per cluster, an actor that Ray restarts; what must outlive a restart lies in SQLite, what a second makes stale
(signs of life) in memory.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from hydrahive.core.errors import UsageError
from hydrahive.core.watched import Wish
from hydrahive.ledger.ledger import Ledger
from hydrahive.ledger.posting import Sealed
from hydrahive.ledger.statements import balances, work_of
from hydrahive.ledger.till.limits import Limits, TooFast
from hydrahive.ledger.till.queries import Admitted, Queries, Query, Refused
from hydrahive.runtime.fleet.ledger_line import Answer, RunAccount, settle
from hydrahive.runtime.roles.heart import BEAT_SECONDS, Sign
from hydrahive.runtime.runs.controls import Request
from hydrahive.runtime.runs.watch_feed import Feeds, Have, News, Shown, Watched

LATE_SECONDS, DEAD_SECONDS = 10.0, 15.0
"""Silence after which a member is shown as late, and after which it counts as dead."""

LIVE_SECONDS = 10.0
"""A run whose Trainer has not called for so long is not being trained."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    run_id TEXT PRIMARY KEY, name TEXT NOT NULL, state TEXT NOT NULL, env_steps INTEGER NOT NULL,
    called_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS members (
    member TEXT PRIMARY KEY, run_id TEXT NOT NULL, role TEXT NOT NULL, owner TEXT NOT NULL, node_id TEXT NOT NULL,
    node_ip TEXT NOT NULL, pid INTEGER NOT NULL, machine_class TEXT NOT NULL, state TEXT NOT NULL,
    joined_at REAL NOT NULL, left_at REAL);
CREATE TABLE IF NOT EXISTS leases (
    run_id TEXT NOT NULL, shard INTEGER NOT NULL, member TEXT NOT NULL, from_round INTEGER NOT NULL,
    until_round INTEGER);
CREATE INDEX IF NOT EXISTS open_leases ON leases (run_id, shard) WHERE until_round IS NULL;
CREATE TABLE IF NOT EXISTS nodes (
    node_id TEXT PRIMARY KEY, owner TEXT NOT NULL DEFAULT '', quarantined TEXT NOT NULL DEFAULT '');
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS requests (
    id INTEGER PRIMARY KEY, run_id TEXT NOT NULL, request TEXT NOT NULL, asked_at REAL NOT NULL, taken_at REAL);
"""


@dataclass(frozen=True)
class Member:
    """A process of a run.

    Attributes:
        member: Its name, unique in the cluster.
        run_id: The run it works for.
        role: `env-worker`, `learner` or `replay`.
        owner: The account that its work is for.
        node_id: Ray's id of its node.
        node_ip: The node's address.
        pid: Its process id there.
        machine_class: What its bytes are relative to.
    """

    member: str
    run_id: str
    role: str
    owner: str
    node_id: str
    node_ip: str
    pid: int
    machine_class: str


@dataclass(frozen=True)
class Health:
    """What is known of a member's life.

    Attributes:
        silent_s: Time since its last sign of life.
        state: `alive`, `late` or `dead`.
        sign: The last sign; None before the first.
    """

    silent_s: float
    state: Literal["alive", "late", "dead"]
    sign: Sign | None


@dataclass(frozen=True)
class Heard:
    """What a Trainer hears when it calls.

    Attributes:
        health: The life of each of its members that has not left.
        request: What people asked of the run.
        owners: The accounts that nodes have proven to work for, by node.
        quarantined: Nodes whose work is not wanted any more.
        watched: Who watches it; None if nobody does.
    """

    health: Mapping[str, Health]
    request: Request | None
    owners: Mapping[str, str]
    quarantined: frozenset[str]
    watched: Watched | None = None


class Coordinator:
    """Registry of members, leases and requests over one SQLite file, and the cluster's line to its ledger."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic, ledger: Path | None = None) -> None:
        """Open or create the file; whoever was alive before is given the full time to show it again.

        Args:
            path: On a local disk.
            clock: Monotonic seconds, for signs of life.
            ledger: Where the cluster's ledger lies; None lets the first run say it.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(SCHEMA)
        self._clock = clock
        self._heard: dict[str, float] = {}
        self._signs: dict[str, Sign] = {}
        self._awake_at = clock()
        self._ledger: Ledger | None = None
        self._limits = Limits()
        self._queries: Queries | None = None
        self._feeds = Feeds(path.parent / "watched")
        self._ledger_path = self._noted_ledger() or ledger

    def use_ledger(self, path: Path | None, *, insist: bool = False) -> str:
        """Open the cluster's ledger, at `path` where nothing else is settled yet, or it is insisted on; where it lies.

        Raises:
            LedgerError: If it cannot be used.
            UsageError: If nobody has said where it lies.
        """
        self._awake()
        is_open = self._ledger is not None and path == self._ledger_path
        if path is not None and (self._ledger_path is None or insist) and not is_open:
            Ledger(path).close()
            with self._transaction() as db:
                db.execute("INSERT OR REPLACE INTO facts VALUES ('ledger', ?)", (str(path),))
            self._ledger_path, self._ledger = path, None
        return str(self._opened_ledger().journal.path)

    def settle(self, run: RunAccount, postings: Sequence[Sealed]) -> Answer:
        """Settle a run's postings.

        Raises:
            LedgerError: If the ledger cannot be written, or refuses the run.
        """
        self._awake()
        return settle(self._opened_ledger(), run, postings)

    def enroll(self, node_id: str, owner: str, key: str) -> None:
        """Let a node work for an account, whose key proves that it may.

        Raises:
            RefusedError: If the key is not the account's; recorded in the ledger.
            UsageError: If the cluster has no ledger yet.
        """
        self._awake()
        self._opened_ledger().accounts.prove(owner, key)
        with self._transaction() as db:
            db.execute(
                "INSERT INTO nodes (node_id, owner) VALUES (?, ?) ON CONFLICT DO UPDATE SET owner = excluded.owner",
                (node_id, owner),
            )

    def refuse_owner(self, node_id: str, owner: str) -> None:
        """Record in the ledger that a node says it works for an account, and has not shown its key."""
        self._awake()
        text = f"node {node_id} is labelled as {owner}'s, and has not shown the account's key"
        self._opened_ledger().journal.refuse("no-key", owner, text)

    def quarantine(self, node_id: str, why: str) -> None:
        """Want no work from a node any more, in any run of this cluster."""
        self._awake()
        with self._transaction() as db:
            db.execute(
                "INSERT INTO nodes (node_id, quarantined) VALUES (?, ?) "
                "ON CONFLICT DO UPDATE SET quarantined = excluded.quarantined",
                (node_id, why),
            )

    def nodes(self) -> list[dict[str, str]]:
        """The nodes that have proven whom they work for, or are quarantined."""
        rows = self._db.execute("SELECT node_id, owner, quarantined FROM nodes ORDER BY node_id")
        return [dict(zip(("node_id", "owner", "quarantined"), row, strict=True)) for row in rows]

    def admit_queries(self, queries: Sequence[Query], per_second: int) -> list[Admitted | Refused | TooFast]:
        """For each query, in order: set its price aside, or say why it may not be answered.

        Raises:
            LedgerError: If the ledger cannot be written; nothing was set aside.
        """
        self._awake()
        return self._limits.admit(self._till(), queries, per_second)

    def settle_queries(self, answered: Sequence[int], failed: Sequence[int]) -> None:
        """Take the price of what was answered, and give that of what failed back; errors as `admit_queries`."""
        self._awake()
        self._till().settle(answered, failed)

    def query_balance(self, key: str) -> dict[str, int | str] | None:
        """What the account of a key has; None if it is nobody's."""
        self._awake()
        return self._till().balance(key)

    def earnings(self, owner: str) -> dict[str, Any] | None:
        """What the ledger shows of an account; None if it is not there."""
        self._awake()
        return next(iter(balances(self._opened_ledger().journal, owner)), None)

    def work_of(self, run: str) -> list[dict[str, Any]]:
        """What each owner did for a run, or for all runs of a sweep."""
        self._awake()
        return work_of(self._opened_ledger().journal, run)

    def _till(self) -> Queries:
        journal = self._opened_ledger().journal
        if self._queries is None or self._queries.journal is not journal:
            self._queries = Queries(journal)
        return self._queries

    def _opened_ledger(self) -> Ledger:
        if self._ledger_path is None:
            raise UsageError(
                "this cluster has no ledger yet: HYDRAHIVE_LEDGER names one where its head is started, or "
                "the first training says where it is"
            )
        if self._ledger is None:
            self._ledger = Ledger(self._ledger_path)
        return self._ledger

    def _noted_ledger(self) -> Path | None:
        row = self._db.execute("SELECT value FROM facts WHERE name = 'ledger'").fetchone()
        return Path(row[0]) if row else None

    def register(self, member: Member) -> None:
        """A process begins to work for a run."""
        self._awake()
        with self._transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO members VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'alive', ?, NULL)",
                (*asdict(member).values(), time.time()),
            )
        self._heard[member.member] = self._clock()

    def forget(self, run_id: str) -> None:
        """A Trainer begins to gather: whoever worked for the run before, under one that was killed, is gone."""
        self._awake()
        with self._transaction() as db:
            db.execute(
                "UPDATE members SET state = 'dead', left_at = ? WHERE run_id = ? AND state = 'alive'",
                (time.time(), run_id),
            )
            db.execute("UPDATE requests SET taken_at = ? WHERE run_id = ? AND taken_at IS NULL", (time.time(), run_id))

    def leave(self, member: str, state: Literal["left", "dead"]) -> None:
        """A process works no more; its leases end where it was."""
        self._awake()
        with self._transaction() as db:
            db.execute("UPDATE members SET state = ?, left_at = ? WHERE member = ?", (state, time.time(), member))
        self._heard.pop(member, None)
        self._signs.pop(member, None)

    def beat(self, member: str, sign: Sign) -> None:
        """Take a sign of life."""
        self._awake()
        self._heard[member] = self._clock()
        self._signs[member] = sign

    def lease(self, run_id: str, holders: Mapping[int, str], round_: int) -> None:
        """From this round on each of these shards is held by this member, and no longer by another."""
        self._awake()
        with self._transaction() as db:
            for shard, member in holders.items():
                db.execute(
                    "UPDATE leases SET until_round = ? WHERE run_id = ? AND shard = ? AND until_round IS NULL",
                    (round_, run_id, shard),
                )
                db.execute("INSERT INTO leases VALUES (?, ?, ?, ?, NULL)", (run_id, shard, member, round_))

    def call(self, run_id: str, name: str, state: str, env_steps: int) -> Heard:
        """A Trainer's regular call: it says how its run is and hears how its members are and what was asked of it.

        A state other than `running` or `paused` says that the run is no longer trained.
        """
        self._awake()
        now = time.time()
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?)", (run_id, name, state, env_steps, now))
            row = db.execute(
                "SELECT request FROM requests WHERE run_id = ? AND taken_at IS NULL ORDER BY id DESC LIMIT 1", (run_id,)
            ).fetchone()
            db.execute("UPDATE requests SET taken_at = ? WHERE run_id = ? AND taken_at IS NULL", (now, run_id))
        nodes = self.nodes()
        return Heard(
            self.health(run_id),
            row[0] if row else None,
            {node["node_id"]: node["owner"] for node in nodes if node["owner"]},
            frozenset(node["node_id"] for node in nodes if node["quarantined"]),
            self._feeds.watched(run_id),
        )

    def ask(self, name: str, request: Request) -> str:
        """Ask something of the live run of that name; its run id.

        Raises:
            UsageError: If no run, or more than one, of this name is being trained.
        """
        self._awake()
        live = [run for run in self.runs() if run["live"]]
        found = [run["run_id"] for run in live if name in (run["name"], run["run_id"])]
        if not found:
            names = ", ".join(sorted(run["name"] for run in live)) or "none"
            raise UsageError(f"RUN: no run {name!r} is being trained on this cluster; live runs: {names}")
        if len(found) > 1:
            raise UsageError(f"RUN: {len(found)} runs are named {name!r}; give one's id: {', '.join(found)}")
        with self._transaction() as db:
            db.execute(
                "INSERT INTO requests (run_id, request, asked_at) VALUES (?, ?, ?)", (found[0], request, time.time())
            )
        return str(found[0])

    def show(self, run_id: str, shown: Shown, *, last: bool = False) -> None:
        """Take what a Trainer shows to those who watch; `last`: keep it for whoever comes later."""
        self._awake()
        self._feeds.take(run_id, shown, last=last)

    def look(self, name: str, watcher: str, wish: Wish, have: Have) -> News:
        """What is new of a run for somebody who watches it, live or one that showed how it ended.

        Args:
            name: The run's, or its id.
            watcher: Who looks; he is forgotten when he does not for some seconds.
            wish: What he wants to see.
            have: What he has already.

        Raises:
            UsageError: If there is no such run, or nothing is known of it any more.
        """
        self._awake()
        known = [run for run in self.runs() if name in (run["name"], run["run_id"])]
        live = [str(run["run_id"]) for run in known if run["live"]]
        if len(live) > 1:
            raise UsageError(f"RUN: {len(live)} runs are named {name!r}; give one's id: {', '.join(live)}")
        if live:
            return self._feeds.look(live[0], watcher, wish, have)
        kept = next((str(run["run_id"]) for run in known if self._feeds.is_kept(str(run["run_id"]))), None)
        if kept is None:
            names = ", ".join(dict.fromkeys(run["name"] for run in self.runs() if run["live"])) or "none"
            gone = "it ended without a last word" if known else "nobody trained it on this cluster"
            raise UsageError(f"RUN: there is nothing to see of run {name!r}: {gone}; live runs: {names}")
        return self._feeds.look(kept, watcher, wish, have)

    def runs(self) -> list[dict[str, Any]]:
        """All runs that ever called, newest call first; `live` says whether one is being trained."""
        rows = self._db.execute("SELECT run_id, name, state, env_steps, called_at FROM runs ORDER BY called_at DESC")
        keys = ("run_id", "name", "state", "env_steps", "called_at")
        runs = [dict(zip(keys, row, strict=True)) for row in rows]
        for run in runs:
            called_lately = time.time() - run["called_at"] < LIVE_SECONDS
            run["live"] = called_lately and run["state"] in ("running", "paused")
        return runs

    def members(self, run_id: str) -> list[dict[str, Any]]:
        """Every process that ever worked for a run, in the order they joined, with its open leases."""
        cursor = self._db.execute("SELECT * FROM members WHERE run_id = ? ORDER BY joined_at", (run_id,))
        keys = [column[0] for column in cursor.description]
        members = [dict(zip(keys, row, strict=True)) for row in cursor]
        for member in members:
            shards = self._db.execute(
                "SELECT shard FROM leases WHERE member = ? AND until_round IS NULL ORDER BY shard", (member["member"],)
            )
            member["shards"] = [shard for (shard,) in shards]
        return members

    def health(self, run_id: str) -> dict[str, Health]:
        """The life of each member that has not left."""
        now = self._clock()
        rows = self._db.execute("SELECT member FROM members WHERE run_id = ? AND state = 'alive'", (run_id,))
        return {member: self._health_of(member, now) for (member,) in rows}

    def _health_of(self, member: str, now: float) -> Health:
        silent = now - self._heard.setdefault(member, now)
        state: Literal["alive", "late", "dead"] = "alive"
        if silent >= LATE_SECONDS:
            state = "dead" if silent >= DEAD_SECONDS else "late"
        return Health(silent, state, self._signs.get(member))

    def _awake(self) -> None:
        """If nobody was heard for long it was this process that stood still: that is held against nobody."""
        now = self._clock()
        if now - self._awake_at > 2 * BEAT_SECONDS + 1:
            self._heard = dict.fromkeys(self._heard, now)
        self._awake_at = now

    def _transaction(self) -> _Immediate:
        return _Immediate(self._db)


class _Immediate:
    """A write transaction that is either whole or has not happened."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> sqlite3.Connection:
        self._db.execute("BEGIN IMMEDIATE")
        return self._db

    def __exit__(self, kind: object, *rest: object) -> None:
        self._db.execute("ROLLBACK" if kind else "COMMIT")
