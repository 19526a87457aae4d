"""Who works on what and who is alive: members, leases, nodes and requests, in SQLite.

What must outlive a restart lies in the file; what a second makes stale (signs of life) in memory.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from hydrahive.runtime.roles.heart import BEAT_SECONDS, Sign
from hydrahive.runtime.runs.controls import Request
from hydrahive.runtime.runs.watch_feed import Watched

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


class Asked(NamedTuple):
    """What people asked of a run, and which of all requests it is."""

    id: int
    request: Request


@dataclass(frozen=True)
class Heard:
    """What a Trainer hears when it calls.

    Attributes:
        health: The life of each of its members that has not left.
        request: What people asked of the run, the oldest that was not heard yet.
        owners: The accounts that nodes have proven to work for, by node.
        quarantined: Nodes whose work is not wanted any more.
        watched: Who watches it; None if nobody does.
    """

    health: Mapping[str, Health]
    request: Asked | None
    owners: Mapping[str, str]
    quarantined: frozenset[str]
    watched: Watched | None = None


class Registry:
    """Members, leases, nodes and requests over one SQLite file."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Open or create the file; whoever was alive before is given the full time to show it again.

        Args:
            path: On a local disk.
            clock: Monotonic seconds, for signs of life.
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

    def quarantine(self, node_id: str, why: str) -> None:
        """Want no work from a node any more, nor from others of its account, in any run of this cluster."""
        self._awake()
        with self._transaction() as db:
            db.execute(
                "INSERT INTO nodes (node_id, quarantined) VALUES (?, ?) "
                "ON CONFLICT DO UPDATE SET quarantined = excluded.quarantined",
                (node_id, why),
            )
            db.execute(
                "UPDATE nodes SET quarantined = ?2 WHERE quarantined = '' AND owner != '' "
                "AND owner = (SELECT owner FROM nodes WHERE node_id = ?1)",
                (node_id, why),
            )

    def nodes(self) -> list[dict[str, str]]:
        """The nodes that have proven whom they work for, or are quarantined."""
        rows = self._db.execute("SELECT node_id, owner, quarantined FROM nodes ORDER BY node_id")
        return [dict(zip(("node_id", "owner", "quarantined"), row, strict=True)) for row in rows]

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
