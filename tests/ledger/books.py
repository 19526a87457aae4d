"""Postings for tests: a run with two workers, whose receipts are in order unless a test changes them."""

import dataclasses
import sqlite3

from hydrahive.core.receipt import Receipt
from hydrahive.ledger.ledger import Ledger
from hydrahive.ledger.posting import Lease, Posting, WorkerFacts, sealed
from hydrahive.ledger.prices import Price

KEY = b"k" * 32
STEPS = 512
WORKERS = (WorkerFacts("w0", "alice", "node-a"), WorkerFacts("w1", "bob", "node-b"))


def opened(path, **options):
    ledger = Ledger(path, **options)
    ledger.work.open_run("run", "snake", "carol", KEY)
    return ledger


def receipt(round_, shard, **changes):
    digest = f"{round_:032x}{shard:032x}"
    return dataclasses.replace(Receipt(0, round_, shard, round_, f"w{shard}", STEPS, digest), **changes)


def posting(first, until, **changes):
    receipts = tuple(receipt(r, s) for r in range(first, until) for s in (0, 1))
    leases = (Lease(0, "w0", 0, until), Lease(1, "w1", 0, until))
    steps = sum(r.env_steps for r in changes.get("receipts", receipts))
    given = Posting("run", 0, first, until, steps, Price(10, 1), WORKERS, leases, receipts)
    return dataclasses.replace(given, **changes)


def settle(ledger, given, key=KEY):
    return ledger.work.settle(sealed(given, key))


def tampered(path, *statements):
    """Do to the file what somebody with an editor could do."""
    db = sqlite3.connect(path)
    for trigger in ("entries_never_change", "entries_never_go"):
        db.execute(f"DROP TRIGGER IF EXISTS {trigger}")
    for statement in statements:
        db.execute(statement)
    db.commit()
    db.close()
