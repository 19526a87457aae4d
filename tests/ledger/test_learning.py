"""Credits for learning: paid once, set aside, let go, taken back, verified; files of before there were any."""

import dataclasses
import json
import sqlite3

import pytest
from books import KEY, WORKERS, opened, posting, settle, tampered

from hydrahive.core.errors import RefusedError
from hydrahive.core.receipt import SliceReceipt
from hydrahive.ledger.ledger import Ledger
from hydrahive.ledger.posting import Posting, Sealed, Verdict, seal_of, sealed
from hydrahive.ledger.statements import balances
from hydrahive.ledger.verification import verify


def learned(first, until, *receipts, **changes):
    slices = receipts or (SliceReceipt("w0", 700, 0), SliceReceipt("w1", 300, 300))
    given = {"slices": slices, "gradient_rows": sum(one.rows for one in slices), "row_rate": 4}
    return posting(first, until, **{**given, **changes})


@pytest.fixture
def ledger(tmp_path):
    return opened(tmp_path / "ledger.sqlite")


def earned(ledger):
    return {row["owner"]: (row["gradient_rows"], row["learning"], row["pending"]) for row in balances(ledger.journal)}


def test_rows_are_paid_once_however_often_they_are_posted(ledger):
    first = settle(ledger, learned(0, 2))
    assert (first.learned_rows, first.learned_microtokens, first.conservation_difference) == (1000, 4000, 0)
    assert settle(ledger, learned(0, 2)).learned_rows == 1000
    assert settle(ledger, learned(2, 4)).learned_rows == 2000
    assert earned(ledger) == {"alice": (1400, 5600, 0), "bob": (600, 2400, 0), "carol": (0, 0, 0)}
    assert verify(ledger.journal).problem is None


def test_who_must_prove_himself_waits_for_what_was_not_found_again(ledger):
    settle(ledger, learned(0, 2, unproven=("w0", "w1")))
    assert earned(ledger)["alice"][:2] == (0, 0)
    assert earned(ledger)["bob"][:2] == (300, 1200), "all of it was found again"
    settle(ledger, learned(2, 4, unproven=("w0", "w1"), proven_before=1))
    assert earned(ledger)["alice"][:2] == (0, 0)
    settle(ledger, learned(4, 6, unproven=("w0", "w1"), proven_before=4))
    assert earned(ledger)["alice"][:2] == (1400, 5600)
    assert verify(ledger.journal).problem is None


def test_who_is_caught_loses_what_was_not_found_again(ledger):
    settle(ledger, learned(0, 2))
    settle(ledger, learned(2, 4, SliceReceipt("w0", 500, 500)))
    settle(ledger, learned(4, 6, unproven=("w0",)))
    caught = Verdict(-1, 6, 7, "invalid", ("w0",), 0, "slices of update 6: another gradient")
    settle(ledger, learned(6, 8, SliceReceipt("w1", 100, 0), verdicts=(caught,)))
    assert earned(ledger)["alice"][:2] == (500, 2000)
    assert verify(ledger.journal).problem is None
    states = ledger.journal.db.execute(
        "SELECT until_update, state FROM learning WHERE worker = 1 ORDER BY 1"
    ).fetchall()
    assert states == [(2, "clawed"), (4, "paid"), (6, "clawed")]
    alice = next(row for row in balances(ledger.journal) if row["owner"] == "alice")
    assert alice["received"] == alice["spent"] == 0


WRONG = {
    "they do not add up": {"gradient_rows": 999},
    "more were found again than there are": {"slices": (SliceReceipt("w0", 10, 11),), "gradient_rows": 10},
    "a negative number": {"slices": (SliceReceipt("w0", -10, -10),), "gradient_rows": -10},
    "nobody's": {"slices": (SliceReceipt("w9", 10, 0),), "gradient_rows": 10},
    "one worker's twice": {"slices": (SliceReceipt("w0", 5, 0), SliceReceipt("w0", 5, 0)), "gradient_rows": 10},
    "too dear": {"row_rate": 10**7},
    "a price below nothing": {"row_rate": -1},
    "no number": {"slices": (SliceReceipt("w0", 10.5, 0),), "gradient_rows": 10},
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_what_is_not_in_order_is_refused_and_nothing_moves(ledger, change):
    with pytest.raises(RefusedError):
        settle(ledger, learned(0, 2, **change))
    assert ledger.journal.db.execute("SELECT count(*) FROM learning").fetchone() == (0,)
    assert verify(ledger.journal).problem is None


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE learning SET rows = rows + 1 WHERE worker = 1", "learning row of run snake"),
        ("UPDATE learning SET amount = 1 WHERE worker = 2", "learning row of run snake"),
        ("UPDATE learning SET state = 'clawed' WHERE worker = 1", "is clawed, which the journal does not show"),
        ("DELETE FROM learning WHERE worker = 1", "its credit for learning is missing"),
        ("UPDATE learned SET rows = rows + 5", "5 gradient rows are missing"),
    ],
)
def test_verify_names_what_was_changed(tmp_path, statement, told):
    path = tmp_path / "ledger.sqlite"
    ledger = opened(path)
    settle(ledger, learned(0, 2))
    ledger.close()
    tampered(path, statement)
    assert told in verify(Ledger(path).journal).problem


def test_a_posting_without_slices_is_sealed_as_before_there_were_any():
    plain = posting(0, 2).as_plain()
    assert not {"slices", "gradient_rows", "row_rate"} & plain.keys()
    given = learned(0, 2)
    back = Sealed.from_plain(json.loads(json.dumps(sealed(given, KEY).as_plain())))
    assert back.posting == given
    assert back.seal == seal_of(given, KEY)
    assert Posting.from_plain(plain) == posting(0, 2)
    assert dataclasses.replace(given, gradient_rows=1) != given
    assert len(WORKERS) == 2


def test_a_ledger_of_before_is_brought_up_to_date(tmp_path):
    path = tmp_path / "ledger.sqlite"
    ledger = opened(path)
    settle(ledger, posting(0, 2))
    ledger.close()
    db = sqlite3.connect(path)
    db.executescript("DROP TABLE learning; DROP TABLE learned; PRAGMA user_version = 2;")
    db.close()
    ledger = Ledger(path)
    assert settle(ledger, learned(2, 4)).learned_rows == 1000
    assert verify(ledger.journal).problem is None
