"""What there is of a run before it is trained, and whether that fits what is wanted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from hydrahive.core.errors import HydrahiveError, MachineClassError, UsageError, VersionsError
from hydrahive.core.state import State, digest_of_state, under
from hydrahive.policies.flat_weights import FlatWeights
from hydrahive.runtime.config.changes import without_future
from hydrahive.runtime.config.fingerprint import difference_in_words
from hydrahive.runtime.config.machine_class import is_same_class
from hydrahive.runtime.config.named_code import is_code_trusted, named_code
from hydrahive.runtime.config.plain import as_plain, first_difference
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.fleet.interface import LearnerCalls
from hydrahive.runtime.roles.env_worker import build_network
from hydrahive.runtime.runs import ownership
from hydrahive.runtime.runs.checkpoints import Checkpoint, read_checkpoint
from hydrahive.runtime.runs.newest import newest_checkpoint
from hydrahive.runtime.runs.run_folder import Identity, RunFolder, find_run

TAKEN_OVER = ("weights/", "observations/", "returns/")
"""What a run takes over of another's learner: its weights, and the statistics by which it normalises."""


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


def found_for(folder: RunFolder, config: RunConfig, resume: str) -> Found:
    """What there is of the run that is wanted.

    Raises:
        UsageError: If the request contradicts what is there.
    """
    if not folder.exists():
        if resume == "required":
            raise UsageError(f"--resume required: there is no run {folder.name!r} in {folder.path.parent}")
        return Found()
    if resume == "never":
        raise UsageError(f"--resume never: run {folder.name!r} exists already; choose another --name")
    start, passed_over = folder.checkpoints().newest(resumable=True, with_replay=True)
    done = start.boundary.updates if start else 0
    # Who resumes a run names its code himself, in the config that he gives.
    before = folder.config(trusted=named_code(as_plain(config)))
    difference = first_difference(without_future(before, done), without_future(config, done))
    if difference:
        key, old, new = difference
        raise UsageError(
            f"{key}: run {folder.name!r} was started with {old!r}, now {new!r} is given; "
            "choose another --name to train with it"
        )
    if start is not None and config.schedule == "rllib":
        _refuse_others_pickles(folder)
    if start is None and resume == "required":
        raise UsageError(f"--resume required: run {folder.name!r} has no checkpoint yet")
    return Found(folder.identity(), start, tuple(passed_over))


def _refuse_others_pickles(folder: RunFolder) -> None:
    """Refuse to go on with a run of RLlib's that is not this user's: RLlib's checkpoints may run any code when read.

    Raises:
        UsageError: If so, and code is not trusted.
    """
    config = (folder.path / "config.yaml").read_bytes()
    if not (is_code_trusted() or ownership.is_signed(folder.path, folder.identity().run_id, config)):
        raise UsageError(
            f"run {folder.name!r} was not made by you, and RLlib's checkpoints may run any code when they are read: "
            "--trust-code goes on with it all the same"
        )


def initial_weights(folder: RunFolder, identity: Identity | None, given: State | None) -> State | None:
    """The weights that a run begins with, where it does not draw its own: given, or kept from when it began.

    Raises:
        UsageError: If those that are given are not those that it was started from, or none are to be had.
    """
    if identity is None:
        return given
    if given is not None and identity.init_from != _weights_digest(given):
        raise UsageError("--init-from: the run was started from other weights; choose another --name")
    if identity.init_from is None:
        return None
    kept = given or folder.initial()
    if kept is not None and identity.init_from != _weights_digest(kept):
        raise UsageError(f"--init-from: the weights kept in {folder.path} are not those that the run was started from")
    if kept is None and folder.checkpoints().newest(resumable=True)[0] is None:
        raise UsageError(
            f"--init-from: run {folder.name!r} was started from weights that are not kept with it, and has no "
            "checkpoint yet; give them again"
        )
    return kept


def weights_in(given: str, runs: Path, config: RunConfig) -> State:
    """The weights that `--init-from` names.

    Raises:
        UsageError: If there are none, or they are those of another network.
    """
    path = Path(given)
    if (path / "manifest.json").is_file():
        state = read_checkpoint(path).boundary.learner()
    else:
        folder = find_run(runs, given)
        state = newest_checkpoint(folder).boundary.learner()
    weights = FlatWeights(build_network(config, torch.Generator()))
    try:
        weights.load_named(weights.vector, under("weights", state))
    except ValueError as error:
        raise UsageError(f"--init-from: {error}; the run's network is another one than this config's") from None
    return {name: array for name, array in state.items() if name.startswith(TAKEN_OVER)}


def _weights_digest(initial: State | None) -> str | None:
    return digest_of_state(under("weights", initial)) if initial else None


@dataclass(frozen=True)
class Settled:
    """Who a run is, once it is known what computes it.

    Attributes:
        identity: As it is written down from now on.
        accepted: Other versions than so far, which were accepted; in words.
        is_dated: Nothing was written down of the versions that the run was computed with.
    """

    identity: Identity
    accepted: str = ""
    is_dated: bool = False


def settled_identity(
    known: Identity | None, run_id: str, fleet: LearnerCalls, initial: State | None, *, accept_versions: bool
) -> Settled:
    """The run's identity, made if it is new.

    Raises:
        MachineClassError: If the run's bytes were made on another class of machine.
        VersionsError: If they were made with other versions, and those are not accepted.
    """
    machine_class, fingerprint = fleet.machine_class(), dict(fleet.fingerprint())
    if known is None:
        return Settled(Identity(run_id, machine_class, _weights_digest(initial), fingerprint))
    if not is_same_class(known.machine_class, machine_class):
        raise MachineClassError(
            f"the run was started on machine class {known.machine_class}, this is {machine_class}; "
            "its bytes cannot be continued here (--init-from starts a new run from its weights)"
        )
    before = known.fingerprint
    difference = difference_in_words(before or fingerprint, fingerprint, "the run was computed with", "here is")
    if difference and not accept_versions:
        raise VersionsError(
            f"{difference}: it would go on with other bytes; --accept-versions has it go on all the same, as a new "
            "segment that says so"
        )
    identity = replace(known, machine_class=machine_class, fingerprint=fingerprint)
    return Settled(identity, difference, is_dated=before is None)


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
