"""What follows from audits: shares of credits that were computed again, and what a caught worker loses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hydrahive.core.receipt import Receipt
from hydrahive.ledger.credit_rows import Credits, WorkerRow, claw_back, credit_of
from hydrahive.ledger.entries import TREASURY
from hydrahive.ledger.journal import Journal
from hydrahive.ledger.learning import LearningCredits
from hydrahive.ledger.posting import FAULTS, OUTCOMES, Posting, Verdict


class Verdicts:
    """Notes verdicts, each once."""

    def __init__(self, journal: Journal, credits_: Credits, learning: LearningCredits) -> None:
        """Judge in this journal."""
        self._journal, self._credits, self._learning = journal, credits_, learning
        assert journal.path.is_absolute(), "an open journal"
        assert OUTCOMES, "audits have outcomes"

    def judge(
        self, run: int, posting: Posting, verdict: Verdict, workers: Mapping[str, WorkerRow], claimed: Sequence[Receipt]
    ) -> None:
        """Note a verdict once, and undo what a worker earned that computed something else.

        Args:
            run: The run's number.
            posting: What carries the verdict.
            verdict: What was found.
            workers: The run's, by name.
            claimed: Receipts in order that are not paid because of it.
        """
        assert verdict.outcome in OUTCOMES, verdict.outcome
        assert verdict.from_round <= verdict.until_round, "time goes forward"
        interval = (run, posting.segment, verdict.shard, verdict.from_round, verdict.until_round)
        new = self._journal.db.execute(
            "INSERT OR IGNORE INTO audits (time_us, run, segment, shard, from_round, until_round, outcome, workers, "
            "env_steps, text) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self._journal.now_us(),
                *interval,
                verdict.outcome,
                ",".join(verdict.workers),
                verdict.env_steps,
                verdict.text,
            ),
        ).rowcount
        if not new:
            return
        if verdict.outcome in FAULTS:
            self._void(run, posting, claimed, workers)
            for name in verdict.workers:
                self._claw_back(run, posting, verdict, workers[name])
            return
        self._journal.db.execute(
            "UPDATE credits SET audit = ? WHERE run = ? AND segment = ? AND shard = ? AND round >= ? AND round < ? "
            "AND state IN ('paid', 'pending')",
            (verdict.outcome, *interval),
        )
        if verdict.outcome == "verified":
            within = "c.segment = ? AND c.shard = ? AND c.round >= ? AND c.round < ?"
            self._credits.let_go(run, within, *interval[1:])

    def _void(self, run: int, posting: Posting, claimed: Sequence[Receipt], workers: Mapping[str, WorkerRow]) -> None:
        """Note work that was claimed and is not paid: entered as pending, and voided in the same breath."""
        assert run >= 1, "a run's number"
        for receipt in claimed:
            worker, amount = workers[receipt.worker], posting.price.amount(receipt.env_steps)
            seq = 0
            if amount:
                seq = self._credits.enter("pending", posting, receipt, worker, amount)
                key = f"void/{seq}"
                self._journal.append("void", "audit", TREASURY, worker.owner, amount, key, refers=seq)
            assert seq >= 0, "entries are numbered from 1"
            self._credits.note([credit_of(run, receipt, worker, amount, seq, "voided")])

    def _claw_back(self, run: int, posting: Posting, verdict: Verdict, worker: WorkerRow) -> None:
        """Take back what was earned in this run without having been verified, on this worker's node or for its account.

        What is set aside is let go of; what was paid may be owed afterwards. The account has a strike.
        """
        assert verdict.outcome in FAULTS, "only then"
        db = self._journal.db
        (node,) = db.execute("SELECT node FROM workers WHERE id = ?", (worker.number,)).fetchone()
        run_owner = db.execute("SELECT owner FROM runs WHERE id = ?", (run,)).fetchone()[0]
        # The run's own user is not held to account for his other machines.
        by_account = worker.owner if worker.owner != run_owner else None
        alike = db.execute(
            "SELECT id, owner FROM workers WHERE run = ? AND (id = ? OR node = ? OR owner = ?)",
            (run, worker.number, node, by_account),
        ).fetchall()
        for number, owner in alike:
            db.execute("UPDATE workers SET state = 'quarantined' WHERE id = ?", (number,))
            self._take_back(run, posting, verdict, WorkerRow(number, owner))
            self._learning.take_back(run, verdict.text, WorkerRow(number, owner))
        assert worker.number in {number for number, _ in alike}, "himself, too"
        if by_account is not None:
            self._journal.strike(by_account, posting.run_id, node, verdict.text or verdict.outcome)

    def _take_back(self, run: int, posting: Posting, verdict: Verdict, worker: WorkerRow) -> None:
        """Take a worker's credits back that were not verified, each once."""
        assert run >= 1, "a run's number"
        rows = self._journal.db.execute(
            "SELECT segment, round, shard, amount, seq, env_steps, state FROM credits WHERE run = ? AND worker = ? "
            "AND (state = 'pending' OR (state = 'paid' AND audit NOT IN ('verified', 'bonded'))) "
            "ORDER BY segment, round, shard",
            (run, worker.number),
        ).fetchall()
        for segment, round_, shard, amount, seq, env_steps, state in rows:
            memo = {"run": posting.run_id, "segment": segment, "round": round_, "shard": shard, "why": verdict.text}
            if state == "paid":
                self._credits.add_to_run(run, -env_steps, -amount)
            claw_back(self._journal, worker, state, amount, seq, memo)
            self._credits.set_state(run, (segment, round_, shard), "clawed")
        assert all(row[5] >= 0 for row in rows), "steps are counted"
