"""A fork: a trial that goes on from the best boundary of another, whose pilot has ended it, with other values."""

from __future__ import annotations

import dataclasses
import uuid

from hydrahive.core.durable import read_json
from hydrahive.core.errors import HydrahiveError
from hydrahive.runtime.config.changes import in_force, value_of
from hydrahive.runtime.config.parsing import load_run_config
from hydrahive.runtime.config.run_config import Change
from hydrahive.runtime.runs.newest import BEST, REPETITION
from hydrahive.runtime.runs.run_folder import RunFolder


def begin_fork(folder: RunFolder, donor: RunFolder) -> int:
    """Have a run begin with another's best boundary, if it has not; the updates at which that lies.

    Its config is the other's with what the pilot had decided until then as changes, and with the fork's values from
    there on: trained from scratch, that gives the same bytes.

    Raises:
        HydrahiveError: If the other is not to be forked, or its best boundary is gone.
    """
    best, told = read_json(donor.path / BEST), (donor.read_summary() or {}).get("pilot") or {}
    values = told.get("fork")
    if best is None or values is None:
        raise HydrahiveError(f"{donor.name} is not to be forked")
    at = int(best["updates"])
    if folder.exists():
        return at
    found = donor.checkpoints().at(at, with_replay=True)
    if found is None:
        raise HydrahiveError(f"{donor.name} has no checkpoint at update {at} any more")
    repetition = load_run_config(donor.path / REPETITION)
    before = [change for change in repetition.changes if change.from_update < at]
    current = in_force(dataclasses.replace(repetition, changes=before), at)
    changes = [Change(at, key, value) for key, value in values.items() if value_of(current, key) != value]
    config = dataclasses.replace(donor.config(trusted=None), changes=[*before, *changes])
    identity = dataclasses.replace(donor.identity(), run_id=str(uuid.uuid4()))
    folder.path.mkdir(parents=True, exist_ok=True)
    outbox = b"[]" if found.outbox is not None else None
    folder.checkpoints().write(
        found.boundary, found.seconds, found.machine_class, fingerprint=found.fingerprint, outbox=outbox
    )
    folder.create(identity, config)
    return at
