"""Every consumed step is paid once, whatever crashes when; and accounts never change a byte."""

import json
import os
import signal

import pytest

from conftest import FULL, ROOT, digests_of
from hydrahive.ledger.journal import Journal
from hydrahive.ledger.ledger import Ledger
from hydrahive.ledger.statements import balances, work_credits
from hydrahive.ledger.verification import verify
from hydrahive.runtime.accounting.run_accounts import RunAccounts
from hydrahive.runtime.config.parsing import load_run_config
from hydrahive.runtime.roles.env_worker import EnvWorker
from hydrahive.runtime.roles.learner import Learner
from hydrahive.runtime.runs.checkpoints import CheckpointStore
from hydrahive.runtime.runs.run_folder import RunFolder
from hydrahive.runtime.training.request import Request
from hydrahive.runtime.training.train import train

SNAKE = ROOT / "experiments" / "snake" / "vtrace.yaml"
SIZES = ["--env.size=7", "--env.window=5", "--policy.encoder.hidden=[16]", "--shards=3", "--envs_per_shard=4"]
SIZES += ["--fragment_length=8", "--boundary_every=5", "--stop.env_steps=3000", "--checkpoint.every_boundaries=2"]
SIZES += ["--workers=0", "--audit.workers=all"]

POINTS = {
    "compute": (EnvWorker, "simulate", "after", (1, 12, 31)),
    "consume": (Learner, "update", "after", (1, 12, 32)),
    "before the checkpoint": (CheckpointStore, "write", "before", (1, 2, 4)),
    "checkpoint": (CheckpointStore, "write", "after", (1, 2, 4)),
    "append": (Journal, "append", "after", (1, 20, 75)),
    "before fsync": (Journal, "_commit", "before", (1, 2, 5)),
    "fsync": (Journal, "_commit", "after", (1, 2, 5)),
    "acknowledge": (RunAccounts, "_hear", "after", (1, 2, 4)),
}
"""After (or before) which method, and at which of its calls, the process is killed."""


def request(runs):
    return Request(load_run_config(SNAKE, SIZES), RunFolder(runs / "a"), runs=runs)


def train_and_die(runs, point, at):
    """In a process of its own: train, and die by SIGKILL at a call of the point; the exit status."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    owner, name, when, _ = POINTS[point]
    method, calls = getattr(owner, name), []

    def deadly(*arguments, **options):
        calls.append(None)
        if when == "before" and len(calls) == at:
            os.kill(os.getpid(), signal.SIGKILL)
        result = method(*arguments, **options)
        if len(calls) == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, deadly)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    try:
        train(request(runs))
    finally:
        os._exit(0)


def paid(runs):
    """The journal's set of (fragment, steps, amount), once the ledger is known to be in order."""
    ledger = Ledger(runs / "ledger.sqlite")
    found = verify(ledger.journal)
    assert found.problem is None, found.problem
    rows = work_credits(ledger.journal)
    assert all(row["state"] == "paid" for row in rows)
    return {(r["segment"], r["round"], r["shard"], r["env_steps"], r["amount"], r["digest"]) for r in rows}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    runs = tmp_path_factory.mktemp("undisturbed")
    outcome = train(request(runs))
    return outcome.summary, paid(runs)


@pytest.mark.parametrize("point", POINTS)
def test_a_crash_between_any_two_steps_changes_nothing_in_the_journal(tmp_path, undisturbed, point):
    summary, journal = undisturbed
    assert sum(steps for *_, steps, _, _ in journal) == summary["env_steps"]
    calls = POINTS[point][3]
    for at in calls if FULL else calls[1:2]:
        runs = tmp_path / str(at)
        assert train_and_die(runs, point, at) == signal.SIGKILL, f"{point} was called less than {at} times"
        outcome = train(request(runs))
        assert digests_of(outcome.summary) == digests_of(summary)
        assert paid(runs) == journal, f"killed after {point}, call {at}"
        assert outcome.summary["ledger"]["outstanding_receipts"] == 0


def test_the_ledger_on_or_off_gives_the_same_bytes(hydrahive):
    options = ["--shards", 4, "--envs_per_shard", 8, "--stop.env_steps", 20_000, "--boundary_every", 5]
    on = hydrahive.train("snake/vtrace", "on", "--workers", 0, *options)
    off = hydrahive.train("snake/vtrace", "off", "--workers", 0, "--ledger.enabled", "false", *options)
    audited = hydrahive.train(
        "snake/vtrace", "audited", "--workers", 2 if FULL else 0, "--audit.workers", "all", *options
    )
    assert digests_of(on) == digests_of(off) == digests_of(audited)
    assert off["ledger"] is None
    for summary in (on, audited):
        assert summary["ledger"]["credited_env_steps"] == summary["env_steps"]
        assert summary["ledger"]["conservation_difference"] == 0
    assert audited["audited_env_steps"] == audited["env_steps"]
    rows = [json.loads(line) for line in hydrahive("ledger", "balance", "--json").stdout.splitlines()]
    assert [row["env_steps"] for row in rows] == [on["env_steps"] + audited["env_steps"]]
    assert rows[0]["workers"] == (3 if FULL else 2)
    assert rows[0]["replayed_share"] == audited["env_steps"] / (on["env_steps"] + audited["env_steps"])
    assert hydrahive("ledger", "verify").stdout.count("\n") == 2


def test_a_ledger_that_fails_while_training_delays_payment_and_nothing_else(tmp_path, monkeypatch, undisturbed):
    from hydrahive.core.errors import LedgerError
    from hydrahive.ledger.paying import Work

    summary, journal = undisturbed
    settle, calls = Work.settle, []

    def away(self, given):
        calls.append(given)
        raise LedgerError("the disk is full")

    monkeypatch.setattr(Work, "settle", away)
    outcome = train(request(tmp_path))
    assert digests_of(outcome.summary) == digests_of(summary)
    assert outcome.summary["ledger"]["outstanding_receipts"] == len(journal)
    events = [json.loads(line)["kind"] for line in (tmp_path / "a" / "events.jsonl").read_text().splitlines()]
    assert events.count("ledger_away") == 1
    assert "ledger_outstanding" in events
    assert paid(tmp_path) == set()
    monkeypatch.setattr(Work, "settle", settle)
    again = train(request(tmp_path))
    assert not again.trained
    assert again.summary["ledger"]["outstanding_receipts"] == 0
    assert paid(tmp_path) == journal


def test_receipts_a_second(tmp_path, report):
    """Measured and reported, with all that settling does: seals, leases, chain, balances, one fsync a batch."""
    import time

    from hydrahive.core.receipt import Receipt
    from hydrahive.ledger.posting import Lease, Posting, WorkerFacts, sealed
    from hydrahive.ledger.prices import Price

    ledger, key, batch, batches = Ledger(tmp_path / "ledger.sqlite"), b"k" * 32, 2000, 20 if FULL else 2
    ledger.work.open_run("run", "run", "carol", key)
    workers = (WorkerFacts("w0", "alice", "n"), WorkerFacts("w1", "bob", "n"))
    speeds = []
    for b in range(batches):
        rounds = range(b * batch // 2, (b + 1) * batch // 2)
        receipts = tuple(Receipt(0, r, s, r, f"w{s}", 2048, f"{r:032x}{s:032x}") for r in rounds for s in (0, 1))
        leases = (Lease(0, "w0", 0, rounds.stop), Lease(1, "w1", 0, rounds.stop))
        posting = Posting("run", 0, rounds.start, rounds.stop, 2048 * batch, Price(10, 1), workers, leases, receipts)
        given = sealed(posting, key)
        began = time.process_time()
        assert ledger.work.settle(given).paid == batch
        speeds.append(batch / (time.process_time() - began))
    assert balances(ledger.journal)[0]["env_steps"] == 2048 * batch * batches / 2
    speeds.sort()
    report.add(
        "Accounts", f"- {speeds[len(speeds) // 2]:,.0f} receipts/s into the journal, batches of {batch}, one core"
    )
