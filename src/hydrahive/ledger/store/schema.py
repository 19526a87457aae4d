"""The tables of a ledger's file, and how a file of an older version becomes one of this."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterator

FORMAT = 3
"""Version of the schema; kept as SQLite's user version."""

ADDED = """
CREATE INDEX pending_credits ON credits (run) WHERE state = 'pending';
CREATE TABLE strikes (
    id INTEGER PRIMARY KEY, time_us INTEGER NOT NULL, account TEXT NOT NULL, run TEXT NOT NULL, node TEXT NOT NULL,
    text TEXT NOT NULL, forgiven_us INTEGER);
CREATE INDEX strikes_by_account ON strikes (account);
"""

LEARNING = """
CREATE TABLE learning (
    run INTEGER NOT NULL, segment INTEGER NOT NULL, from_update INTEGER NOT NULL, until_update INTEGER NOT NULL,
    worker INTEGER NOT NULL, rows INTEGER NOT NULL, checked INTEGER NOT NULL, amount INTEGER NOT NULL,
    seq INTEGER NOT NULL, state TEXT NOT NULL, PRIMARY KEY (run, segment, until_update, worker)) WITHOUT ROWID;
CREATE TABLE learned (
    run INTEGER NOT NULL, segment INTEGER NOT NULL, from_update INTEGER NOT NULL, until_update INTEGER NOT NULL,
    rows INTEGER NOT NULL, PRIMARY KEY (run, segment, from_update, until_update)) WITHOUT ROWID;
"""

SCHEMA = """
CREATE TABLE about (ledger_id TEXT NOT NULL);
CREATE TABLE journal (
    seq INTEGER PRIMARY KEY, time_us INTEGER NOT NULL, kind TEXT NOT NULL, code TEXT NOT NULL, debit TEXT NOT NULL,
    credit TEXT NOT NULL, amount INTEGER NOT NULL, key TEXT NOT NULL UNIQUE, refers INTEGER REFERENCES journal,
    memo TEXT NOT NULL, hash TEXT NOT NULL);
CREATE UNIQUE INDEX resolved_once ON journal (refers) WHERE kind IN ('post', 'void', 'expire');
CREATE TRIGGER entries_never_change BEFORE UPDATE ON journal
    BEGIN SELECT RAISE(ABORT, 'the journal is append-only: correct an entry by a new one'); END;
CREATE TRIGGER entries_never_go BEFORE DELETE ON journal
    BEGIN SELECT RAISE(ABORT, 'the journal is append-only: correct an entry by a new one'); END;
CREATE TABLE accounts (
    name TEXT PRIMARY KEY, opened_us INTEGER NOT NULL, key_hash TEXT NOT NULL, debits INTEGER NOT NULL,
    credits INTEGER NOT NULL, debits_pending INTEGER NOT NULL, credits_pending INTEGER NOT NULL);
CREATE TABLE holds (seq INTEGER PRIMARY KEY REFERENCES journal, expires_us INTEGER);
CREATE TABLE refusals (
    id INTEGER PRIMARY KEY, time_us INTEGER NOT NULL, code TEXT NOT NULL, subject TEXT NOT NULL, text TEXT NOT NULL,
    times INTEGER NOT NULL DEFAULT 1);

CREATE TABLE runs (
    id INTEGER PRIMARY KEY, run_id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, owner TEXT NOT NULL,
    seal_key BLOB NOT NULL, env_steps INTEGER NOT NULL DEFAULT 0, amount INTEGER NOT NULL DEFAULT 0);
CREATE TABLE workers (
    id INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES runs, name TEXT NOT NULL, owner TEXT NOT NULL,
    node TEXT NOT NULL, state TEXT NOT NULL, UNIQUE (run, name));
CREATE TABLE leases (
    run INTEGER NOT NULL, segment INTEGER NOT NULL, shard INTEGER NOT NULL, worker INTEGER NOT NULL,
    from_round INTEGER NOT NULL, until_round INTEGER, PRIMARY KEY (run, segment, shard, worker, from_round))
    WITHOUT ROWID;
CREATE TABLE credits (
    run INTEGER NOT NULL, segment INTEGER NOT NULL, round INTEGER NOT NULL, shard INTEGER NOT NULL,
    at_update INTEGER NOT NULL, worker INTEGER NOT NULL, env_steps INTEGER NOT NULL, amount INTEGER NOT NULL,
    digest TEXT NOT NULL, seq INTEGER NOT NULL, state TEXT NOT NULL, audit TEXT NOT NULL,
    PRIMARY KEY (run, segment, round, shard)) WITHOUT ROWID;
CREATE INDEX credits_by_update ON credits (run, segment, at_update);
CREATE TABLE spans (
    run INTEGER NOT NULL, segment INTEGER NOT NULL, from_update INTEGER NOT NULL, until_update INTEGER NOT NULL,
    env_steps INTEGER NOT NULL, PRIMARY KEY (run, segment, from_update, until_update)) WITHOUT ROWID;
CREATE TABLE audits (
    id INTEGER PRIMARY KEY, time_us INTEGER NOT NULL, run INTEGER NOT NULL, segment INTEGER NOT NULL,
    shard INTEGER NOT NULL, from_round INTEGER NOT NULL, until_round INTEGER NOT NULL, outcome TEXT NOT NULL,
    workers TEXT NOT NULL, env_steps INTEGER NOT NULL, text TEXT NOT NULL,
    UNIQUE (run, segment, shard, from_round, until_round, outcome, workers));
"""

FROM_1 = """
ALTER TABLE refusals ADD COLUMN times INTEGER NOT NULL DEFAULT 1;
ALTER TABLE audits RENAME TO audits_of_1;
CREATE TABLE audits (
    id INTEGER PRIMARY KEY, time_us INTEGER NOT NULL, run INTEGER NOT NULL, segment INTEGER NOT NULL,
    shard INTEGER NOT NULL, from_round INTEGER NOT NULL, until_round INTEGER NOT NULL, outcome TEXT NOT NULL,
    workers TEXT NOT NULL, env_steps INTEGER NOT NULL, text TEXT NOT NULL,
    UNIQUE (run, segment, shard, from_round, until_round, outcome, workers));
INSERT INTO audits SELECT * FROM audits_of_1;
DROP TABLE audits_of_1;
"""

UPGRADES = {1: FROM_1 + ADDED, 2: LEARNING}
"""What makes a file of this version one of the next."""


def lay_out(db: sqlite3.Connection) -> None:
    """Make the tables of a new ledger, inside a transaction."""
    assert db.in_transaction, "whole or not at all"
    for statement in _statements(SCHEMA + ADDED + LEARNING):
        db.execute(statement)
    db.execute("INSERT INTO about VALUES (?)", (str(uuid.uuid4()),))
    db.execute(f"PRAGMA user_version = {FORMAT}")
    assert db.execute("SELECT count(*) FROM about").fetchone() == (1,), "a ledger has one id"


def upgrade(db: sqlite3.Connection) -> None:
    """Bring an older file up to this version, inside a transaction; another process may have done it meanwhile."""
    assert db.in_transaction, "whole or not at all"
    (format_,) = db.execute("PRAGMA user_version").fetchone()
    for version in range(format_, FORMAT):
        for statement in _statements(UPGRADES[version]):
            db.execute(statement)
    db.execute(f"PRAGMA user_version = {FORMAT}")
    assert db.execute("SELECT count(*) FROM strikes").fetchone() is not None, "the tables are there"


def _statements(script: str) -> Iterator[str]:
    """The statements of a script, for executing them inside a transaction that is already open."""
    statement = ""
    for line in script.replace(";CREATE", ";\nCREATE").splitlines():
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    assert not statement.strip(), "the script ends with a whole statement"
    assert script, "there is a script"
