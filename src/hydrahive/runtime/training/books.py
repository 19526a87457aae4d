"""A run's books: its line to the ledger, its accounts and its audits, opened and closed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from hydrahive.core.durable import read_json, write_whole
from hydrahive.ledger.audit_rules import Standings
from hydrahive.ledger.ledger import Ledger
from hydrahive.ledger.posting import Sealed, WorkerFacts
from hydrahive.ledger.prices import price_of
from hydrahive.runtime.accounting.audits import Audits
from hydrahive.runtime.accounting.run_accounts import RunAccounts, read_outbox
from hydrahive.runtime.cluster.address import is_embedded
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.fleet.interface import Fleet
from hydrahive.runtime.fleet.ledger_line import DirectLine, LedgerLine, RunAccount
from hydrahive.runtime.runs.boundary import Progress
from hydrahive.runtime.runs.checkpoints import Checkpoint
from hydrahive.runtime.runs.newest import BEST
from hydrahive.runtime.runs.run_folder import RunFolder
from hydrahive.runtime.runs.run_user import run_user
from hydrahive.runtime.training.admission import Admitted
from hydrahive.runtime.training.request import say
from hydrahive.runtime.training.summary import summary_of


@dataclass(frozen=True)
class Books:
    """What a run keeps besides its bytes: who is owed what, and whose work was computed again."""

    accounts: RunAccounts
    audits: Audits


@contextmanager
def ledger_line(run: Admitted, fleet: Fleet) -> Iterator[LedgerLine | None]:
    """A line to the ledger for as long as the run is trained; None where no accounts are kept.

    Raises:
        LedgerError: If the ledger cannot be used.
    """
    if not run.config.ledger.enabled:
        yield None
        return
    line = fleet.ledger_line(run.ledger)
    try:
        yield line
    finally:
        line.close()


def _account(run: Admitted) -> RunAccount:
    return RunAccount(run.run_id, run.title, run_user(), run.folder.secret())


def outbox_of(folder: RunFolder, start: Checkpoint | None) -> list[Sealed]:
    """What the ledger may not have answered of a run that goes on from a checkpoint.

    Raises:
        CheckpointError: If it cannot be read.
    """
    segments = folder.segments()
    if start and folder.was_posted(len(segments), start.boundary.updates):
        return []
    outbox = [*read_outbox(start.outbox)] if start else []
    outbox += [Sealed.from_plain(plain) for segment in segments for plain in segment.owed]
    # A checkpoint carries what was owed before it, too.
    return list({one.seal: one for one in outbox}.values())


def books_of(
    run: Admitted,
    fleet: Fleet,
    line: LedgerLine | None,
    start: Checkpoint | None,
    most_waiting: int,
    before: Books | None = None,
) -> Books:
    """The run's accounts and audits from `start` on; `before` are those until it was taken back."""
    config, folder = run.config, run.folder
    segments = folder.segments()
    fleet.segment = len(segments)
    outbox = outbox_of(folder, start)
    progress = start.boundary.progress if start else Progress()
    price = price_of(config.ledger, config.env.step_weight)

    def must_prove(worker: WorkerFacts) -> bool:
        """Whoever earns for another account than the run's user's, where there are audits to do it with."""
        return worker.owner != run_user() and fleet.audits(worker)

    rate = config.ledger.microtokens_per_row
    accounts = RunAccounts(
        _account(run), price, len(segments), progress, line, outbox, must_prove, rate,
        reported=config.schedule == "rllib",
    )  # fmt: skip
    if before:
        standings = before.audits.standings
        standings.go_back(progress.updates)
    else:
        standings = Standings.from_plain(config.audit, start.standings if start else {})
    begin = start.boundary if start else None
    audits = Audits(fleet, standings, folder.secret(), len(segments), begin, most_waiting)
    fleet.oversee(folder.secret(), standings)
    audits.audited_env_steps = before.audits.audited_env_steps if before else 0
    return Books(accounts, audits)


def summary_if_finished(run: Admitted, address: str | None) -> dict[str, Any] | None:
    """The summary of a run that has already reached its stop; what it still owes is posted."""
    identity, folder, config = run.found.identity, run.folder, run.config
    if identity is None:
        return None
    last, _ = folder.checkpoints().newest()
    if last is None or not _is_finished(folder, config, last):
        return None
    written = folder.read_summary()
    summary = written or summary_of(last.boundary, last.seconds, identity, config, folder.name)
    owes = written is None or (written.get("ledger") or {}).get("outstanding_receipts", 0)
    if config.ledger.enabled and owes:
        summary["ledger"] = _settle_outbox(run, address, last)
        write_whole(folder.summary, json.dumps(summary, indent=1).encode())
        folder.publish(folder.summary)
    return summary


def _is_finished(folder: RunFolder, config: RunConfig, last: Checkpoint) -> bool:
    """Whether a run's newest checkpoint is its end; a pilot may have ended it, and has something to do in the end."""
    reached = last.boundary.progress.reached(config.stop, last.seconds)
    if config.pilot is None:
        return reached
    best = read_json(folder.path / BEST) or {}
    is_whole = best.get("finished") == last.boundary.updates
    return is_whole and (reached or best.get("ends") is not None)


def _settle_outbox(run: Admitted, address: str | None, last: Checkpoint) -> dict[str, Any]:
    """Post what a finished run has not been answered for; what the ledger says of it then.

    Raises:
        LedgerError: If the ledger cannot be used.
    """
    config = run.config
    with ExitStack() as stack:
        if config.workers == 0 or is_embedded(address):
            assert run.ledger is not None, "runs are in a folder"
            line: LedgerLine = DirectLine(Ledger(run.ledger))
        else:
            from hydrahive.runtime.cluster.connecting import connected
            from hydrahive.runtime.coordinator.actor import CoordinatorLine

            stack.enter_context(connected(address))
            line = CoordinatorLine(run.ledger, embedded=False)
        stack.callback(line.close)
        price = price_of(config.ledger, config.env.step_weight)
        progress = last.boundary.progress
        accounts = RunAccounts(_account(run), price, 0, progress, line, outbox_of(run.folder, last))
        accounts.finish(say)
        return accounts.figures()
