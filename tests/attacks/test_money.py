"""T8 to T12, T17: nobody is paid twice, nobody spends what is not his yet, and who was caught is remembered."""

import dataclasses
import sqlite3
import subprocess
import sys

import pytest

from hydrahive.core.errors import ConfigError, RefusedError, UsageError
from hydrahive.core.receipt import Receipt
from hydrahive.ledger.entries import TREASURY
from hydrahive.ledger.ledger import Ledger
from hydrahive.ledger.posting import Sealed, Verdict, WorkerFacts, sealed
from hydrahive.ledger.prices import DEAREST, LedgerConfig, Price, price_of
from hydrahive.ledger.statements import balances, refusals, strikes, work_credits, workers
from hydrahive.ledger.store import refusals as refusal_rows
from hydrahive.ledger.verification import verify
from ledger.books import KEY, STEPS, opened, posting, receipt, settle

VOLUNTEER = ("w0",)
DAY_US = 24 * 3600 * 10**6


@pytest.fixture
def now():
    return [10**15]


@pytest.fixture
def ledger(tmp_path, now):
    return opened(tmp_path / "ledger.sqlite", clock_us=lambda: now[0])


def states(ledger, owner="alice"):
    return [row["state"] for row in work_credits(ledger.journal) if row["owner"] == owner]


def verdict(outcome, until, first=0, worker="w0", shard=0):
    return Verdict(shard, first, until, outcome, (worker,), STEPS * (until - first), "the environments show else")


def available(ledger, name="alice"):
    return ledger.journal.account(name).available


def test_what_is_not_verified_cannot_be_spent(ledger):
    settle(ledger, posting(0, 2, unproven=VOLUNTEER))
    assert states(ledger) == ["pending"] * 2
    assert available(ledger) == 0
    assert states(ledger, "bob") == ["paid"] * 2, "the run's own are paid at once"
    with pytest.raises(RefusedError, match=r"0\.000000 tokens available"):
        ledger.transfers.transfer("alice", "bob", 1, "run away with it")
    settle(ledger, posting(2, 4, unproven=VOLUNTEER, verdicts=(verdict("verified", 2),)))
    assert states(ledger) == ["paid", "paid", "pending", "pending"]
    assert available(ledger) == 2 * STEPS * 10
    assert verify(ledger.journal).problem is None


def test_what_came_with_its_verdict_is_paid_at_once(ledger):
    answer = settle(ledger, posting(0, 3, unproven=VOLUNTEER, verdicts=(verdict("verified", 3),)))
    assert states(ledger) == ["paid"] * 3
    assert answer.credited_env_steps == 6 * STEPS


def test_replayed_work_is_let_go_once_its_machine_was_found_honest_in_full(ledger):
    replayed = (verdict("replayed", 2),)
    settle(ledger, posting(0, 2, unproven=VOLUNTEER, verdicts=replayed, proven_before=2))
    assert states(ledger) == ["pending"] * 2, "nobody has looked at its actions yet"
    settle(ledger, posting(2, 4, unproven=VOLUNTEER, verdicts=(verdict("verified", 4, 2),), proven_before=1))
    assert states(ledger) == ["paid", "pending", "paid", "paid"], "the run may still be taken back to round 1"
    settle(ledger, posting(4, 4, proven_before=4))
    assert states(ledger) == ["paid"] * 4
    assert verify(ledger.journal).problem is None


@pytest.mark.parametrize("outcome", ["invalid", "refused"])
def test_who_is_caught_loses_what_his_node_and_his_account_have_not_proven(ledger, outcome):
    people = (
        WorkerFacts("w0", "alice", "node-a"),  # is caught
        WorkerFacts("w1", "alice", "node-b"),  # his other machine
        WorkerFacts("w2", "dave", "node-a"),  # a label of another's on the same machine
        WorkerFacts("w3", "bob", "node-c"),
        WorkerFacts("w4", "carol", "node-d"),  # the run's own
    )
    leases = tuple(dataclasses.replace(posting(0, 2).leases[0], shard=i, worker=f"w{i}") for i in range(5))
    receipts = tuple(Receipt(0, r, s, r, f"w{s}", STEPS, f"{r:032x}{s:032x}") for r in range(2) for s in range(5))
    unproven = ("w0", "w1", "w2", "w3")
    settle(ledger, posting(0, 2, workers=people, leases=leases, receipts=receipts, unproven=unproven))
    caught = dataclasses.replace(verdict(outcome, 2), until_round=2)
    settle(ledger, posting(2, 2, receipts=(), workers=people, verdicts=(caught,)))
    by_owner = {row["worker"]: row["state"] for row in work_credits(ledger.journal)}
    assert by_owner == {"w0": "clawed", "w1": "clawed", "w2": "clawed", "w3": "pending", "w4": "paid"}
    assert {row["worker"]: row["state"] for row in workers(ledger.journal)}["w1"] == "quarantined"
    assert {row["owner"]: row["balance"] for row in balances(ledger.journal)}["alice"] == 0
    assert [(row["account"], row["node"]) for row in strikes(ledger.journal)] == [("alice", "node-a")]
    assert verify(ledger.journal).problem is None


def test_a_strike_keeps_an_account_away_and_three_for_good(ledger, now):
    ledger.accounts.open("mallory")
    ledger.accounts.require_good_standing("mallory")
    for count in (1, 2, 3):
        ledger.journal.strike("mallory", f"run-{count}", "node-a", "the environments show something else")
        ledger.journal.strike("mallory", f"run-{count}", "node-a", "said twice, by the cluster and by the books")
        with pytest.raises(RefusedError, match=rf"was caught {count} times") as refused:
            ledger.accounts.require_good_standing("mallory")
        assert "\n" not in str(refused.value)
        now[0] += DAY_US + 1
        if count < 3:
            ledger.accounts.require_good_standing("mallory")
    now[0] += 1000 * DAY_US
    with pytest.raises(RefusedError, match="the ledger's owner can forgive it"):
        ledger.accounts.require_good_standing("mallory")
    assert ledger.accounts.forgive("mallory") == 3
    ledger.accounts.require_good_standing("mallory")
    with pytest.raises(UsageError, match="no strikes"):
        ledger.accounts.forgive("mallory")


def test_a_price_above_the_ledgers_own_cap_pays_nobody(ledger):
    """Else one run at the highest price brings the sums to 2^63 in a day, and no run can be paid ever again."""
    with pytest.raises(ConfigError, match="microtokens_per_step"):
        price_of(LedgerConfig(microtokens_per_step=DEAREST, weight=2), 1)
    for price in (Price(DEAREST, 2), Price(-1, 1), Price(True, 10**7), Price(2**70, 1), Price(0.5, 1)):
        with pytest.raises(RefusedError, match=r"micro-tokens a step; at most|a posting is none: price"):
            settle(ledger, posting(0, 2, price=price))
    assert ledger.journal.head()[0] == 1, "the run's own account"
    assert settle(ledger, posting(0, 2)).paid == 4


def test_sums_that_the_file_could_not_hold_are_refused_and_others_still_paid(ledger):
    receipts = (receipt(0, 0, env_steps=2**42),)
    first = posting(0, 1, receipts=receipts, price=Price(DEAREST, 1))
    assert 2**42 * DEAREST < 2**62
    assert settle(ledger, first).paid == 1
    more = posting(1, 2, receipts=(receipt(1, 0, env_steps=2**42),), price=Price(DEAREST, 1))
    with pytest.raises(RefusedError, match="has minted"):
        settle(ledger, more)
    assert settle(ledger, posting(2, 3)).paid == 2
    assert verify(ledger.journal).problem is None


def test_who_is_refused_again_and_again_does_not_fill_the_disk(tmp_path, ledger, now):
    for name in ("poor", "rich"):
        ledger.accounts.open(name)
    before = (tmp_path / "ledger.sqlite").stat().st_size
    for i in range(5000):
        now[0] += 100
        with pytest.raises(RefusedError):
            ledger.transfers.transfer("poor", "rich", 10, f"k{i}")
        with pytest.raises(RefusedError):
            ledger.accounts.prove(f"made-up-{i}", "hh_x")
    written = [(row["code"], row["subject"]) for row in refusals(ledger.journal)]
    assert len(written) <= refusal_rows.SUBJECTS + 2
    assert ("overdraft", "poor") in written
    assert ("unknown-account", refusal_rows.OTHERS) in written
    now[0] += refusal_rows.WINDOW_US
    with pytest.raises(RefusedError):
        ledger.transfers.transfer("poor", "rich", 10, "k")
    times = {(row["code"], row["subject"]): row["times"] for row in refusals(ledger.journal)[:-1]}
    assert times["overdraft", "poor"] == 5000
    assert sum(count for (code, _), count in times.items() if code == "unknown-account") == 5000
    assert (tmp_path / "ledger.sqlite").stat().st_size - before < 200_000
    assert len(ledger.journal.refuse("x", "y" * 10**6, "z" * 10**6).args) == 1
    assert max(len(row["text"]) for row in refusals(ledger.journal)) <= refusal_rows.TEXT


def test_a_broken_span_is_told_until_it_is_mended(ledger):
    settle(ledger, posting(0, 1))
    negative = posting(1, 2, receipts=(*posting(1, 2).receipts, receipt(1, 1, round=7, env_steps=-STEPS)))
    assert settle(ledger, negative).conservation_difference == STEPS
    for at in range(2, 6):
        assert settle(ledger, posting(at, at + 1)).conservation_difference == STEPS, "it was gone at the next posting"
    again = Ledger(ledger.journal.path)
    assert settle(again, posting(6, 7)).conservation_difference == STEPS, "also by who has just started"


def test_nothing_is_taken_twice_by_hand_and_by_an_audit(ledger):
    settle(ledger, posting(0, 2))
    first, second = (row["seq"] for row in work_credits(ledger.journal) if row["owner"] == "alice")
    ledger.transfers.reverse(first, "by hand")
    assert available(ledger) == STEPS * 10
    settle(ledger, posting(2, 2, receipts=(), verdicts=(verdict("invalid", 2),)))
    assert available(ledger) == 0, "the one by hand, the other by the audit"
    with pytest.raises(UsageError, match=r"an audit has taken its tokens back already"):
        ledger.transfers.reverse(second, "once more")
    assert verify(ledger.journal).problem is None


def test_a_copy_speaks_for_nobody_unless_it_is_asked_to(tmp_path, ledger):
    settle(ledger, posting(0, 1))
    shared, kept = tmp_path / "shared.sqlite", tmp_path / "kept.sqlite"
    ledger.journal.backup(shared)
    ledger.journal.backup(kept, secrets=True)
    assert KEY not in shared.read_bytes()
    assert KEY in kept.read_bytes()
    assert verify(Ledger(shared).journal).problem is None
    with pytest.raises(RefusedError, match="a copy of a ledger without its runs' keys"):
        settle(Ledger(shared), posting(1, 2))
    assert settle(Ledger(kept), posting(1, 2)).paid == 2
    assert oct(shared.stat().st_mode & 0o777) == oct(kept.stat().st_mode & 0o777) == "0o600"


def test_a_file_of_before_there_were_strikes_goes_on(tmp_path):
    ledger = opened(tmp_path / "ledger.sqlite")
    settle(ledger, posting(0, 2))
    head = ledger.journal.head()
    ledger.close()
    db = sqlite3.connect(tmp_path / "ledger.sqlite")
    db.executescript(
        "DROP TABLE strikes; DROP INDEX pending_credits; ALTER TABLE refusals DROP COLUMN times; "
        "DROP TABLE learning; DROP TABLE learned; PRAGMA user_version = 1"
    )
    db.close()
    again = Ledger(tmp_path / "ledger.sqlite")
    assert again.journal.head() == head
    assert settle(again, posting(2, 4, unproven=VOLUNTEER)).paid == 4
    assert verify(again.journal).problem is None


def test_postings_of_before_pay_was_set_aside_keep_their_seals():
    plain = sealed(posting(0, 1), KEY).as_plain()
    assert "unproven" not in plain["posting"]
    assert Sealed.from_plain(plain) == sealed(posting(0, 1), KEY)
    later = sealed(posting(0, 1, unproven=VOLUNTEER, proven_before=7), KEY)
    assert Sealed.from_plain(later.as_plain()) == later


def test_the_command_forgives(tmp_path):
    ledger = opened(tmp_path / "ledger.sqlite")
    ledger.accounts.open("mallory")
    ledger.journal.strike("mallory", "run", "node-a", "made up rewards")
    ledger.close()
    command = [sys.executable, "-m", "hydrahive.cli.main", "ledger"]
    where = ["--ledger", str(tmp_path / "ledger.sqlite")]

    def said(*words):
        return subprocess.run([*command, *words, *where], capture_output=True, text=True, timeout=60, check=True).stdout

    assert "made up rewards" in said("audit", "--strikes")
    assert said("accounts", "forgive", "mallory") == "account mallory: 1 strikes are forgiven\n"
    assert TREASURY == "treasury"
