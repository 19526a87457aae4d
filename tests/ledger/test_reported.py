"""Work that was only reported, as RLlib's env runners do: paid to the run's own user, and to nobody else."""

from __future__ import annotations

import pytest

from hydrahive.core.receipt import Receipt
from hydrahive.ledger.ledger import Ledger
from hydrahive.ledger.posting import Lease, Posting, WorkerFacts, sealed
from hydrahive.ledger.prices import Price
from hydrahive.ledger.verification import verify

KEY = bytes(range(32))


@pytest.mark.parametrize("reported", [True, False])
def test_only_the_runs_own_user_is_paid_for_what_nobody_can_audit(tmp_path, reported):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.work.open_run("run", "run", "alice", KEY)
    mine, his = WorkerFacts("mine", "alice", "node-a"), WorkerFacts("his", "bob", "node-b")
    posting = Posting(
        "run", 0, 0, 1, 300, Price(10, 1), (mine, his), (Lease(0, "mine", 0), Lease(1, "his", 0)),
        (Receipt(0, 0, 0, 0, "mine", 100, "a"), Receipt(0, 0, 1, 0, "his", 200, "b")), reported=reported,
    )  # fmt: skip
    given = sealed(posting, KEY)
    assert type(given).from_plain(given.as_plain()) == given
    assert ("reported" in posting.as_plain()) == reported
    settled = ledger.work.settle(given)
    assert (settled.paid, settled.conservation_difference, settled.refused) == (2, 0, ())
    assert ledger.journal.account("alice").balance == 1_000
    bob = ledger.journal.account("bob")
    assert (bob.balance if bob else 0) == (0 if reported else 2_000)
    codes = {code for (code,) in ledger.journal.db.execute("SELECT code FROM journal WHERE kind = 'posted'")}
    assert codes == {"reported" if reported else "work"}
    assert verify(ledger.journal).problem is None
    ledger.close()
