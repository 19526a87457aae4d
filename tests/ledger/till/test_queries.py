"""Paying for answers: set aside, then let go or given back; nobody overdraws, nobody pays twice."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from hydrahive.ledger.entries import TREASURY
from hydrahive.ledger.ledger import Ledger
from hydrahive.ledger.till.limits import BURST_SECONDS, Limits, TooFast
from hydrahive.ledger.till.queries import ATTEMPTS, HOLD_SECONDS, Admitted, Queries, Query, Refused
from hydrahive.ledger.verification import verify

PRICE = 500_000


class Clock:
    """Microseconds that go on when they are told to."""

    now = 1_700_000_000_000_000

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(tmp_path: Path, clock: Clock) -> Ledger:
    return Ledger(tmp_path / "ledger.sqlite", clock)


def rich(ledger: Ledger, name: str, amount: int) -> str:
    """An account with so many micro-tokens; its key."""
    key = ledger.accounts.open(name)
    ledger.transfers.transfer(TREASURY, name, amount, f"gift/{name}")
    return key


def ask(key: str, once: str, price: int = PRICE, what: str = "act", asked: str = "this") -> Query:
    return Query(key, price, "run", what, asked, once)


def balance(ledger: Ledger, name: str) -> int:
    return ledger.journal.account(name).balance


def test_an_answer_is_paid_and_a_failure_is_not(ledger: Ledger) -> None:
    key = rich(ledger, "alice", 3 * PRICE)
    queries = Queries(ledger.journal)
    good, bad = queries.admit([ask(key, "1"), ask(key, "2")])
    assert (good.account, good.paid, good.available, bad.available) == ("alice", False, 2 * PRICE, PRICE)
    queries.settle([good.hold], [bad.hold])
    assert balance(ledger, "alice") == 2 * PRICE
    assert queries.balance(key) == {
        "account": "alice",
        "balance_microtokens": 2 * PRICE,
        "available_microtokens": 2 * PRICE,
    }
    entry = ledger.journal.entry(seq=good.hold)
    assert entry.facts()["price"] == PRICE, "the price is recorded with the entry"
    assert verify(ledger.journal).problem is None


def test_nobody_asks_for_more_than_he_has(ledger: Ledger) -> None:
    key = rich(ledger, "alice", 2 * PRICE + 1)
    answers = Queries(ledger.journal).admit([ask(key, str(number)) for number in range(5)])
    assert [type(answer) for answer in answers] == [Admitted, Admitted, Refused, Refused, Refused]
    assert {answer.reason for answer in answers[2:]} == {"overdraft"}
    assert verify(ledger.journal).problem is None


def test_who_shows_nobodys_key_pays_nothing(ledger: Ledger) -> None:
    old = rich(ledger, "alice", PRICE)
    ledger.accounts.revoke("alice")
    answers = Queries(ledger.journal).admit([ask(key, "1") for key in (old, "hh_nobody", "")])
    assert [answer.reason for answer in answers] == ["wrong-key"] * 3
    assert Queries(ledger.journal).balance(old) is None
    assert balance(ledger, "alice") == PRICE


def test_asked_again_it_is_not_paid_again(ledger: Ledger) -> None:
    key, other = rich(ledger, "alice", 2 * PRICE), rich(ledger, "bob", PRICE)
    queries = Queries(ledger.journal)
    (first,) = queries.admit([ask(key, "once")])
    (while_under_way,) = queries.admit([ask(key, "once")])
    assert while_under_way.hold == first.hold
    queries.settle([first.hold], [])
    queries.settle([first.hold], [])
    (again,) = queries.admit([ask(key, "once")])
    assert again.paid
    assert balance(ledger, "alice") == PRICE
    (his,) = queries.admit([ask(other, "once")])
    assert not his.paid, "another account's names are its own"
    for changed in (ask(key, "once", PRICE + 1), ask(key, "once", what="episode"), ask(key, "once", asked="that")):
        assert queries.admit([changed])[0].reason == "reused-key"


def test_what_failed_can_be_asked_again_under_its_name(ledger: Ledger) -> None:
    key = rich(ledger, "alice", PRICE)
    queries = Queries(ledger.journal)
    for _ in range(3):
        (answer,) = queries.admit([ask(key, "once")])
        assert not answer.paid
        queries.settle([], [answer.hold])
    (answer,) = queries.admit([ask(key, "once")])
    queries.settle([answer.hold], [])
    assert queries.admit([ask(key, "once")])[0].paid
    assert balance(ledger, "alice") == 0


def test_who_hangs_up_on_one_of_two_equal_queries_pays_for_the_other(ledger: Ledger) -> None:
    key, other = rich(ledger, "alice", PRICE), rich(ledger, "bob", PRICE)
    queries = Queries(ledger.journal)
    first, second = queries.admit([ask(key, "once"), ask(key, "once")])
    assert first.hold == second.hold
    queries.settle([], [second.hold])
    queries.settle([first.hold], [])
    assert balance(ledger, "alice") == 0
    (his,) = queries.admit([ask(other, "1")])
    queries.settle([his.hold], [second.hold])
    assert balance(ledger, "bob") == 0, "a hang-up after the answer is nobody else's matter"


@pytest.mark.parametrize("answered", [0, 1, 2])
def test_of_equal_queries_settled_at_once_at_most_one_is_paid(ledger: Ledger, answered: int) -> None:
    key = rich(ledger, "alice", 2 * PRICE)
    queries = Queries(ledger.journal)
    (hold,) = {one.hold for one in queries.admit([ask(key, "once"), ask(key, "once")])}
    queries.settle([hold] * answered, [hold] * (2 - answered))
    assert balance(ledger, "alice") == (2 - bool(answered)) * PRICE
    assert ledger.journal.account("alice").available == balance(ledger, "alice")
    assert verify(ledger.journal).problem is None


def test_a_name_whose_query_fails_again_and_again_is_refused_in_the_end(ledger: Ledger) -> None:
    key, other = rich(ledger, "alice", PRICE), rich(ledger, "bob", PRICE)
    queries = Queries(ledger.journal)
    for _ in range(ATTEMPTS):
        queries.settle([], [queries.admit([ask(key, "once")])[0].hold])
    again, his = queries.admit([ask(key, "once"), ask(other, "1")])
    assert (again.reason, type(his)) == ("reused-key", Admitted)
    for once in ("once+", "once+1", "+1/alice/once"):
        (plain,) = queries.admit([ask(key, once, asked=once)])
        queries.settle([], [plain.hold])
    assert balance(ledger, "alice") == PRICE


def test_any_text_may_be_shown_for_a_key(ledger: Ledger) -> None:
    key = rich(ledger, "alice", PRICE)
    answers = Queries(ledger.journal).admit([ask(text, "1") for text in ("a", "0", "hh_", "ü", key)])
    assert [type(answer) for answer in answers] == [Refused] * 4 + [Admitted]


def test_an_answer_that_never_came_is_given_back(ledger: Ledger, clock: Clock) -> None:
    """As when the process that should have answered was killed."""
    key = rich(ledger, "alice", PRICE)
    queries = Queries(ledger.journal)
    (lost,) = queries.admit([ask(key, "1")])
    assert queries.admit([ask(key, "2")])[0].reason == "overdraft"
    clock.now += (HOLD_SECONDS + 1) * 1_000_000
    (second,) = queries.admit([ask(key, "3")])
    assert second.available == 0
    queries.settle([lost.hold, second.hold], [])
    assert balance(ledger, "alice") == 0, "the late one is free, the other paid"
    assert verify(ledger.journal).problem is None


def test_whatever_is_asked_the_sums_are_right(ledger: Ledger, clock: Clock) -> None:
    draw = random.Random(7)
    keys = {name: rich(ledger, name, draw.randrange(1, 40) * PRICE) for name in ("a", "b", "c")}
    queries, open_holds, paid = Queries(ledger.journal), [], dict.fromkeys(keys, 0)
    start = {name: balance(ledger, name) for name in keys}
    for step in range(60):
        names = [draw.choice(list(keys)) for _ in range(draw.randrange(1, 6))]
        asked = [ask(keys[name], f"{step}-{number}") for number, name in enumerate(names)]
        open_holds += [answer for answer in queries.admit(asked) if isinstance(answer, Admitted)]
        draw.shuffle(open_holds)
        answered, failed = open_holds[:3], open_holds[3:4]
        queries.settle([one.hold for one in answered], [one.hold for one in failed])
        for one in answered:
            paid[one.account] += PRICE
        open_holds = open_holds[4:]
        assert all(ledger.journal.account(name).available >= 0 for name in keys)
    clock.now += (HOLD_SECONDS + 1) * 1_000_000
    ledger.transfers.expire()
    assert {name: balance(ledger, name) for name in keys} == {name: start[name] - paid[name] for name in keys}
    assert verify(ledger.journal).problem is None


def test_who_asks_too_fast_waits(ledger: Ledger) -> None:
    key, other = rich(ledger, "alice", 100 * PRICE), rich(ledger, "bob", 100 * PRICE)
    now = [0.0]
    limits, queries = Limits(lambda: now[0]), Queries(ledger.journal)
    burst = int(2 * BURST_SECONDS)
    answers = limits.admit(queries, [ask(key, str(number)) for number in range(burst + 2)], 2)
    assert [isinstance(answer, TooFast) for answer in answers] == [False] * burst + [True] * 2
    assert answers[-1].seconds == pytest.approx(0.5)
    assert isinstance(limits.admit(queries, [ask(other, "1")], 2)[0], Admitted), "each has his own rate"
    now[0] = 0.5
    assert isinstance(limits.admit(queries, [ask(key, "later")], 2)[0], Admitted)
    assert isinstance(limits.admit(queries, [ask(key, "later still")], 2)[0], TooFast)
    refused = limits.admit(queries, [ask("hh_nobody", "1")], 2)[0]
    assert refused.reason == "wrong-key"
