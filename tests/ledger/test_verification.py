"""Whatever is edited by hand is found, with the first row that shows it."""

import pytest
from books import opened, posting, settle, tampered

from hydrahive.ledger.credit_rows import moved_by
from hydrahive.ledger.verification import verify

EDITS = {
    "amount": ("UPDATE journal SET amount = amount + 1 WHERE seq = 8", "journal row 8: its hash"),
    "owner": ("UPDATE journal SET credit = 'bob' WHERE seq = 7", "journal row 7: its hash"),
    "memo": ("UPDATE journal SET memo = replace(memo, '512', '513') WHERE seq = 6", "journal row 6: its hash"),
    "time": ("UPDATE journal SET time_us = 5 WHERE seq = 1", "journal row 1: its hash"),
    "type": ("UPDATE journal SET amount = 'many' WHERE seq = 9", "journal row 9: its hash"),
    "blob": ("UPDATE journal SET memo = x'00ff' WHERE seq = 9", "journal row 9: holds what no entry holds"),
    "hash": (
        "UPDATE journal SET hash = iif(hash LIKE '0%', '1', '0') || substr(hash, 2) WHERE seq = 5",
        "row 5: its hash",
    ),
    "row removed": ("DELETE FROM journal WHERE seq = 6", "journal row 7: follows row 5"),
    "first row removed": ("DELETE FROM journal WHERE seq = 1", "journal row 2: follows row 0"),
    "balance": ("UPDATE accounts SET credits = credits + 5 WHERE name = 'bob'", "account 'bob'"),
    "negative": ("UPDATE accounts SET debits = -7 WHERE name = 'alice'", "account 'alice'"),
    "key": ("UPDATE accounts SET key_hash = 'mine' WHERE name = 'bob'", "account 'bob'"),
    "account removed": ("DELETE FROM accounts WHERE name = 'alice'", "account 'alice'"),
    "account added": ("INSERT INTO accounts VALUES ('eve', 0, '', 0, 9, 0, 0)", "account 'eve'"),
    "credit": ("UPDATE credits SET env_steps = 1 WHERE round = 1 AND shard = 0", "segment 0, round 1, shard 0"),
    "credit removed": ("DELETE FROM credits WHERE round = 1 AND shard = 0", "is missing"),
    "worker": ("UPDATE credits SET worker = 2", "segment 0, round 0, shard 0"),
    "state": ("UPDATE credits SET state = 'clawed' WHERE round = 1", "is clawed, the journal says not clawed back"),
    "consumed": ("UPDATE spans SET env_steps = env_steps + 3", "3 env steps that the learner consumed"),
    "run": ("UPDATE runs SET amount = amount + 1", "runs row 1"),
    "hold": ("INSERT INTO holds VALUES (5, NULL)", "holds row 5"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_is_found(tmp_path, edit):
    path = tmp_path / "ledger.sqlite"
    ledger = opened(path)
    settle(ledger, posting(0, 4))
    assert verify(ledger.journal).problem is None
    ledger.close()
    statement, says = EDITS[edit]
    tampered(path, statement)
    found = verify(opened(path).journal)
    assert found.problem is not None
    assert says in found.problem


def test_a_tail_that_was_cut_off_is_found_by_its_sums_and_by_a_noted_head(tmp_path):
    path = tmp_path / "ledger.sqlite"
    ledger = opened(path)
    settle(ledger, posting(0, 4))
    head = ledger.journal.head()
    assert verify(ledger.journal, head).problem is None
    settle(ledger, posting(4, 5))
    assert verify(ledger.journal, head).problem is None
    ledger.close()
    tampered(path, f"DELETE FROM journal WHERE seq >= {head[0]}")
    assert f"journal row {head[0]}: is missing" in verify(opened(path).journal, head).problem
    assert verify(opened(path).journal).problem is not None


def test_a_chain_that_was_made_anew_is_found_by_a_noted_head(tmp_path):
    first, second = opened(tmp_path / "a.sqlite"), opened(tmp_path / "b.sqlite")
    settle(first, posting(0, 2))
    settle(second, posting(0, 2))
    assert "the chain was made anew" in verify(second.journal, first.journal.head()).problem


def test_a_damaged_page_is_found(tmp_path):
    path = tmp_path / "ledger.sqlite"
    ledger = opened(path)
    settle(ledger, posting(0, 200))
    ledger.journal.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    ledger.close()
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = b"\xff" * 3000
    path.write_bytes(bytes(data))
    from hydrahive.core.errors import LedgerError

    try:
        problem = verify(opened(path).journal).problem
    except LedgerError as error:
        problem = str(error)
    assert problem
    assert "damaged" in problem or "journal row" in problem


def work_of(db, call):
    """What SQLite's machine executes for a call, in thousands of its instructions."""
    ticks = []
    db.set_progress_handler(lambda: ticks.append(None), 1_000)
    try:
        call()
    finally:
        db.set_progress_handler(None, 0)
    return len(ticks)


def test_its_work_grows_as_the_journal_does(tmp_path):
    """Not with its square: a ledger of many runs is read through in minutes."""
    work = {}
    for rounds in (400, 1_600):
        ledger = opened(tmp_path / f"{rounds}.sqlite")
        settle(ledger, posting(0, rounds))
        work[rounds] = work_of(ledger.journal.db, lambda ledger=ledger: verify(ledger.journal))
        ledger.close()
    assert work[1_600] < 5 * work[400]


def test_clawing_back_looks_its_entry_up(tmp_path):
    ledger = opened(tmp_path / "ledger.sqlite")
    settle(ledger, posting(0, 1_500))
    assert work_of(ledger.journal.db, lambda: [moved_by(ledger.journal, 5) for _ in range(50)]) <= 5
