"""What follows from audits: shares of credits that were computed again, and what a caught worker loses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hydrahive.core.receipt import Receipt
from hydrahive.ledger.credit_rows import Credits, WorkerRow, credit_of
from hydrahive.ledger.entries import TREASURY
from hydrahive.ledger.journal import Journal
from hydrahive.ledger.posting import OUTCOMES, Posting, Verdict


class Verdicts:
    """Notes verdicts, each once."""

    def __init__(self, journal: Journal, credits_: Credits) -> None:
        """Judge in this journal."""
        self._journal, self._credits = journal, credits_
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
        if verdict.outcome == "invalid":
            self._void(run, posting, claimed, workers)
            for name in verdict.workers:
                self._claw_back(run, posting, verdict, workers[name])
            return
        self._journal.db.execute(
            "UPDATE credits SET audit = ? WHERE run = ? AND segment = ? AND shard = ? AND round >= ? AND round < ? "
            "AND state = 'paid'",
            (verdict.outcome, *interval),
        )

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
        """Take back what a worker earned in this run without its having been verified; he may owe it afterwards."""
        assert verdict.outcome == "invalid", "only then"
        db = self._journal.db
        db.execute("UPDATE workers SET state = 'quarantined' WHERE id = ?", (worker.number,))
        rows = db.execute(
            "SELECT segment, round, shard, amount, seq, env_steps FROM credits "
            "WHERE run = ? AND worker = ? AND state = 'paid' AND audit != 'verified' ORDER BY segment, round, shard",
            (run, worker.number),
        ).fetchall()
        for segment, round_, shard, amount, seq, env_steps in rows:
            self._credits.add_to_run(run, -env_steps, -amount)
            if amount:
                memo = {"run": posting.run_id, "segment": segment, "round": round_, "shard": shard, "why": verdict.text}
                self._journal.append(
                    "posted", "clawback", worker.owner, TREASURY, amount, f"clawback/{seq}", memo, refers=seq
                )
            changed = db.execute(
                "UPDATE credits SET state = 'clawed' WHERE run = ? AND segment = ? AND round = ? AND shard = ?",
                (run, segment, round_, shard),
            ).rowcount
            assert changed == 1, "the row was just read"
