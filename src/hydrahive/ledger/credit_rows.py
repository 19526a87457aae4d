"""The rows behind work that was credited: the entry, the credit beside it, and the sums of the run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hydrahive.core.receipt import Receipt
from hydrahive.ledger.entries import REPORTED, TREASURY, WORK
from hydrahive.ledger.journal import Journal
from hydrahive.ledger.posting import Posting

Credit = tuple[int, int, int, int, int, int, int, int, str, int, str, str]
"""A row of `credits`."""

CREDIT_COLUMNS = 12
STEPS, AMOUNT, STATE = 6, 7, 10
"""Where a credit's env steps, its amount and its state stand in the row."""


@dataclass(frozen=True)
class WorkerRow:
    """A worker's row."""

    number: int
    owner: str


class Credits:
    """Writes credits; what decides on them is elsewhere."""

    def __init__(self, journal: Journal) -> None:
        """Write into this journal's file."""
        self._journal = journal
        assert journal.path.is_absolute(), "an open journal"
        assert STEPS < AMOUNT < CREDIT_COLUMNS, "columns of a row"

    def enter(self, kind: str, posting: Posting, receipt: Receipt, worker: WorkerRow, amount: int) -> int:
        """Append the entry behind a receipt's credit; its number."""
        assert amount > 0, "an entry moves something"
        memo = {
            "run": posting.run_id,
            "segment": receipt.segment,
            "round": receipt.round,
            "shard": receipt.shard,
            "worker": receipt.worker,
            "env_steps": receipt.env_steps,
            "digest": receipt.digest,
            "rate": posting.price.rate,
            "weight": posting.price.weight,
        }
        entry = self._journal.append(
            kind,
            REPORTED if posting.reported else WORK,
            TREASURY,
            worker.owner,
            amount,
            work_key(posting.run_id, receipt),
            memo,
        )
        assert entry.seq >= 1, "entries are numbered from 1"
        return entry.seq

    def let_go(self, run: int, where: str, *values: object) -> int:
        """Pay credits of a run that were set aside; how many. `where` says which, as SQL over `values`."""
        assert run >= 1, "a run's number"
        db = self._journal.db
        assert db.in_transaction, "with what lets them go"
        rows = db.execute(
            "SELECT c.segment, c.round, c.shard, c.env_steps, c.amount, c.seq, w.owner FROM credits c "  # noqa: S608  of our own words; values are bound
            f"JOIN workers w ON w.id = c.worker WHERE c.run = ? AND c.state = 'pending' AND {where} "
            "ORDER BY c.segment, c.round, c.shard",
            (run, *values),
        ).fetchall()
        for segment, round_, shard, env_steps, amount, seq, owner in rows:
            if seq:
                self._journal.append("post", WORK, TREASURY, owner, amount, f"post/{seq}", refers=seq)
            self.set_state(run, (segment, round_, shard), "paid")
            self.add_to_run(run, env_steps, amount)
        return len(rows)

    def set_state(self, run: int, place: tuple[int, int, int], state: str) -> None:
        """Change the state of a credit, which is there."""
        assert state in ("paid", "clawed"), "what may become of one"
        changed = self._journal.db.execute(
            "UPDATE credits SET state = ? WHERE run = ? AND segment = ? AND round = ? AND shard = ?",
            (state, run, *place),
        ).rowcount
        assert changed == 1, "the row is there"

    def note(self, rows: Iterable[Credit]) -> None:
        """Write rows of credits, all new."""
        assert self._journal.db.in_transaction, "with the entries that they are about"
        before = self._journal.db.total_changes
        rows = list(rows)
        self._journal.db.executemany(f"INSERT INTO credits VALUES ({','.join('?' * CREDIT_COLUMNS)})", rows)  # noqa: S608  of our own words; values are bound
        assert self._journal.db.total_changes - before == len(rows), "each is new"

    def add_to_run(self, run: int, env_steps: int, amount: int) -> None:
        """Keep the run's sums beside its credits."""
        assert (env_steps >= 0) == (amount >= 0) or 0 in (env_steps, amount), "both grow or both shrink"
        sums = "UPDATE runs SET env_steps = env_steps + ?, amount = amount + ? WHERE id = ?"
        changed = self._journal.db.execute(sums, (env_steps, amount, run)).rowcount
        assert changed == 1, "the run is there"


def claw_back(journal: Journal, worker: WorkerRow, state: str, amount: int, seq: int, memo: dict[str, object]) -> None:
    """Enter that a credit is taken back, whose entry is `seq`, 0 for none; what waits is voided."""
    assert state in ("paid", "pending"), "each once"
    if not seq:
        return
    if state == "pending":
        journal.append("void", "clawback", TREASURY, worker.owner, amount, f"void/{seq}", memo, refers=seq)
        return
    moved = moved_by(journal, seq)
    # What the ledger's owner has reversed by hand was taken back already.
    if journal.entry(key=f"reversal/{moved}") is None:
        journal.append("posted", "clawback", worker.owner, TREASURY, amount, f"clawback/{seq}", memo, refers=moved)
    assert moved >= seq, "paid at once, or let go later"


def moved_by(journal: Journal, seq: int) -> int:
    """The entry that moved a credit's tokens: its own, or the one that let it go."""
    assert seq >= 1, "entries are numbered from 1"
    row = journal.db.execute(  # said twice: the index is of all three
        "SELECT seq FROM journal WHERE refers = ? AND kind IN ('post', 'void', 'expire') AND kind = 'post'", (seq,)
    ).fetchone()
    assert row is None or row[0] > seq, "later"
    return int(row[0]) if row else seq


def credit_of(run: int, receipt: Receipt, worker: WorkerRow, amount: int, seq: int, state: str) -> Credit:
    """The row of a fragment's credit."""
    assert state in ("paid", "pending", "voided"), "as it is noted first"
    assert receipt.env_steps >= 0, "refused before"
    place = (run, receipt.segment, receipt.round, receipt.shard)
    return (*place, receipt.at_update, worker.number, receipt.env_steps, amount, receipt.digest, seq, state, "none")


def total(rows: Mapping[tuple[int, int, int], Credit], column: int) -> int:
    """A column's sum over those credits that are paid."""
    assert column in (STEPS, AMOUNT), "these are added up"
    total = sum(int(row[column]) for row in rows.values() if row[STATE] == "paid")
    assert total >= 0, "counted"
    return total


def conservation(
    journal: Journal, run: int, only: tuple[int, int, int] | None = None
) -> list[tuple[int, int, int, int]]:
    """The spans of a run that do not add up: (segment, from update, until update, consumed minus accounted for).

    What was paid, or clawed back again, between two checkpoints must be what the learner consumed there.
    """
    assert run >= 1, "a run's number"
    one = "" if only is None else " AND segment = ? AND from_update = ? AND until_update = ?"
    rows = journal.db.execute(
        "SELECT segment, from_update, until_update, env_steps - (SELECT coalesce(sum(c.env_steps), 0) FROM credits c "  # noqa: S608  of our own words; values are bound
        "WHERE c.run = s.run AND c.segment = s.segment AND c.at_update >= s.from_update "
        "AND c.at_update < s.until_update AND c.state != 'voided') AS missing "
        f"FROM spans s WHERE run = ?{one} ORDER BY segment, from_update",
        (run, *(only or ())),
    ).fetchall()
    assert all(len(row) == 4 for row in rows), "as described"
    return [row for row in rows if row[3]]


def work_key(run_id: str, receipt: Receipt) -> str:
    """The idempotency key of a fragment's credit."""
    assert run_id, "a run has an id"
    assert "/" not in run_id, "else two runs might share a key"
    return f"work/{run_id}/{receipt.segment}/{receipt.round}/{receipt.shard}"
