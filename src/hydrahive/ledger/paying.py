"""From receipts to credits: every fragment that a learner consumed is paid once, to whom its bytes came from."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hydrahive.core.errors import RefusedError
from hydrahive.core.receipt import Receipt
from hydrahive.ledger.credit_rows import AMOUNT, STEPS, Credit, Credits, WorkerRow, conservation, credit_of, total
from hydrahive.ledger.entries import TREASURY
from hydrahive.ledger.journal import Journal
from hydrahive.ledger.learning import LearningCredits, learned_of, unlearned
from hydrahive.ledger.posting import FAULTS, OUTCOMES, Posting, Sealed, SealKey, Verdict, malformed, seal_of
from hydrahive.ledger.prices import DEAREST
from hydrahive.ledger.verdicts import Verdicts

VOUCHED_FOR = (
    "c.round < ? AND (c.audit = 'bonded' OR (c.audit = 'replayed' OR (c.audit = 'none' AND c.segment < ?)) "
    "AND EXISTS (SELECT 1 FROM credits v JOIN workers o ON o.id = v.worker WHERE v.run = c.run "
    "AND v.audit = 'verified' AND v.round >= c.round AND (o.owner, o.node) = (w.owner, w.node)))"
)
"""Credits of a machine that was later found honest in full: those whose environments' steps were computed again, and
those of a part that was taken back before anybody could look. And those that were found right and kept as a bond."""

MOST_STEPS = 2**48
"""Env steps of one fragment at most: no machine does more in its life."""

MOST_MINTED = 2**62
"""Micro-tokens that a ledger mints in all: half of what its integers hold, so that no sum of them overflows."""


@dataclass(frozen=True)
class Settled:
    """The ledger's answer to a posting; what it counts is durable.

    Attributes:
        ledger_id: Of the ledger.
        head: Number and hash of the newest entry: who notes it can later prove that nothing before it was changed.
        paid: Receipts that were paid now, or set aside until what they are for is verified.
        known: Receipts that had been paid before.
        refused: What was refused, in words.
        credited_env_steps: Of the run so far, paid and not taken back.
        credited_microtokens: Likewise.
        conservation_difference: Env steps that the run's learner consumed and the ledger does not account for, and
            rows of gradients that it took from others likewise.
        learned_rows: Rows of gradients that are paid and not taken back.
        learned_microtokens: For them.
    """

    ledger_id: str
    head: tuple[int, str]
    paid: int
    known: int
    refused: tuple[str, ...]
    credited_env_steps: int
    credited_microtokens: int
    conservation_difference: int
    learned_rows: int = 0
    learned_microtokens: int = 0


class Work:
    """Settles postings."""

    def __init__(self, journal: Journal) -> None:
        """Credit work in this journal."""
        self._journal, self._credits = journal, Credits(journal)
        self._learning = LearningCredits(journal)
        self._verdicts = Verdicts(journal, self._credits, self._learning)
        assert journal.path.is_absolute(), "an open journal"
        self._broken: dict[int, dict[tuple[int, int, int], int]] = {}
        """Of each run the spans that do not add up."""
        assert not journal.db.in_transaction, "between two transactions"

    def open_run(self, run_id: str, name: str, owner: str, key: SealKey) -> None:
        """Note a run and the key of its seals; asked again it changes nothing.

        Args:
            run_id: Its UUID.
            name: For people.
            owner: The account of the run's user.
            key: The run's secret.

        Raises:
            RefusedError: If the run is known with another key or owner; recorded.
        """
        assert len(key) >= 32, "too short a key could be guessed"
        assert run_id, "a run has an id"
        with self._journal.transaction():
            row = self._journal.db.execute("SELECT seal_key FROM runs WHERE run_id = ?", (run_id,)).fetchone()
            if row is None:
                self._journal.opened(owner)
                self._journal.db.execute(
                    "INSERT INTO runs (run_id, name, owner, seal_key) VALUES (?, ?, ?, ?)", (run_id, name, owner, key)
                )
                return
            same = hmac.compare_digest(row[0], key)
        if not same:
            raise self._journal.refuse("wrong-seal", run_id, f"run {run_id}: is known with another seal")

    def settle(self, given: Sealed) -> Settled:
        """Take over a posting: pay what is to be paid, in one transaction, and answer what there is now.

        A receipt that was paid before is counted, not paid again. One that is not in order is refused by itself;
        a posting whose seal does not fit, or whose receipts do not add up, is refused as a whole.

        Raises:
            RefusedError: If the posting is refused; nothing has moved, and the refusal is recorded.
        """
        posting = given.posting
        wrong = "its seal is none" if not given.seal.isascii() else malformed(posting) or _wrong_order(posting)
        if wrong:
            raise self._journal.refuse("malformed", str(posting.run_id)[:100] or "?", f"a posting is none: {wrong}")
        assert posting.from_update <= posting.until_update, "time goes forward"
        run = self._run_of(given)
        refused: list[str] = []
        paid: dict[tuple[int, int, int], Credit] = {}
        known = 0
        with self._journal.transaction():
            workers = self._enlist(run, posting)
            self._note_leases(run, posting, workers)
            set_aside = self._set_aside(posting)
            for receipt in posting.receipts:
                place = (receipt.segment, receipt.round, receipt.shard)
                reason = "twice" if place in paid else self._reason_against(run, posting, receipt, workers)
                if reason == "known":
                    known += 1
                elif reason:
                    refused.append(self._refuse_receipt(posting, receipt, reason))
                else:
                    waits = set_aside(receipt)
                    paid[place] = self._pay(run, posting, receipt, workers[receipt.worker], waits=waits)
            self._credits.note(paid.values())
            self._credits.add_to_run(run, total(paid, STEPS), total(paid, AMOUNT))
            if known:
                first = posting.receipts[0]
                text = f"{known} receipts came again (the first: {_name(posting, first)}); paid once"
                self._journal.refuse("replayed", posting.run_id, text)
            self._note_span(run, posting)
            self._learning.settle(run, posting, workers)
            for verdict in posting.verdicts:
                claimed = [r for r in posting.voided if not self._reason_against(run, posting, r, workers)]
                self._verdicts.judge(run, posting, verdict, workers, claimed)
            if posting.proven_before:
                self._credits.let_go(run, VOUCHED_FOR, posting.proven_before, posting.segment)
            answer = self._answer(run, posting, len(paid), known, refused)
        assert len(paid) + known + len(refused) == len(posting.receipts), "every receipt was looked at"
        return answer

    def _run_of(self, given: Sealed) -> int:
        """The run's number, if the posting is its own and adds up."""
        posting = given.posting
        row = self._journal.db.execute("SELECT id, seal_key FROM runs WHERE run_id = ?", (posting.run_id,)).fetchone()
        if row is None:
            raise self._journal.refuse("unknown-run", posting.run_id, f"run {posting.run_id}: is not known here")
        if not row[1]:
            text = f"run {posting.run_id}: this is a copy of a ledger without its runs' keys; nothing is paid into it"
            raise self._journal.refuse("no-seal", posting.run_id, text)
        if not hmac.compare_digest(seal_of(posting, row[1]), given.seal):
            text = f"run {posting.run_id}: the posting was altered, or is not sealed by this run"
            raise self._journal.refuse("wrong-seal", posting.run_id, text)
        self._refuse_too_dear(posting)
        steps = sum(receipt.env_steps for receipt in posting.receipts)
        inside = all(posting.from_update <= receipt.at_update < posting.until_update for receipt in posting.receipts)
        if steps != posting.env_steps or not inside:
            text = (
                f"run {posting.run_id}: the receipts of updates {posting.from_update} to {posting.until_update} add up "
                f"to {steps} env steps; the learner consumed {posting.env_steps}"
            )
            raise self._journal.refuse("not-conserved", posting.run_id, text)
        rows = sum(receipt.rows for receipt in posting.slices)
        if rows != posting.gradient_rows:
            text = f"run {posting.run_id}: slices of {rows} rows; the learner took {posting.gradient_rows} from others"
            raise self._journal.refuse("not-conserved", posting.run_id, text)
        assert isinstance(row[0], int), "a number"
        assert row[0] >= 1, "counted from 1"
        return row[0]

    def _refuse_too_dear(self, posting: Posting) -> None:
        """A price above the ledger's own cap, or sums that a file's integers would not hold: refused as a whole."""
        price, claimed = posting.price, (*posting.receipts, *posting.voided)
        assert MOST_MINTED < 2**63, "SQLite's integers take it"
        whole = all(type(one) is int and one >= 0 for one in (price.rate, price.weight))
        if not whole or max(price.rate * price.weight, posting.row_rate) > DEAREST:
            text = f"run {posting.run_id}: asks {price.rate} x {price.weight} micro-tokens a step; at most {DEAREST}"
            raise self._journal.refuse("too-dear", posting.run_id, text)
        amount = sum(price.amount(max(0, receipt.env_steps)) for receipt in claimed)
        amount += posting.row_rate * posting.gradient_rows
        treasury = self._journal.account(TREASURY)
        minted = treasury.debits + treasury.debits_pending if treasury else 0
        if minted + amount > MOST_MINTED:
            text = f"run {posting.run_id}: the ledger has minted {minted} micro-tokens of the {MOST_MINTED} it can hold"
            raise self._journal.refuse("no-headroom", posting.run_id, text)
        assert minted + amount < 2**63, "SQLite's integers take it"

    def _enlist(self, run: int, posting: Posting) -> dict[str, WorkerRow]:
        """The workers that a posting names, noted if they are new; a worker's owner never changes."""
        assert run >= 1, "a run's number"
        db = self._journal.db
        for worker in posting.workers:
            db.execute(
                "INSERT OR IGNORE INTO workers (run, name, owner, node, state) VALUES (?, ?, ?, ?, 'trusted')",
                (run, worker.name, worker.owner, worker.node),
            )
        rows = db.execute("SELECT name, id, owner FROM workers WHERE run = ?", (run,))
        workers = {name: WorkerRow(number, owner) for name, number, owner in rows}
        assert {worker.name for worker in posting.workers} <= set(workers), "all are noted"
        return workers

    def _note_leases(self, run: int, posting: Posting, workers: dict[str, WorkerRow]) -> None:
        assert run >= 1, "a run's number"
        rows = [
            (run, posting.segment, lease.shard, workers[lease.worker].number, lease.from_round, lease.until_round)
            for lease in posting.leases
            if lease.worker in workers
        ]
        self._journal.db.executemany("INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?, ?, ?)", rows)
        assert len(rows) <= len(posting.leases), "no more than were given"

    def _reason_against(self, run: int, posting: Posting, receipt: Receipt, workers: dict[str, WorkerRow]) -> str:
        """Why a receipt is not paid: `known`, or a reason to refuse it; empty if it is to be paid."""
        assert run >= 1, "a run's number"
        place = (run, receipt.segment, receipt.round, receipt.shard)
        row = self._journal.db.execute(
            "SELECT env_steps, digest FROM credits WHERE run = ? AND segment = ? AND round = ? AND shard = ?", place
        ).fetchone()
        if row is not None:
            return "known" if row == (receipt.env_steps, receipt.digest) else "conflict"
        if receipt.segment != posting.segment:
            return "other-segment"
        if receipt.env_steps < 0:
            return "negative"
        worker = workers.get(receipt.worker)
        if worker is None:
            return "unknown-worker"
        lease = self._journal.db.execute(
            "SELECT 1 FROM leases WHERE run = ? AND segment = ? AND shard = ? AND worker = ? AND from_round <= ? "
            "AND (until_round IS NULL OR until_round > ?) LIMIT 1",
            (run, receipt.segment, receipt.shard, worker.number, receipt.round, receipt.round),
        ).fetchone()
        assert lease in (None, (1,)), "there is one or none"
        return "" if lease else "not-leased"

    def _refuse_receipt(self, posting: Posting, receipt: Receipt, reason: str) -> str:
        assert reason, "a refusal has a reason"
        words = {
            "conflict": "was consumed before with other bytes or steps",
            "other-segment": f"is of segment {receipt.segment}, the posting of {posting.segment}",
            "twice": "is in the posting twice",
            "negative": f"claims {receipt.env_steps} env steps",
            "unknown-worker": f"names the worker {receipt.worker!r}, whom nobody knows",
            "not-leased": f"was never leased to {receipt.worker!r}",
        }
        refusal = self._journal.refuse(reason, posting.run_id, f"{_name(posting, receipt)}: {words[reason]}")
        assert isinstance(refusal, RefusedError), "recorded"
        return str(refusal)

    @staticmethod
    def _set_aside(posting: Posting) -> Callable[[Receipt], bool]:
        """What says whether a receipt's pay must wait: whoever must prove himself has not, in this posting."""
        unproven = frozenset(posting.unproven)
        verified = [verdict for verdict in posting.verdicts if verdict.outcome == "verified"]
        assert unproven <= {worker.name for worker in posting.workers}, "they are named"
        spans: dict[int, list[Verdict]] = {}
        for verdict in verified:
            spans.setdefault(verdict.shard, []).append(verdict)
        assert len(verified) == sum(map(len, spans.values())), "each of one shard"

        def waits(receipt: Receipt) -> bool:
            of_shard = spans.get(receipt.shard, [])
            assert all(one.shard == receipt.shard for one in of_shard), "its own"
            assert all(one.from_round <= one.until_round for one in of_shard), "time goes forward"
            return receipt.worker in unproven and not any(
                one.from_round <= receipt.round < one.until_round for one in of_shard
            )

        return waits

    def _pay(self, run: int, posting: Posting, receipt: Receipt, worker: WorkerRow, *, waits: bool) -> Credit:
        """Credit a worker's owner for a fragment; what is worth nothing makes no entry. The row to note.

        `waits`: set it aside until it is verified. What was only reported is worth nothing but to the run's own user.
        """
        unpaid = posting.reported and worker.owner != self._owner_of(run)
        amount = 0 if unpaid else posting.price.amount(receipt.env_steps)
        assert amount >= 0, "work costs the worker nothing"
        kind = "pending" if waits else "posted"
        seq = self._credits.enter(kind, posting, receipt, worker, amount) if amount else 0
        assert seq >= 0, "entries are numbered from 1"
        return credit_of(run, receipt, worker, amount, seq, "pending" if waits else "paid")

    def _owner_of(self, run: int) -> str:
        """The account of a run's user."""
        assert run >= 1, "a run's number"
        (owner,) = self._journal.db.execute("SELECT owner FROM runs WHERE id = ?", (run,)).fetchone()
        assert owner, "a run has one"
        return str(owner)

    def _note_span(self, run: int, posting: Posting) -> None:
        """Note what the learner counted between two checkpoints, for conservation."""
        assert run >= 1, "a run's number"
        if posting.from_update == posting.until_update:
            return
        self._journal.db.execute(
            "INSERT OR IGNORE INTO spans VALUES (?, ?, ?, ?, ?)",
            (run, posting.segment, posting.from_update, posting.until_update, posting.env_steps),
        )
        assert posting.env_steps >= 0, "steps are counted"

    def _missing(self, run: int, posting: Posting) -> int:
        """Env steps of a run that are not accounted for, of all its spans; each is looked at when it is posted."""
        span = (posting.segment, posting.from_update, posting.until_update)
        if run not in self._broken:
            self._broken[run] = {row[:3]: row[3] for row in conservation(self._journal, run)}
        broken = self._broken[run]
        broken.pop(span, None)
        broken |= {row[:3]: row[3] for row in conservation(self._journal, run, span)}
        assert all(broken.values()), "only what does not add up"
        assert self._broken[run] is broken, "kept for the next posting"
        unaccounted = sum(abs(missing) for *_, missing in unlearned(self._journal, run, span))
        return sum(abs(missing) for missing in broken.values()) + unaccounted

    def _answer(self, run: int, posting: Posting, paid: int, known: int, refused: Sequence[str]) -> Settled:
        assert paid >= 0, "counted"
        steps, amount = self._journal.db.execute("SELECT env_steps, amount FROM runs WHERE id = ?", (run,)).fetchone()
        difference = self._missing(run, posting)
        head = self._journal.head()
        assert head[0] >= 0, "entries are numbered from 1"
        learned = learned_of(self._journal, run)
        return Settled(self._journal.ledger_id, head, paid, known, tuple(refused), steps, amount, difference, *learned)


def _wrong_order(posting: Posting) -> str:
    """What in a posting is the wrong way round, or names what is not there; empty if nothing does."""
    names = {worker.name for worker in posting.workers}
    assert isinstance(posting.workers, tuple), "looked at before"
    if not set(posting.unproven) <= names:
        return "it names workers that it does not have"
    for verdict in posting.verdicts:
        if verdict.outcome not in OUTCOMES or verdict.from_round > verdict.until_round:
            return f"a verdict {verdict.outcome!r} on rounds {verdict.from_round} to {verdict.until_round}"
        if verdict.outcome in FAULTS and not set(verdict.workers) <= names:
            return "a verdict on workers that it does not have"
    if not {receipt.worker for receipt in posting.slices} <= names:
        return "slices of workers that it does not have"
    if len({receipt.worker for receipt in posting.slices}) < len(posting.slices):
        return "slices of one worker twice"
    if any(not 0 <= receipt.checked <= receipt.rows <= MOST_STEPS for receipt in posting.slices):
        return "slices of no number of rows"
    steps = (receipt.env_steps for receipt in (*posting.receipts, *posting.voided))
    if any(abs(count) > MOST_STEPS for count in steps):
        return "more env steps than there are"
    assert posting.from_update <= posting.until_update, "in order"
    return ""


def _name(posting: Posting, receipt: Receipt) -> str:
    """A fragment's name for people."""
    assert posting.run_id, "a run has an id"
    assert receipt.round >= 0, "counted from 0"
    return f"run {posting.run_id}, segment {receipt.segment}, round {receipt.round}, shard {receipt.shard}"
