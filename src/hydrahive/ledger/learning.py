"""Credits for learning: rows of gradient steps that somebody else than the learner has found the gradients of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from hydrahive.ledger.credit_rows import WorkerRow, claw_back
from hydrahive.ledger.entries import TREASURY
from hydrahive.ledger.journal import Journal
from hydrahive.ledger.posting import Posting

Place = tuple[int, int, int, int]
"""Where a credit stands: run, segment, the update behind its last, worker."""

CREDIT = "run = ? AND segment = ? AND until_update = ? AND worker = ?"
"""One credit, as SQL over its `Place`."""


class LearningCredits:
    """Pays for the slices of a posting, one credit a worker; takes back what a caught worker earned so."""

    def __init__(self, journal: Journal) -> None:
        """Credit in this journal."""
        self._journal = journal
        assert journal.path.is_absolute(), "an open journal"
        assert CREDIT.count("?") == 4, "a place has four parts"

    def settle(self, run: int, posting: Posting, workers: Mapping[str, WorkerRow]) -> None:
        """Pay for a posting's slices, and note its span; what came before is paid once.

        Who must prove himself has what was not found again by the learner set aside, as long as the run may be taken
        back to before it.
        """
        db = self._journal.db
        assert db.in_transaction, "with the posting's other credits"
        for receipt in posting.slices:
            worker, amount = workers[receipt.worker], posting.row_rate * receipt.rows
            place = (run, posting.segment, posting.until_update, worker.number)
            if db.execute(f"SELECT 1 FROM learning WHERE {CREDIT}", place).fetchone():  # noqa: S608  of our own words
                continue
            waits = receipt.worker in posting.unproven and receipt.checked < receipt.rows
            seq = self._enter(posting, receipt.worker, worker, receipt.rows, amount, "pending" if waits else "posted")
            state = "pending" if waits else "paid"
            row = (*place[:2], posting.from_update, *place[2:], receipt.rows, receipt.checked, amount, seq, state)
            db.execute("INSERT INTO learning VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        if posting.gradient_rows:
            span = (run, posting.segment, posting.from_update, posting.until_update, posting.gradient_rows)
            db.execute("INSERT OR IGNORE INTO learned VALUES (?, ?, ?, ?, ?)", span)
        if posting.proven_before:
            self._let_go(run, posting)
        assert db.in_transaction, "still"

    def _enter(self, posting: Posting, name: str, worker: WorkerRow, rows: int, amount: int, kind: str) -> int:
        """Append the entry behind a credit; its number, 0 for what is worth nothing."""
        assert rows >= 0, "refused before"
        assert kind in ("posted", "pending"), "as work is entered"
        if not amount:
            return 0
        memo = {
            "run": posting.run_id,
            "segment": posting.segment,
            "from_update": posting.from_update,
            "until_update": posting.until_update,
            "worker": name,
            "gradient_rows": rows,
            "rate": posting.row_rate,
        }
        key = f"learning/{posting.run_id}/{posting.segment}/{posting.until_update}/{name}"
        return self._journal.append(kind, "learning", TREASURY, worker.owner, amount, key, memo).seq

    def _let_go(self, run: int, posting: Posting) -> None:
        """Pay what was set aside and the run would not be taken back behind any more."""
        assert posting.proven_before > 0, "rounds are counted from 0"
        db = self._journal.db
        rows = db.execute(
            "SELECT l.segment, l.until_update, l.worker, l.amount, l.seq, w.owner FROM learning l "
            "JOIN workers w ON w.id = l.worker WHERE l.run = ? AND l.state = 'pending' AND w.state != 'quarantined' "
            "AND (l.segment < ? OR l.until_update <= ?) ORDER BY l.segment, l.until_update, l.worker",
            (run, posting.segment, posting.proven_before),
        ).fetchall()
        for segment, until, worker, amount, seq, owner in rows:
            if seq:
                self._journal.append("post", "learning", TREASURY, owner, amount, f"post/{seq}", refers=seq)
            self._set((run, segment, until, worker), "paid")
        assert all(row[3] >= 0 for row in rows), "nothing costs the worker"

    def take_back(self, run: int, why: str, worker: WorkerRow) -> None:
        """Take a worker's credits back that were not all found again by the learner, each once."""
        assert run >= 1, "a run's number"
        db = self._journal.db
        rows = db.execute(
            "SELECT segment, until_update, amount, seq, state FROM learning WHERE run = ? AND worker = ? "
            "AND state IN ('paid', 'pending') AND checked < rows ORDER BY segment, until_update",
            (run, worker.number),
        ).fetchall()
        (run_id,) = db.execute("SELECT run_id FROM runs WHERE id = ?", (run,)).fetchone()
        for segment, until, amount, seq, state in rows:
            memo = {"run": run_id, "segment": segment, "until_update": until, "why": why}
            claw_back(self._journal, worker, state, amount, seq, memo)
            self._set((run, segment, until, worker.number), "clawed")
        assert all(row[4] in ("paid", "pending") for row in rows), "each once"

    def _set(self, place: Place, state: str) -> None:
        assert state in ("paid", "clawed"), "what may become of one"
        changed = self._journal.db.execute(f"UPDATE learning SET state = ? WHERE {CREDIT}", (state, *place)).rowcount  # noqa: S608  of our own words
        assert changed == 1, "the row is there"


def learned_of(journal: Journal, run: int) -> tuple[int, int]:
    """Rows of a run that are paid, and micro-tokens for them."""
    assert run >= 1, "a run's number"
    rows, amount = journal.db.execute(
        "SELECT coalesce(sum(rows), 0), coalesce(sum(amount), 0) FROM learning WHERE run = ? AND state = 'paid'", (run,)
    ).fetchone()
    assert rows >= 0, "counted"
    return rows, amount


def unlearned(journal: Journal, run: int, only: tuple[int, int, int] | None = None) -> list[tuple[int, int, int, int]]:
    """Spans of a run whose rows do not add up: (segment, from update, until update, counted minus accounted for).

    What the learner has taken from others between two checkpoints must have been credited, be it taken back later.
    """
    assert run >= 1, "a run's number"
    one = "" if only is None else " AND s.segment = ? AND s.from_update = ? AND s.until_update = ?"
    rows = journal.db.execute(
        "SELECT s.segment, s.from_update, s.until_update, s.rows - (SELECT coalesce(sum(l.rows), 0) FROM learning l "  # noqa: S608  of our own words; values are bound
        "WHERE l.run = s.run AND l.segment = s.segment AND l.until_update = s.until_update) FROM learned s "
        f"WHERE s.run = ?{one} ORDER BY s.segment, s.from_update",
        (run, *(only or ())),
    ).fetchall()
    assert all(len(row) == 4 for row in rows), "as described"
    return [row for row in rows if row[3]]


def wrong_learning(journal: Journal) -> Iterator[str]:
    """Credits for learning that the journal does not show, or shows otherwise, and spans that do not add up."""
    assert journal.db.in_transaction, "one view of the file"
    rows = journal.db.execute(
        "SELECT r.run_id, r.name, l.segment, l.until_update, w.name, w.owner, l.rows, l.amount, l.state, j.kind, "
        "j.amount, j.credit, json_extract(j.memo, '$.gradient_rows'), json_extract(j.memo, '$.rate'), "
        "json_extract(j.memo, '$.worker'), p.seq IS NOT NULL, "
        "EXISTS (SELECT 1 FROM journal k WHERE k.key = 'void/' || l.seq), "
        "EXISTS (SELECT 1 FROM journal k WHERE k.key = 'clawback/' || l.seq) FROM learning l "
        "JOIN runs r ON r.id = l.run JOIN workers w ON w.id = l.worker "
        "LEFT JOIN journal j ON j.seq = l.seq AND j.code = 'learning' "
        "LEFT JOIN journal p ON p.refers = l.seq AND p.kind = 'post' WHERE l.amount > 0 ORDER BY l.seq"
    )
    for run_id, name, segment, until, worker, owner, count, amount, state, *shown, let_go, voided, clawed in rows:
        assert run_id, "a run has an id"
        where = f"learning row of run {name}, segment {segment}, update {until}, worker {worker}"
        kind, moved, credit, told, rate, named = shown
        facts = (moved, credit, told, named, (told or 0) * (rate or 0))
        if kind not in ("posted", "pending") or facts != (amount, owner, count, worker, amount):
            yield f"{where}: the journal shows {facts}, the row {(amount, owner, count, worker, amount)}"
        paid = kind == "posted" or let_go
        wanted = {"paid": paid and not clawed, "pending": not (paid or voided), "clawed": voided or (paid and clawed)}
        if not wanted.get(state, False):
            yield f"{where}: is {state}, which the journal does not show"
    for (seq,) in journal.db.execute(
        "SELECT seq FROM journal WHERE code = 'learning' AND kind IN ('posted', 'pending') "
        "AND seq NOT IN (SELECT seq FROM learning) ORDER BY seq"
    ):
        yield f"journal row {seq}: its credit for learning is missing"
    for run, name in journal.db.execute("SELECT id, name FROM runs ORDER BY id").fetchall():
        for segment, first, until, missing in unlearned(journal, run):
            yield f"run {name}, segment {segment}, updates {first} to {until}: {missing} gradient rows are missing"


def learning_by_owner(journal: Journal, of_run: str, values: list[str]) -> dict[str, dict[str, int]]:
    """What each owner did and earned by learning; `of_run` says of which runs' workers, as SQL over `values`."""
    assert of_run.startswith("WHERE") or not of_run, "all, or some"
    with journal.readable_errors():
        rows = journal.db.execute(
            "SELECT w.owner, coalesce(sum(l.rows) FILTER (WHERE l.state = 'paid'), 0), "  # noqa: S608  of our own words; values are bound
            "coalesce(sum(l.amount) FILTER (WHERE l.state = 'paid'), 0), "
            "coalesce(sum(l.amount) FILTER (WHERE l.state = 'clawed' AND EXISTS "
            "(SELECT 1 FROM journal k WHERE k.key = 'clawback/' || l.seq)), 0) "
            f"FROM learning l JOIN workers w ON w.id = l.worker {of_run} GROUP BY w.owner",
            values,
        ).fetchall()
    found = {owner: {"gradient_rows": n, "learning": earned, "unlearned": gone} for owner, n, earned, gone in rows}
    assert all(row["learning"] >= 0 for row in found.values()), "nothing costs the worker"
    return found
