"""The keeper of a run's boundaries: which are passed, written to disk and posted, and what follows from a verdict."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from hydrahive.core.errors import TakenBackError
from hydrahive.core.interrupts import Interrupts
from hydrahive.runtime.accounting.audits import LEARNING, Caught
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.fleet.interface import Fleet
from hydrahive.runtime.runs.boundary import Boundary
from hydrahive.runtime.runs.checkpoints import Checkpoint, Segment
from hydrahive.runtime.runs.run_folder import Identity, RunFolder
from hydrahive.runtime.schedule.updates import Update
from hydrahive.runtime.training.books import Books
from hydrahive.runtime.training.clock import Clock
from hydrahive.runtime.training.story import Story

STORE_SECONDS = 600.0
"""Longest wait for a storage at a run's end: what it has not taken is lost with this machine."""


class Keeper:
    """Keeps boundaries whose audits are in, and writes those whose turn has come.

    Attributes:
        newest: The newest boundary that has passed; None before the first.
        resumable: The newest that the run can be continued from.
    """

    def __init__(
        self,
        config: RunConfig,
        folder: RunFolder,
        identity: Identity,
        fleet: Fleet,
        books: Books,
        story: Story,
        clock: Clock,
        start: Checkpoint | None,
    ) -> None:
        """Go on at the checkpoint `start`; `config` says where training ends this time."""
        self._config, self._folder, self._identity, self._fleet = config, folder, identity, fleet
        self._accounts, self._audits = books.accounts, books.audits
        self._story, self._clock = story, clock
        self._store = folder.checkpoints(config.checkpoint.keep)
        self.newest: Boundary | None = start.boundary if start else None
        self.resumable = self.newest
        self._on_disk = {start.boundary.updates} if start else set()
        self._unstored: deque[tuple[int, int]] = deque()
        """Of checkpoints that may not be stored yet: their tickets, and how many postings they hold."""
        self._ends = False
        self.held: Callable[[], frozenset[int]] = frozenset
        """Gives the boundaries whose checkpoints are kept whatever else is."""

    def ends_at(self, update: Update, *, is_ended: bool = False) -> bool:
        """Whether the run ends at this update's boundary; said once, for the clock goes on.

        `is_ended`: somebody has decided so.
        """
        boundary, stop = update.boundary, self._config.stop
        self._ends = boundary is not None and (is_ended or boundary.progress.reached(stop, self._clock.seconds))
        return self._ends

    def let_pass(self, interrupts: Interrupts, *, wait: bool = False) -> None:
        """Keep the boundaries whose audits are in; `wait` for all of them, as is done at the end.

        Raises:
            TakenBackError: If an audit caught a worker.
        """
        for passed in self._audits.passed(wait=wait or self._ends):
            if isinstance(passed, Caught):
                self._take_back(passed)
            else:
                self._keep(passed, interrupts)

    def _keep(self, boundary: Boundary, interrupts: Interrupts) -> None:
        """Keep a boundary, and write it if its turn has come."""
        self.newest = boundary
        if boundary.resumable:
            self.resumable = boundary
            number = boundary.updates // self._config.boundary_every
            if number % self._config.checkpoint.every_boundaries == 0 or boundary.updates in self.held():
                with interrupts.held_back():
                    self._save(boundary)

    def _save(self, boundary: Boundary) -> None:
        """Write a boundary with all that is owed for what led to it; once that is durable, post it."""
        self._folder.fence.see()
        if boundary.updates in self._on_disk:
            return
        self._story.sync()
        self._accounts.judge(self._audits.take_verdicts())
        self._accounts.seal(boundary.progress, boundary.updates - (0 if self._ends else self._reach))
        standings = self._audits.standings
        self._store.write(
            boundary,
            self._clock.seconds,
            self._identity.machine_class,
            fingerprint=self._identity.fingerprint,
            outbox=self._accounts.outbox(),
            standings=standings.as_plain(),
            way_back=standings.way_back(boundary.updates, self._reach),
            held=self.held(),
        )
        self._on_disk.add(boundary.updates)
        self._unstored.append((self._folder.store_soon(), self._accounts.sealed))
        self.tend()

    def tend(self) -> None:
        """Have what is durable posted, and hear what came of what was posted before."""
        self._folder.look_at_storing(self._story.event)
        stored = None
        while self._unstored and self._unstored[0][0] <= self._folder.stored_up_to:
            _, stored = self._unstored.popleft()
        if stored is not None:
            self._accounts.post(self._story.event, stored)
        self._accounts.tend(self._story.event)

    def save_newest(self) -> None:
        """Write the newest boundary that the run can be continued from, if there is one."""
        if self.resumable:
            self._save(self.resumable)

    def save_end(self) -> None:
        """Write the run's end, and the boundary that a longer run would go on from."""
        self.save_newest()
        self._save(self.end)

    @property
    def end(self) -> Boundary:
        """The boundary that the run ends, or is held, at."""
        assert self.newest is not None, "a run ends at a boundary"
        return self.newest

    @property
    def _reach(self) -> int:
        """Updates that the run may be taken back."""
        return self._config.audit.window * self._config.boundary_every

    def _take_back(self, caught: Caught) -> None:
        """Have the run go on from before what cannot be believed, without the worker.

        Raises:
            TakenBackError: Always; what must outlive this process is on the disk.
        """
        tainted = caught.boundary.updates - caught.believed_until > self._reach
        up_to = caught.verdict.from_round if tainted else caught.believed_until
        target, _ = self._store.newest(resumable=True, up_to=up_to, with_replay=True)
        at = target.boundary.updates if target else 0
        verdict, worker = caught.verdict, caught.worker
        why = (
            f"audit: worker {worker.name} of {worker.owner} (node {worker.node}) computed something else for "
            f"{verdict.text if verdict.shard == LEARNING else f'shard {verdict.shard}, {verdict.text}'}"
        )
        facts = {"worker": worker.name, "owner": worker.owner, "node": worker.node, "shard": verdict.shard}
        event = self._story.event
        event("audit_failed", why, from_round=verdict.from_round, until_round=verdict.until_round, **facts)
        self._accounts.judge(self._audits.take_verdicts())
        self._folder.begin_segment(Segment(at, why, tainted, self._accounts.condemn(verdict, worker)))
        self._fleet.quarantine(worker, "an audit caught it")
        self._store_all()
        self._accounts.finish(event)
        if tainted:
            text = f"what it did since update {caught.believed_until} was never verified: the run is marked tainted"
            event("tainted", text)
        event("taken_back", f"the run is taken back to update {at}", updates=at)
        raise TakenBackError(why)

    def go_back(self, target: int, why: str, interrupts: Interrupts) -> None:
        """Have the run go on from a boundary as a new segment; what was done since is paid, for it was consumed.

        Raises:
            TakenBackError: Always; what must outlive this process is on the disk.
        """
        self.let_pass(interrupts, wait=True)
        self._accounts.judge(self._audits.take_verdicts())
        self._folder.begin_segment(Segment(target, why, owed=self._accounts.abandon()))
        self._store_all()
        self._accounts.finish(self._story.event)
        self._story.event("taken_back", f"the run goes on from update {target}", updates=target)
        raise TakenBackError(why)

    def settle(self) -> None:
        """Have the ledger answer everything; if it has, the next who trains the run need not post it again."""
        self._store_all()
        self._accounts.finish(self._story.event)
        if self._accounts.is_settled:
            self._folder.note_posted(len(self._folder.segments()), self.end.updates)

    def _store_all(self) -> None:
        """Have everything stored, before it is paid."""
        self._folder.send(STORE_SECONDS, self._story.event)
        self._unstored.clear()

    def how_to_resume(self, what: str) -> str:
        """What has happened, and what of the run is kept, in words."""
        if self.resumable is None:
            return f"{what}; no boundary was reached yet, the same command starts over"
        at = self.resumable.progress.env_steps
        return f"{what}; the run is kept up to {at:,} env steps, the same command resumes it there"
