"""The door: what a request means is looked up here, once, and handed on."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path

from hydrahive.core.errors import UsageError
from hydrahive.core.sink import Sink
from hydrahive.core.state import State
from hydrahive.ledger.ledger import ledger_path
from hydrahive.runtime.cluster.address import is_embedded
from hydrahive.runtime.config.changes import algorithms
from hydrahive.runtime.config.piloted import course_of
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.runs.run_folder import RunFolder
from hydrahive.runtime.training.request import Request
from hydrahive.runtime.training.resuming import Found, found_for, initial_weights, weights_in


@dataclass(frozen=True)
class Admitted:
    """A run that may be trained.

    Attributes:
        config: Its config.
        folder: Where it is written.
        run_id: Its id, minted if it is new.
        title: What the ledger and the dashboard call it.
        found: What there is of it.
        ledger: Where the ledger lies; None if only the cluster knows, or no accounts are kept.
        initial: The weights it begins with, where it does not draw its own.
        accept_versions: Whether it goes on with other versions than it was computed with so far.
        quiet: Whether to show no progress.
        sinks: Who else hears its story.
        oddities: What a look at its environment found worth telling.
    """

    config: RunConfig
    folder: RunFolder
    run_id: str
    title: str
    found: Found
    ledger: Path | None = None
    initial: State | None = None
    accept_versions: bool = False
    quiet: bool = False
    sinks: tuple[Sink, ...] = ()
    oddities: tuple[str, ...] = ()


def admitted(request: Request) -> Admitted:
    """What a request means, looked up.

    Raises:
        UsageError: If it cannot be met; nothing was written.
        HydrahiveError: If the run, or what it is stored in, cannot be read.
    """
    folder, config = request.folder, request.config
    algorithms(config)  # refuses what cannot change
    ledger = where_ledger_lies(config, folder, request.runs, request.address) if config.ledger.enabled else None
    folder.prove_writable()
    folder.refresh()
    if folder.exists():
        with folder.claimed():
            pass  # whoever has no chance need not gather a fleet first
    found = found_for(folder, config, request.resume)
    if config.pilot:
        course_of(config, found.start.boundary.updates if found.start else 0)  # refuses what it cannot move
    given = weights_in(request.init_from, request.runs, config) if request.init_from else None
    return Admitted(
        config,
        folder,
        found.identity.run_id if found.identity else str(uuid.uuid4()),
        request.title or folder.name,
        found,
        ledger,
        initial_weights(folder, found.identity, given),
        request.accept_versions,
        request.quiet,
        request.sinks,
    )


def where_ledger_lies(config: RunConfig, folder: RunFolder, runs: Path, address: str | None) -> Path | None:
    """Where the ledger lies; None if only the cluster knows.

    Raises:
        UsageError: If nobody has said it: beside runs in a storage there is no local disk.
    """
    path = ledger_path(config.ledger.path, None if folder.stored else runs)
    if path is None and (config.workers == 0 or is_embedded(address)):
        raise UsageError(
            "HYDRAHIVE_LEDGER: runs at a URI have no ledger beside them; name its file, on a local disk, or give "
            "--ledger.enabled false"
        )
    return path
