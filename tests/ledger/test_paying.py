"""Receipts become credits once, and only those that are in order."""

import dataclasses

import pytest
from books import KEY, STEPS, WORKERS, opened, posting, receipt, settle

from hydrahive.core.errors import ConfigError, RefusedError
from hydrahive.ledger.posting import Lease, Posting, Sealed, Verdict, WorkerFacts, sealed
from hydrahive.ledger.prices import LedgerConfig, Price, price_of
from hydrahive.ledger.statements import balances, refusals, work_credits, workers
from hydrahive.ledger.verification import verify


@pytest.fixture
def ledger(tmp_path):
    ledger = opened(tmp_path / "ledger.sqlite")
    yield ledger
    assert verify(ledger.journal).problem is None
    ledger.close()


def refused_codes(ledger):
    return [row["code"] for row in refusals(ledger.journal)]


def test_each_receipt_is_paid_once_to_its_workers_owner(ledger):
    answer = settle(ledger, posting(0, 10))
    assert (answer.paid, answer.known, answer.refused) == (20, 0, ())
    assert (answer.credited_env_steps, answer.credited_microtokens) == (20 * STEPS, 20 * STEPS * 10)
    again = settle(ledger, posting(0, 10))
    assert (again.paid, again.known) == (0, 20)
    more = settle(ledger, posting(10, 15))
    assert more.credited_env_steps == 30 * STEPS
    assert more.conservation_difference == 0
    rows = {row["owner"]: row for row in balances(ledger.journal)}
    assert rows["alice"]["env_steps"] == rows["bob"]["env_steps"] == 15 * STEPS
    assert rows["alice"]["share"] == 0.5
    assert rows["alice"]["balance"] == 15 * STEPS * 10
    assert rows["carol"]["env_steps"] == 0
    assert refused_codes(ledger) == ["replayed"]


def test_whoever_computes_it_again_is_not_paid_for_it(ledger):
    settle(ledger, posting(0, 4))
    lease = (Lease(0, "w1", 0, 8), Lease(1, "w1", 0, 8))
    theirs = tuple(receipt(r, s, worker="w1") for r in range(2, 8) for s in (0, 1))
    answer = settle(ledger, posting(2, 8, receipts=theirs, leases=lease))
    assert (answer.paid, answer.known) == (8, 4)
    assert {(row["round"], row["worker"]) for row in work_credits(ledger.journal) if row["shard"] == 0} == {
        *((r, "w0") for r in range(4)),
        *((r, "w1") for r in range(4, 8)),
    }


def test_the_default_price_makes_a_token_of_100_000_snake_steps():
    assert price_of(LedgerConfig(), 1).amount(100_000) == 1_000_000
    assert price_of(LedgerConfig(weight=30), 1).amount(7) == 7 * 30 * 10


def test_a_price_that_would_burst_the_sums_is_refused():
    assert price_of(LedgerConfig(microtokens_per_step=10**4, weight=100), 1).amount(4 * 10**12) < 2**62
    assert price_of(LedgerConfig(enabled=False, weight=10**6, microtokens_per_step=10**9), 1)
    for config, declared in ((LedgerConfig(microtokens_per_step=10**4, weight=101), 1), (LedgerConfig(), 10**6)):
        with pytest.raises(ConfigError, match="microtokens_per_step"):
            price_of(config, declared)


ALTERED = {
    "steps": lambda given: dataclasses.replace(
        given, receipts=(dataclasses.replace(given.receipts[0], env_steps=10**9), *given.receipts[1:])
    ),
    "digest": lambda given: dataclasses.replace(
        given, receipts=(dataclasses.replace(given.receipts[0], digest="f" * 64), *given.receipts[1:])
    ),
    "worker": lambda given: dataclasses.replace(
        given, receipts=(dataclasses.replace(given.receipts[0], worker="w1"), *given.receipts[1:])
    ),
    "owner": lambda given: dataclasses.replace(
        given, workers=(WorkerFacts("w0", "mallory", "node-a"), *given.workers[1:])
    ),
    "run": lambda given: dataclasses.replace(given, run_id="other"),
    "price": lambda given: dataclasses.replace(given, price=Price(1000, 1)),
}


@pytest.mark.parametrize("what", ALTERED)
def test_a_posting_that_was_altered_behind_its_seal_is_refused(ledger, what):
    ledger.work.open_run("other", "other", "carol", b"o" * 32)
    before = ledger.journal.head()
    honest = sealed(posting(0, 3), KEY)
    with pytest.raises(RefusedError, match="was altered, or is not sealed by this run"):
        ledger.work.settle(Sealed(ALTERED[what](honest.posting), honest.seal))
    assert ledger.journal.head() == before
    assert refused_codes(ledger) == ["wrong-seal"]
    assert settle(ledger, honest.posting).paid == 6


def test_without_the_runs_secret_nobody_speaks_for_it(ledger):
    with pytest.raises(RefusedError, match="not sealed by this run"):
        settle(ledger, posting(0, 3), b"x" * 32)
    with pytest.raises(RefusedError, match="is not known here"):
        settle(ledger, posting(0, 3, run_id="made-up"))
    with pytest.raises(RefusedError, match="is known with another seal"):
        ledger.work.open_run("run", "snake", "mallory", b"x" * 32)
    assert refused_codes(ledger) == ["wrong-seal", "unknown-run"]
    assert balances(ledger.journal)[0]["balance"] == 0


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"round": 7}, "not-leased"),
        ({"shard": 5}, "not-leased"),
        ({"worker": "w1"}, "not-leased"),
        ({"worker": "stranger"}, "unknown-worker"),
        ({"segment": 3}, "other-segment"),
        ({"env_steps": -STEPS}, "negative"),
    ],
)
def test_a_receipt_that_is_not_in_order_is_refused_by_itself(tmp_path, change, code):
    """Even one that the run itself has sealed; conservation shows that it is missing."""
    ledger = opened(tmp_path / "ledger.sqlite")
    bad = dataclasses.replace(receipt(1, 0), **change)
    receipts = (*posting(0, 2).receipts[:2], bad)
    answer = settle(ledger, posting(0, 2, receipts=receipts))
    assert (answer.paid, len(answer.refused)) == (2, 1)
    assert answer.credited_microtokens == 2 * STEPS * 10
    assert refused_codes(ledger) == [code]
    assert answer.conservation_difference == abs(bad.env_steps)
    assert f"{bad.env_steps} env steps that the learner consumed are not" in verify(ledger.journal).problem


@pytest.mark.parametrize("change", [{"digest": "f" * 64}, {"env_steps": STEPS + 1}])
def test_a_second_receipt_for_a_fragment_with_other_content_is_refused(tmp_path, change):
    ledger = opened(tmp_path / "ledger.sqlite")
    settle(ledger, posting(0, 2))
    head = ledger.journal.head()
    answer = settle(ledger, posting(1, 2, receipts=(receipt(1, 0, **change), receipt(1, 1))))
    assert (answer.paid, answer.known) == (0, 1)
    assert "was consumed before with other bytes or steps" in answer.refused[0]
    assert refused_codes(ledger) == ["conflict", "replayed"]
    assert ledger.journal.head() == head


def test_receipts_that_do_not_add_up_to_what_was_consumed_are_refused_as_a_whole(ledger):
    for change in ({"env_steps": 5}, {"until_update": 1, "from_update": 0}):
        with pytest.raises(RefusedError, match="add up"):
            settle(ledger, posting(0, 2, **change))
    assert refused_codes(ledger) == ["not-conserved"], "once at once, and then counted"


def test_steps_that_are_worth_nothing_are_counted_all_the_same(ledger):
    answer = settle(ledger, posting(0, 2, price=Price(0, 1)))
    assert (answer.paid, answer.credited_env_steps, answer.credited_microtokens) == (4, 4 * STEPS, 0)


def caught(first, until, **changes):
    verdict = Verdict(0, first, until, "invalid", ("w0",), 0, "in round 2: it differs")
    return posting(first, first, receipts=(), verdicts=(verdict,), **changes)


def test_who_is_caught_loses_what_was_never_verified_and_is_not_paid_for_the_rest(ledger):
    seen = [
        Verdict(0, 0, 2, "verified", ("w0",), 2 * STEPS),
        Verdict(0, 2, 4, "replayed", ("w0",), 2 * STEPS),
        Verdict(1, 0, 4, "verified", ("w1",), 4 * STEPS),
    ]
    settle(ledger, posting(0, 4, verdicts=tuple(seen)))
    claimed = (receipt(4, 0), receipt(5, 0))
    answer = settle(ledger, caught(4, 6, voided=claimed, leases=(Lease(0, "w0", 0, 6),)))
    states = {(row["round"], row["shard"]): row["state"] for row in work_credits(ledger.journal)}
    assert [states[r, 0] for r in range(6)] == ["paid", "paid", "clawed", "clawed", "voided", "voided"]
    assert all(states[r, 1] == "paid" for r in range(4))
    assert answer.credited_env_steps == 6 * STEPS
    assert answer.conservation_difference == 0
    rows = {row["owner"]: row for row in balances(ledger.journal)}
    assert rows["alice"]["balance"] == 2 * STEPS * 10
    assert rows["alice"]["audited_share"] == 1.0
    assert (rows["alice"]["spent"], rows["alice"]["received"]) == (0, 0)
    assert [row["state"] for row in workers(ledger.journal)] == ["quarantined", "trusted"]
    head = ledger.journal.head()
    settle(ledger, caught(4, 6, voided=claimed, leases=(Lease(0, "w0", 0, 6),)))
    assert ledger.journal.head() == head


def test_what_was_clawed_back_may_be_owed(ledger):
    settle(ledger, posting(0, 2))
    ledger.transfers.transfer("alice", "bob", 2 * STEPS * 10, "gone")
    settle(ledger, caught(0, 2))
    assert {row["owner"]: row["balance"] for row in balances(ledger.journal)}["alice"] == -2 * STEPS * 10


def test_a_posting_survives_json():
    given = sealed(posting(0, 3, verdicts=(Verdict(0, 0, 3, "verified", ("w0", "w1"), 5),)), KEY)
    assert Sealed.from_plain(given.as_plain()) == given
    assert Posting.from_plain(given.posting.as_plain()).workers == WORKERS
