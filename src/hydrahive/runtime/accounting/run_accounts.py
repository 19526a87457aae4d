"""A run's own books: receipts on their way into checkpoints, and postings on their way from there to the ledger."""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hydrahive.core.errors import CheckpointError, LedgerError, RefusedError, RefusedWorkError
from hydrahive.core.receipt import Consumed, Receipt, SliceReceipt
from hydrahive.ledger.posting import Lease, Posting, Sealed, Verdict, WorkerFacts, sealed
from hydrahive.ledger.prices import Price
from hydrahive.runtime.fleet.ledger_line import Answer, LedgerLine, RunAccount
from hydrahive.runtime.fleet.refs import Listener
from hydrahive.runtime.runs.boundary import Progress
from hydrahive.runtime.schedule.updates import Update

LAST_WORD_SECONDS = 30.0
"""Longest wait for the ledger at the end of a run; what it has not answered is posted when that is run again."""


@dataclass(frozen=True)
class _Taken:
    """What one update consumed: receipts, their workers, and their leases' first rounds."""

    update: int
    receipts: tuple[Receipt, ...]
    workers: tuple[WorkerFacts, ...]
    leased_since: tuple[int, ...]


@dataclass(frozen=True)
class _Helped:
    """What a worker found of an update's gradients: rows, and how many of them the learner found, too."""

    update: int
    worker: WorkerFacts
    rows: int
    checked: int


class RunAccounts:
    """Collects what updates consumed, seals it at each checkpoint, and posts it until the ledger has answered.

    What was not posted travels in the checkpoints (`outbox`): delivery is at least once, and the ledger pays each
    fragment once. A ledger that is away delays payment, never training.
    """

    def __init__(
        self,
        account: RunAccount,
        price: Price,
        segment: int,
        start: Progress,
        line: LedgerLine | None,
        outbox: Sequence[Sealed] = (),
        must_prove: Callable[[WorkerFacts], bool] = lambda worker: False,
        row_rate: int = 0,
        *,
        reported: bool = False,
    ) -> None:
        """Keep the books from a checkpoint on.

        Args:
            account: The run.
            price: Of an env step.
            segment: The run's.
            start: Where it begins.
            line: To the ledger; None if no accounts are kept.
            outbox: What was not posted before.
            must_prove: Whether a worker's pay is set aside until what it did was verified.
            row_rate: Micro-tokens for a row that somebody else found the gradient of.
            reported: Nobody can compute the work again.
        """
        self._reported = reported
        self._row_rate, self._helped = row_rate, list[_Helped]()
        self._must_prove, self._accused = must_prove, list[WorkerFacts]()
        self._account, self._price, self._segment, self._line = account, price, segment, line
        self._sealed_up_to = (start.updates, start.env_steps)
        self._taken: deque[_Taken] = deque()
        self._verdicts: list[Verdict] = []
        self._unposted: list[Sealed] = list(outbox)
        self.sealed = len(self._unposted)
        """Postings so far."""
        self._under_way = 0
        self._was_away = False
        self.credited: dict[str, int] = {}

    def take(self, update: Update) -> None:
        """Note what an update consumed."""
        if self._line is None:
            return
        at = update.progress.updates - 1
        fragments = list(update.work.by_fragment())
        receipts = tuple(self._receipt(fragment, worker, at) for fragment, worker, _ in fragments)
        workers = tuple(worker for _, worker, _ in fragments)
        self._taken.append(_Taken(at, receipts, workers, tuple(since for *_, since in fragments)))
        told = [(worker, one) for worker, one in update.work.helped if one.rows]
        self._helped += [_Helped(at, worker, one.rows, one.rows if one.audited else 0) for worker, one in told]

    def judge(self, verdicts: Sequence[Verdict]) -> None:
        """Note what audits found."""
        self._verdicts += verdicts

    def accuse(self, worker: WorkerFacts, refused: RefusedWorkError, at: int) -> None:
        """Note that a worker gave something else than was asked for, found in update `at`; nothing came of it."""
        self._accused.append(worker)
        round_ = refused.round
        self._verdicts.append(
            Verdict(refused.shard, round_, max(round_ + 1, at), "refused", (worker.name,), 0, refused.what)
        )

    def drop_from(self, update: int) -> None:
        """Forget what was consumed from this update on: it is being done again."""
        while self._taken and self._taken[-1].update >= update:
            self._taken.pop()
        self._helped = [helped for helped in self._helped if helped.update < update]
        self._verdicts = [verdict for verdict in self._verdicts if verdict.until_round <= update]

    def seal(self, at: Progress, proven_before: int = 0) -> None:
        """Close the books at a boundary that is about to be written: a posting of all that came before it.

        Args:
            at: The boundary.
            proven_before: The round up to which what was set aside is let go, where the machine was found honest since.
        """
        if self._line is None:
            return
        mine = [taken for taken in self._taken if taken.update < at.updates]
        self._taken = deque(taken for taken in self._taken if taken.update >= at.updates)
        # A verdict goes with the receipts that it is about, or after them.
        verdicts = tuple(verdict for verdict in self._verdicts if verdict.until_round <= at.updates)
        self._verdicts = [verdict for verdict in self._verdicts if verdict.until_round > at.updates]
        from_update, from_steps = self._sealed_up_to
        helped = [one for one in self._helped if one.update < at.updates]
        self._helped = [one for one in self._helped if one.update >= at.updates]
        workers = tuple(dict.fromkeys((*_workers(mine), *(one.worker for one in helped), *self._accused)))
        self._accused.clear()
        posting = Posting(
            self._account.run_id,
            self._segment,
            from_update,
            at.updates,
            at.env_steps - from_steps,
            self._price,
            workers,
            _leases(mine),
            tuple(receipt for taken in mine for receipt in taken.receipts),
            verdicts,
            unproven=tuple(worker.name for worker in workers if self._must_prove(worker)),
            proven_before=max(0, proven_before),
            slices=_slices(helped),
            gradient_rows=sum(one.rows for one in helped),
            row_rate=self._row_rate,
            reported=self._reported,
        )
        self._add(posting)
        self._sealed_up_to = (at.updates, at.env_steps)

    def _add(self, posting: Posting) -> None:
        self._unposted.append(sealed(posting, self._account.key))
        self.sealed += 1

    def condemn(self, verdict: Verdict, worker: WorkerFacts) -> list[dict[str, Any]]:
        """Close the books of a part of the run that is taken back; all that the ledger must have of it, as plain data.

        What was consumed since the last checkpoint is everybody's, but the worker's who was caught: that is claimed,
        and voided. Others' pay waits until their machines are verified, for nobody will look at this part any more.
        """
        return self._closed((*self._verdicts, verdict), worker)

    def abandon(self) -> list[dict[str, Any]]:
        """Likewise of a part that the run's pilot goes back from: it was consumed, so all of it is paid."""
        return self._closed(tuple(self._verdicts), None)

    def _closed(self, verdicts: tuple[Verdict, ...], caught: WorkerFacts | None) -> list[dict[str, Any]]:
        if self._line is None:
            return []
        mine, (from_update, _) = list(self._taken), self._sealed_up_to
        name = None if caught is None else caught.name
        receipts = [receipt for taken in mine for receipt in taken.receipts]
        honest = tuple(receipt for receipt in receipts if receipt.worker != name)
        helped = [one for one in self._helped if one.worker != caught]
        present = [*_workers(mine), *(one.worker for one in helped)]
        self._helped.clear()
        posting = Posting(
            self._account.run_id,
            self._segment,
            from_update,
            max((taken.update + 1 for taken in mine), default=from_update),
            sum(receipt.env_steps for receipt in honest),
            self._price,
            tuple(dict.fromkeys((*present, *self._accused, *([] if caught is None else [caught])))),
            _leases(mine),
            honest,
            verdicts,
            tuple(receipt for receipt in receipts if receipt.worker == name),
            unproven=tuple(one.name for one in dict.fromkeys(present) if self._must_prove(one)),
            slices=_slices(helped),
            gradient_rows=sum(one.rows for one in helped),
            row_rate=self._row_rate,
            reported=self._reported,
        )
        self._taken.clear()
        self._verdicts.clear()
        self._accused.clear()
        self._add(posting)
        return [given.as_plain() for given in self._unposted]

    def outbox(self) -> bytes | None:
        """All that is not answered yet, as a checkpoint carries it."""
        if self._line is None:
            return None
        return json.dumps([posting.as_plain() for posting in self._unposted]).encode()

    @property
    def is_settled(self) -> bool:
        """Whether the ledger has answered everything that was sealed."""
        return not self._unposted

    @property
    def outstanding(self) -> int:
        """Receipts that the ledger has not answered yet."""
        return sum(len(given.posting.receipts) for given in self._unposted)

    def post(self, listener: Listener, up_to: int | None = None) -> None:
        """Hand over what is not answered yet, unless a call is under way.

        Args:
            listener: Is told what comes of it.
            up_to: How many of all postings are in checkpoints that are durable; None for all.
        """
        answered = self.sealed - len(self._unposted)
        ready = (self.sealed if up_to is None else up_to) - answered
        if self._line is None or self._under_way or ready <= 0:
            return
        self._under_way = ready
        self._line.post(self._account, self._unposted[: self._under_way])
        self.tend(listener)

    def tend(self, listener: Listener, timeout_s: float = 0) -> None:
        """Take the ledger's answer, if it is there."""
        if self._line is None or not self._under_way:
            return
        try:
            answer = self._line.answer(timeout_s)
        except LedgerError as error:
            self._under_way = 0
            if isinstance(error, RefusedError):
                listener("ledger_refused", f"the ledger refuses this run: {error}")
            elif not self._was_away:
                text = f"the ledger does not answer ({error}); training goes on, payment waits"
                listener("ledger_away", text)
            self._was_away = True
            return
        if answer is not None:
            self._hear(answer, listener)

    def finish(self, listener: Listener) -> None:
        """Post what is left and wait for the answer, but not for ever."""
        self.tend(listener, LAST_WORD_SECONDS)
        self.post(listener)
        self.tend(listener, LAST_WORD_SECONDS)
        if self._unposted and self._line is not None:
            text = f"{self.outstanding} receipts are not paid yet; the same command posts them again"
            listener("ledger_outstanding", text, receipts=self.outstanding)

    def figures(self) -> dict[str, Any]:
        """What the ledger last said of this run, for rows and the summary."""
        if self._line is None:
            return {}
        return {**self.credited, "outstanding_receipts": self.outstanding}

    def _receipt(self, fragment: Consumed, worker: WorkerFacts, at: int) -> Receipt:
        id_ = fragment.id
        return Receipt(self._segment, id_.round, id_.shard, at, worker.name, fragment.env_steps, fragment.digest)

    def _hear(self, answer: Answer, listener: Listener) -> None:
        if self._was_away:
            self._was_away = False
            listener("ledger_back", "the ledger answers again")
        del self._unposted[: self._under_way]
        self._under_way = 0
        for refusal in answer.refused:
            listener("ledger_refused", f"the ledger refused: {refusal}")
        last = next((settled for settled in reversed(answer.settled) if settled), None)
        if last is not None:
            self.credited = {
                "credited_env_steps": last.credited_env_steps,
                "credited_microtokens": last.credited_microtokens,
                "credited_gradient_rows": last.learned_rows,
                "credited_learning_microtokens": last.learned_microtokens,
                "conservation_difference": sum(s.conservation_difference for s in answer.settled if s),
            }


def read_outbox(outbox: bytes | None) -> tuple[Sealed, ...]:
    """The postings that a checkpoint carries.

    Raises:
        CheckpointError: If they cannot be read.
    """
    if outbox is None:
        return ()
    try:
        return tuple(Sealed.from_plain(plain) for plain in json.loads(outbox))
    except (AttributeError, ValueError, KeyError, TypeError, AssertionError) as error:
        raise CheckpointError(f"its outbox cannot be read ({error!r})") from None


def _slices(helped: Sequence[_Helped]) -> tuple[SliceReceipt, ...]:
    """What each worker has found, in all."""
    rows, checked = Counter[str](), Counter[str]()
    for one in helped:
        rows[one.worker.name] += one.rows
        checked[one.worker.name] += one.checked
    return tuple(SliceReceipt(name, count, checked[name]) for name, count in sorted(rows.items()))


def _workers(taken: Sequence[_Taken]) -> tuple[WorkerFacts, ...]:
    return tuple(dict.fromkeys(worker for one in taken for worker in one.workers))


def _leases(taken: Sequence[_Taken]) -> tuple[Lease, ...]:
    """Who had which shard from when on, until the last round that was consumed from him."""
    until: dict[tuple[int, str, int], int] = {}
    for one in taken:
        for receipt, since in zip(one.receipts, one.leased_since, strict=True):
            key = (receipt.shard, receipt.worker, since)
            until[key] = max(until.get(key, 0), receipt.round + 1)
    return tuple(Lease(shard, worker, since, end) for (shard, worker, since), end in sorted(until.items()))
