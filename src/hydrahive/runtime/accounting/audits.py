"""The audits of a run: which intervals are computed again, and what follows from what is found."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from hydrahive.core.errors import MOST_SAID, LostError, RefusedWorkError, one_line
from hydrahive.core.fragment import HERE, REPLAYED, VERIFIED
from hydrahive.core.receipt import Consumed
from hydrahive.ledger.audit_rules import Standings, slicing
from hydrahive.ledger.posting import Verdict, WorkerFacts
from hydrahive.runtime.fleet.interface import AuditorCalls, EnvWorkerCalls, Opening
from hydrahive.runtime.fleet.refs import Ref
from hydrahive.runtime.roles.auditor import AuditJob, Finding, shard_digest
from hydrahive.runtime.runs.boundary import Boundary
from hydrahive.runtime.schedule.updates import Update, Work

ATTEMPTS = 3
"""How often an audit is begun again when its auditor is lost."""


LEARNING = -1
"""In place of a shard: what a verdict is about was learning."""


class AuditedFleet(AuditorCalls, EnvWorkerCalls, Opening, Protocol):
    """What audits ask of a fleet."""


@dataclass(frozen=True)
class Caught:
    """A worker whose interval was invalid.

    Attributes:
        worker: Who.
        verdict: What was found.
        believed_until: The round from which on its work cannot be believed.
        boundary: The cut at the end of the interval.
    """

    worker: WorkerFacts
    verdict: Verdict
    believed_until: int
    boundary: Boundary


@dataclass(frozen=True)
class _CaughtSlicing:
    """A worker that gave another gradient than a slice's, of whose slices not all were found again before."""

    at: int
    worker: WorkerFacts
    verdict: Verdict


@dataclass
class _Audit:
    """An audit under way."""

    job: AuditJob
    weights: tuple[Ref, ...]
    workers: tuple[WorkerFacts, ...]
    lent: tuple[str, ...]
    giver: WorkerFacts
    finding: Ref
    auditor: int
    attempts: int = 1


@dataclass
class _Waiting:
    """A boundary, and the audits of what led to it.

    Attributes:
        boundary: Where the way ends.
        start: Where it begins; None for the run's beginning.
        works: What was done on it.
        givers: Who gave each shard's state at its end.
        ends: Whether the run ends here.
        audits: Of the shards; None until the boundary at the start has passed, for nothing that is not yet believed is
            restored.
    """

    boundary: Boundary
    start: Boundary | None
    works: list[Work]
    givers: tuple[WorkerFacts, ...]
    ends: bool
    audits: list[_Audit] | None = None


class Audits:
    """Lets a boundary pass once every interval that led to it was audited as the rules want it.

    Only such boundaries are written or returned to, so that every checkpoint is an honest one as far as is known.
    """

    def __init__(
        self,
        fleet: AuditedFleet,
        standings: Standings,
        secret: bytes,
        segment: int,
        start: Boundary | None,
        most_waiting: int = 1,
    ) -> None:
        """Audit from `start` on, which is believed, or from the beginning.

        Args:
            fleet: Whose work it is, and who computes it again.
            standings: What is known of the nodes.
            secret: The run's; draws depend on it.
            segment: The run's.
            start: Where the run begins.
            most_waiting: Boundaries that may wait for their audits; then the run waits, too, so that what they need
                stays bounded.
        """
        self._most_waiting = most_waiting
        self._fleet, self.standings, self._secret, self._segment = fleet, standings, secret, segment
        self._verdicts: list[Verdict] = []
        self._auditors = 0
        self.audited_env_steps = 0
        self._refused: set[WorkerFacts] = set()
        self.restart(start)

    def restart(self, start: Boundary | None) -> None:
        """Begin again at a boundary that has passed; what was found behind it will be found again."""
        at = start.updates if start else 0
        self._verdicts = [verdict for verdict in self._verdicts if verdict.until_round <= at]
        self._start = start
        self._since_start: list[Work] = []
        self._waiting: deque[_Waiting] = deque()
        self._caught_slicing: _CaughtSlicing | None = None

    def take(self, update: Update, *, ends: bool = False) -> None:
        """Note an update; at a cut, get ready to audit what led to it.

        `ends`: it is the run's last; whoever has done what was not yet computed again in full is audited so.
        """
        self._take_slices(update)
        if self._fleet.may_audit:  # else nobody will ask, and the object store may have the weights' memory back
            self._since_start.append(update.work)
        if update.boundary is None:
            return
        works = [*self._since_start]
        self._waiting.append(_Waiting(update.boundary, self._start, works, update.givers, ends))
        if update.boundary.resumable:
            self._start, self._since_start = update.boundary, []
        self._first()

    def _take_slices(self, update: Update) -> None:
        """Note what slice workers did: what the learner found again was found so before it counted.

        Of whoever gave something else nothing was used in this update. If not all of what he did before was found
        again, the run goes back to before that.
        """
        at = update.progress.updates - 1
        for worker, helped in update.work.helped:
            node = slicing(worker.node)
            if helped.wrong and node in self.standings.unverified and self._caught_slicing is None:
                text = f"slices of update {at}: {one_line(helped.wrong)[:MOST_SAID]}"
                verdict = Verdict(LEARNING, at, at + 1, "invalid", (worker.name,), 0, text)
                self._caught_slicing = _CaughtSlicing(at, worker, verdict)
            elif helped.wrong and worker not in self._refused:
                self._refused.add(worker)
                self._fleet.refuse(helped.worker, RefusedWorkError(LEARNING, at, helped.wrong))
                self.standings.catch(node, at)
            elif helped.slices and self._fleet.audits(worker):
                self.standings.note([node], at, in_full=helped.audited)

    def take_verdicts(self) -> list[Verdict]:
        """What was found valid since the last call."""
        verdicts, self._verdicts = self._verdicts, []
        return verdicts

    def passed(self, *, wait: bool) -> Iterator[Boundary | Caught]:
        """The boundaries whose audits are in, in order; the first worker that was caught ends them.

        Args:
            wait: For all of them; else only until no more than `most_waiting` are left.

        Raises:
            LostError: If auditors, or what they need, are lost again and again.
        """
        while self._waiting:
            must_wait = wait or len(self._waiting) > self._most_waiting
            slicing_ = self._caught_slicing
            if slicing_ is not None and slicing_.at < self._waiting[0].boundary.updates:
                believed = self.standings.catch(slicing(slicing_.worker.node), slicing_.at)
                yield Caught(slicing_.worker, slicing_.verdict, believed, self._waiting[0].boundary)
                return
            first, audits = self._first()
            for audit in list(audits):
                if not must_wait and not self._fleet.ready([audit.finding], 0):
                    return
                finding = self._found(audit)
                if finding is None:
                    continue
                audits.remove(audit)
                caught = self._judged(audit, finding, first.boundary)
                if caught:
                    yield caught
                    return
            if not audits:
                self._waiting.popleft()
                if self._waiting:
                    self._first()
                yield first.boundary

    def _first(self) -> tuple[_Waiting, list[_Audit]]:
        """The boundary that is next to pass, its start having passed, and its audits, begun by now."""
        first = self._waiting[0]
        if first.audits is None:
            by_shard = _by_shard(first.works)
            begun = (self._begun(shard, first, by_shard.get(shard, [])) for shard in range(len(first.givers)))
            first.audits = [audit for audit in begun if audit is not None]
            first.works = []
        return first, first.audits

    def _begun(self, shard: int, on: _Waiting, mine: Sequence[_Done]) -> _Audit | None:
        """The audit of a shard's way to a boundary; None if nobody on it is audited, or all was looked at before."""
        boundary, giver, start = on.boundary, on.givers[shard], on.start
        workers = tuple(worker for _, _, worker in mine)
        if not any(map(self._fleet.audits, (*workers, giver))):
            return None
        first_round = start.updates if start else 0
        nodes = {worker.node for worker in (*workers, giver) if self._fleet.audits(worker)}
        in_full = self.standings.is_drawn(self._secret, self._segment, shard, first_round, sorted(nodes))
        in_full |= on.ends and any(node in self.standings.unverified for node in nodes)
        unseen = [done for done in mine if not done[0].lent.get(shard)]
        in_full |= any(consumed.actions is None for _, consumed, _ in unseen)  # nobody else would check those rounds
        if not self._fleet.audits(giver) and self._was_seen(shard, mine, first_round, in_full=in_full):
            return None
        # Of what was stepped here already there are no actions: all of it is computed again, or nothing.
        in_full |= any(consumed.actions is None for _, consumed, _ in mine)
        job = AuditJob(
            shard,
            start.shard(shard) if start else None,
            first_round,
            tuple(consumed for _, consumed, _ in mine),
            tuple(work.told.get(shard, "") for work, _, _ in mine),
            tuple(work.acting for work, _, _ in mine),
            in_full,
            shard_digest(boundary.shard(shard), in_full=in_full),
        )
        weights = tuple(work.weights for work, _, _ in mine) if in_full else ()
        lent = tuple(work.lent.get(shard, "") for work, _, _ in mine)
        if REPLAYED in lent and lent[-1] in (REPLAYED, HERE):
            giver = workers[len(lent) - 1 - lent[::-1].index(REPLAYED)]  # who says what the agent carries on
        return _Audit(job, weights, workers, lent, giver, self._fleet.audit(job, weights), self._auditors)

    def _was_seen(self, shard: int, mine: Sequence[_Done], first_round: int, *, in_full: bool) -> bool:
        """Whether who lent acting has looked at a shard's way already, in full or as far as it has to be looked at."""
        theirs = [done for done in mine if self._fleet.audits(done[2])]
        seen = [work.lent.get(shard, "") for work, _, _ in theirs]
        if not all(seen) or (in_full and not all(how == VERIFIED for how in seen)):
            return False
        is_whole = all(how == VERIFIED for how in seen)
        nodes = sorted({worker.node for _, _, worker in theirs})
        is_bond = any(map(self.standings.is_new, nodes))
        if not is_whole or len(theirs) == len(mine):  # nobody earns trust by a round now and then
            self.standings.note(nodes, first_round, in_full=is_whole)
        env_steps = sum(consumed.env_steps for _, consumed, _ in theirs)
        self.audited_env_steps += env_steps
        names = tuple(dict.fromkeys(worker.name for _, _, worker in theirs))
        outcome = "replayed" if not is_whole else "bonded" if is_bond else "verified"
        self._verdicts.append(Verdict(shard, first_round, first_round + len(mine), outcome, names, env_steps))
        return True

    def _blamed(self, audit: _Audit, at: int) -> WorkerFacts:
        """Who is to be blamed for what differs in an interval's round: whoever acted in it.

        Where that was who had lent it, it went on from what the last one who was lent to said is carried on.
        """
        lent = [i for i in range(at) if audit.lent[i] == REPLAYED]
        return audit.workers[lent[-1]] if audit.lent[at] == HERE and lent else audit.workers[at]

    def _found(self, audit: _Audit) -> Finding | None:
        """What came of an audit; None if it had to be begun again."""
        try:
            with self._fleet.waits.of("audit", f"the audit of shard {audit.job.shard}"):
                finding: Finding = self._fleet.get(audit.finding)
        except LostError:
            if audit.attempts >= ATTEMPTS:
                raise
            audit.attempts += 1
            if audit.auditor == self._auditors:  # else another audit that was lost with it has seen to that
                self._fleet.forget_auditor()
                self._auditors += 1
            audit.auditor = self._auditors
            audit.finding = self._fleet.audit(audit.job, audit.weights)
            return None
        return finding

    def _judged(self, audit: _Audit, finding: Finding, boundary: Boundary) -> Caught | None:
        self.audited_env_steps += finding.env_steps
        job = audit.job
        until = job.first_round + len(job.consumed)
        if finding.wrong is None:
            nodes = [worker.node for worker in set(audit.workers) if self._fleet.audits(worker)]
            self.standings.note(sorted(set(nodes)), job.first_round, in_full=job.in_full)
            outcome = "verified" if job.in_full else "replayed"
            names = tuple(dict.fromkeys(worker.name for worker in audit.workers))
            self._verdicts.append(Verdict(job.shard, job.first_round, until, outcome, names, finding.env_steps))
            return None
        at = "at the end" if finding.round is None else f"in round {finding.round}"
        worker = audit.giver if finding.round is None else self._blamed(audit, finding.round - job.first_round)
        verdict = Verdict(
            job.shard,
            job.first_round,
            until,
            "invalid",
            (worker.name,),
            finding.env_steps,
            f"{at}: {one_line(finding.wrong)[:MOST_SAID]}",
        )
        return Caught(worker, verdict, self.standings.catch(worker.node, job.first_round), boundary)


_Done = tuple[Work, Consumed, WorkerFacts]
"""What a shard did in a round, and who computed it."""


def _by_shard(works: Iterable[Work]) -> dict[int, list[_Done]]:
    """What each shard did, in the order of the rounds."""
    done: dict[int, list[_Done]] = {}
    for work in works:
        for one, worker, _ in work.by_fragment():
            done.setdefault(one.id.shard, []).append((work, one, worker))
    return done
