"""What there is of a run before it is trained, and whether that fits what is wanted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from hydrahive.core.errors import HydrahiveError, MachineClassError, UsageError
from hydrahive.core.state import State, digest_of_state, under
from hydrahive.policies.flat_weights import FlatWeights
from hydrahive.runtime.config.changes import without_future
from hydrahive.runtime.config.plain import first_difference
from hydrahive.runtime.fleet.fleet import Fleet
from hydrahive.runtime.roles.env_worker import build_network
from hydrahive.runtime.runs.checkpoints import Checkpoint, read_checkpoint
from hydrahive.runtime.runs.run_folder import Identity, RunFolder, find_run
from hydrahive.runtime.training.request import Request


@dataclass(frozen=True)
class Found:
    """What there is of a run.

    Attributes:
        identity: Who it is; None before it is created.
        start: The checkpoint to go on from.
        passed_over: Why newer ones are not.
    """

    identity: Identity | None = None
    start: Checkpoint | None = None
    passed_over: tuple[str, ...] = ()


def found_for(request: Request) -> Found:
    """What there is of the run that is wanted.

    Raises:
        UsageError: If the request contradicts what is there.
    """
    folder = request.folder
    if not folder.exists():
        if request.resume == "required":
            raise UsageError(f"--resume required: there is no run {folder.name!r} in {folder.path.parent}")
        return Found()
    if request.resume == "never":
        raise UsageError(f"--resume never: run {folder.name!r} exists already; choose another --name")
    start, passed_over = folder.checkpoints().newest(resumable=True, with_replay=True)
    done = start.boundary.updates if start else 0
    difference = first_difference(without_future(folder.config(), done), without_future(request.config, done))
    if difference:
        key, old, new = difference
        raise UsageError(
            f"{key}: run {folder.name!r} was started with {old!r}, now {new!r} is given; "
            "choose another --name to train with it"
        )
    if start is None and request.resume == "required":
        raise UsageError(f"--resume required: run {folder.name!r} has no checkpoint yet")
    return Found(folder.identity(), start, tuple(passed_over))


def initial_weights(request: Request) -> State:
    """The learner state that `--init-from` names.

    Raises:
        UsageError: If there is none, or its weights are those of another network.
    """
    assert request.init_from is not None
    path = Path(request.init_from)
    if (path / "manifest.json").is_file():
        state = read_checkpoint(path).boundary.learner()
    else:
        folder = find_run(request.runs, request.init_from)
        newest, _ = folder.checkpoints().newest()
        if newest is None:
            raise UsageError(f"--init-from: run {folder.name!r} has no checkpoint")
        state = newest.boundary.learner()
    weights = FlatWeights(build_network(request.config, torch.Generator()))
    try:
        weights.load_named(weights.vector, under("weights", state))
    except ValueError as error:
        raise UsageError(f"--init-from: {error}; the run's network is another one than this config's") from None
    return state


def _weights_digest(initial: State | None) -> str | None:
    return digest_of_state(under("weights", initial)) if initial else None


def refuse_other_weights(identity: Identity | None, initial: State | None) -> None:
    """Refuse weights to start from that are not those that the run was started from.

    Raises:
        UsageError: If they are given and others.
    """
    if identity and initial and identity.init_from != _weights_digest(initial):
        raise UsageError("--init-from: the run was started from other weights; choose another --name")


def settled_identity(identity: Identity | None, run_id: str, fleet: Fleet, initial: State | None) -> Identity:
    """The run's identity, made if it is new.

    Raises:
        MachineClassError: If the run's bytes were made on another class of machine.
    """
    machine_class = fleet.machine_class()
    if identity is None:
        return Identity(run_id, machine_class, _weights_digest(initial))
    if identity.machine_class != machine_class:
        raise MachineClassError(
            f"the run was started on machine class {identity.machine_class}, this is {machine_class}; "
            "its bytes cannot be continued here (--init-from starts a new run from its weights)"
        )
    return identity


def refuse_if_trained_meanwhile(folder: RunFolder, existed: bool, start: Checkpoint | None) -> None:
    """Another process may have trained the run between our look at it and our claim.

    Raises:
        HydrahiveError: If so; what was found before the claim is stale.
    """
    newest, _ = folder.checkpoints().newest(resumable=True, with_replay=True)
    if folder.exists() != existed or (newest.path if newest else None) != (start.path if start else None):
        raise HydrahiveError(
            f"run {folder.name!r} was trained by another process meanwhile; the same command goes on from there"
        )
