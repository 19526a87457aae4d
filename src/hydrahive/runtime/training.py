"""`hydrahive train` without the command line: find or create the run, gather its fleet, train it."""

from __future__ import annotations

import dataclasses
import json
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from hydrahive.core.durable import write_whole
from hydrahive.core.errors import HydrahiveError, MachineClassError, TakenBackError, UsageError
from hydrahive.core.sink import Sink
from hydrahive.core.state import State, digest_of_state, under
from hydrahive.ledger.audit_rules import Standings
from hydrahive.ledger.ledger import Ledger, ledger_path
from hydrahive.ledger.posting import Sealed
from hydrahive.ledger.prices import price_of
from hydrahive.policies.flat_weights import FlatWeights
from hydrahive.runtime.audits import Audits
from hydrahive.runtime.boundary import Progress
from hydrahive.runtime.changes import algorithms, without_future
from hydrahive.runtime.checkpoints import Checkpoint, Segment, read_checkpoint
from hydrahive.runtime.config import RunConfig
from hydrahive.runtime.config_file import first_difference
from hydrahive.runtime.env_worker import build_network
from hydrahive.runtime.fleet import Fleet, InlineFleet
from hydrahive.runtime.interrupts import Interrupts
from hydrahive.runtime.ledger_line import DirectLine, LedgerLine, RunAccount
from hydrahive.runtime.machine_class import chosen_device
from hydrahive.runtime.memory_plan import MemoryPlan, memory_plan
from hydrahive.runtime.ray_address import is_embedded
from hydrahive.runtime.run_accounts import RunAccounts, read_outbox
from hydrahive.runtime.run_folder import Identity, RunFolder, find_run
from hydrahive.runtime.run_user import run_user
from hydrahive.runtime.start_times import StartTimes
from hydrahive.runtime.trainer import Books, Trainer, summary_of
from hydrahive.telemetry.jsonl import JsonlSink, cut_after
from hydrahive.telemetry.progress import ProgressSink
from hydrahive.telemetry.tensorboard import TensorBoardSink


@dataclass(frozen=True)
class Request:
    """What to train.

    Attributes:
        config: The run's config.
        folder: Where it is written.
        resume: `auto` continues what is there, `never` only creates, `required` only continues.
        address: Of a Ray cluster, or None.
        init_from: Run, checkpoint folder or None: weights to start from.
        runs: The folder in which `init_from` is looked up.
        quiet: Whether to show no progress.
        title: What the ledger calls the run; None for its name.
    """

    config: RunConfig
    folder: RunFolder
    resume: Literal["auto", "never", "required"] = "auto"
    address: str | None = None
    init_from: str | None = None
    runs: Path = Path("runs")
    quiet: bool = False
    title: str | None = None


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


@dataclass(frozen=True)
class Outcome:
    """A run's summary (None if it was asked to stop before its end), and whether anything was left to train."""

    summary: dict[str, Any] | None
    trained: bool


def train(request: Request, at_the_end: Callable[[], None] = lambda: None) -> Outcome:
    """Train a run to its end, creating or continuing it.

    Args:
        request: What to train.
        at_the_end: Is called once the run has been trained to its end, while the fleet is still there.

    Raises:
        UsageError: If the request cannot be met; nothing was written.
        HydrahiveError: If the run was stopped by an error; its newest boundary is on disk.
        Interrupted: After Ctrl-C or SIGTERM; likewise.
    """
    folder, config = request.folder, request.config
    algorithms(config)  # refuses what cannot change
    if config.ledger.enabled:
        _ledger_path(request)  # refuses before anything is begun
    folder.prove_writable()
    folder.refresh()
    if folder.exists():
        with folder.claimed():
            pass  # whoever has no chance need not gather a fleet first
    identity, start, passed_over = _resolve(request)
    initial = _initial_weights(request) if request.init_from else None
    _refuse_other_weights(identity, initial)
    finished = _if_finished(request, identity)
    if finished:
        return Outcome(finished, trained=False)
    run_id = identity.run_id if identity else str(uuid.uuid4())
    interrupts = Interrupts()
    claim, times = partial(_claimed_on_cluster, request), StartTimes()
    times.note("asked")
    with gathered_fleet(config, run_id, folder.name, request.address, claim, times) as fleet, interrupts.installed():
        found = Found(identity, start, tuple(passed_over))
        summary = train_on(fleet, request, found, run_id, interrupts, initial=initial, times=times)
        if summary is not None:
            at_the_end()
        return Outcome(summary, trained=True)


def train_on(
    fleet: Fleet,
    request: Request,
    found: Found,
    run_id: str,
    interrupts: Interrupts,
    *,
    initial: State | None = None,
    until: int | None = None,
    times: StartTimes | None = None,
) -> dict[str, Any] | None:
    """Train a run on a fleet, fresh or at work for it before, to its end or `until` so many updates are done.

    The event that training begins carries the `times` of its start.

    Raises:
        HydrahiveError: If the run was stopped by an error; its newest boundary is on disk.
        Interrupted: If `interrupts` say so; likewise.
    """
    folder, config, start = request.folder, request.config, found.start
    identity = _settled_identity(found.identity, run_id, fleet, initial)
    plan = memory_plan(config, weights_bytes(config))
    if fleet.worker_count:
        plan.refuse_versions_above(config.faults.kept_versions_mb)
    with readable_disk_errors(), _ledger_line(request, fleet) as line, folder.claimed():
        folder.refresh(claimed=True)
        _refuse_if_trained_meanwhile(folder, found.identity is not None, start)
        folder.create(identity, config)
        if start and config.schedule == "free-running":
            folder.begin_segment(Segment(start.boundary.updates, "a free-running run goes on with other bytes"))
        most_waiting = plan.waiting_boundaries(config.boundary_every, config.faults.kept_versions_mb)
        books = _books(request, identity, fleet, line, start, most_waiting)
        again, passed_over = False, list(found.passed_over)
        while True:
            with _stored_at_the_end(folder), _sinks(request, start, fleet) as sinks:
                _announce(sinks, request, fleet, plan, line, start, passed_over, times)
                folder.send()  # the run is there, and no summary of before it went on
                trainer = Trainer(
                    config, folder, identity, fleet, sinks, books, start, initial, again=again, until=until
                )
                try:
                    return trainer.run(interrupts)
                except TakenBackError:
                    start, passed_over = folder.checkpoints().newest(resumable=True, with_replay=True)
                    again = True
            books = _books(request, identity, fleet, line, start, most_waiting, books)


@contextmanager
def _claimed_on_cluster(request: Request) -> Iterator[None]:
    """The claim on a run in a storage, where the lock in its folder says nothing to other machines."""
    folder = request.folder
    if folder.stored is None or request.config.workers == 0:
        yield
        return
    from hydrahive.runtime.ray_claim import claimed_on_cluster

    stored = folder.stored
    with claimed_on_cluster(f"{stored.storage.uri}/{folder.name}", folder.claim_refusal) as see:
        stored.see_claim = see
        try:
            yield
        finally:
            stored.see_claim = lambda: None


@contextmanager
def _stored_at_the_end(folder: RunFolder) -> Iterator[None]:
    """Where runs lie in a storage: store what was written since the last checkpoint, however the block ends."""
    try:
        yield
    except BaseException:
        with suppress(OSError):  # what went wrong first is what is told
            folder.send()
        raise
    folder.send()


def _ledger_path(request: Request) -> Path | None:
    """Where the ledger lies; None if only the cluster knows.

    Raises:
        UsageError: If nobody has said it: beside runs in a storage there is no local disk.
    """
    config = request.config
    path = ledger_path(config.ledger.path, None if request.folder.stored else request.runs)
    if path is None and (config.workers == 0 or is_embedded(request.address)):
        raise UsageError(
            "HYDRAHIVE_LEDGER: runs at a URI have no ledger beside them; name its file, on a local disk, or give "
            "--ledger.enabled false"
        )
    return path


@contextmanager
def _ledger_line(request: Request, fleet: Fleet) -> Iterator[LedgerLine | None]:
    """A line to the ledger for as long as the run is trained; None where no accounts are kept.

    Raises:
        LedgerError: If the ledger cannot be used.
    """
    if not request.config.ledger.enabled:
        yield None
        return
    line = fleet.ledger_line(_ledger_path(request))
    try:
        yield line
    finally:
        line.close()


def _account(request: Request, run_id: str) -> RunAccount:
    return RunAccount(run_id, request.title or request.folder.name, run_user(), request.folder.secret())


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


def _books(
    request: Request,
    identity: Identity,
    fleet: Fleet,
    line: LedgerLine | None,
    start: Checkpoint | None,
    most_waiting: int,
    before: Books | None = None,
) -> Books:
    """The run's accounts and audits from `start` on; `before` are those until it was taken back."""
    config, folder = request.config, request.folder
    segments = folder.segments()
    fleet.segment = len(segments)
    outbox = outbox_of(folder, start)
    progress = start.boundary.progress if start else Progress()
    price = price_of(config.ledger, config.env.step_weight)
    accounts = RunAccounts(_account(request, identity.run_id), price, len(segments), progress, line, outbox)
    if before:
        standings = before.audits.standings
        standings.go_back(progress.updates)
    else:
        standings = Standings.from_plain(config.audit, start.standings if start else {})
    begin = start.boundary if start else None
    audits = Audits(fleet, standings, folder.secret(), len(segments), begin, most_waiting)
    audits.audited_env_steps = before.audits.audited_env_steps if before else 0
    return Books(accounts, audits)


@contextmanager
def gathered_fleet(
    config: RunConfig,
    run_id: str,
    name: str,
    address: str | None,
    claim: Callable[[], AbstractContextManager[None]] = nullcontext,
    times: StartTimes | None = None,
) -> Iterator[Fleet]:
    """A fleet for a run: inline for `workers: 0`, else actors on the cluster at `address` or an embedded one.

    Args:
        config: The run's.
        run_id: Its id.
        name: Its name.
        address: As `ray.init` takes it, or None.
        claim: Is entered on the cluster before anybody is hired.
        times: Is told when the cluster is connected to, and when everybody is there.

    Raises:
        UsageError: If the config does not fit the cluster.
        HydrahiveError: If the cluster cannot be reached.
    """
    if config.workers == 0:
        yield InlineFleet(config, run_id, chosen_device(config.learner.device, offered=torch.cuda.is_available()))
        return
    import ray

    from hydrahive.runtime.ray_cluster import connect
    from hydrahive.runtime.ray_fleet import RayFleet
    from hydrahive.runtime.ray_member import RunOnCluster

    times = times or StartTimes()
    cluster = connect(address, config.worker_count() + config.learner.threads)
    times.note("connected")
    try:
        wanted = config.learner.device
        if wanted == "cuda" and not cluster.gpus:
            raise UsageError("learner.device: 'cuda' was asked for, but the cluster offers no GPU")
        device = chosen_device(wanted, offered=bool(cluster.gpus))
        memory_plan(config, 0).refuse_above(cluster.object_store_bytes)
        workers = config.workers if isinstance(config.workers, int) else None
        run = RunOnCluster(run_id, name, device, workers, is_embedded(address), _say)
        with claim():
            fleet = RayFleet(config, run)
            times.note("gathered")
            try:
                yield fleet
            finally:
                fleet.close()
    finally:
        ray.shutdown()


def _say(kind: str, text: str, **fields: object) -> None:
    """Tell what happens before the run's sinks are open."""
    print(text, file=sys.stderr, flush=True)


def _resolve(request: Request) -> tuple[Identity | None, Checkpoint | None, list[str]]:
    """Who the run is, where it continues, and which checkpoints were passed over.

    Raises:
        UsageError: If the request contradicts what is there.
    """
    folder = request.folder
    if not folder.exists():
        if request.resume == "required":
            raise UsageError(f"--resume required: there is no run {folder.name!r} in {folder.path.parent}")
        return None, None, []
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
    return folder.identity(), start, passed_over


def _if_finished(request: Request, identity: Identity | None) -> dict[str, Any] | None:
    """The summary of a run that has already reached its stop; what it still owes is posted."""
    if identity is None:
        return None
    folder, config = request.folder, request.config
    last, _ = folder.checkpoints().newest()
    if last is None or not last.boundary.progress.reached(config.stop, last.seconds):
        return None
    written = folder.read_summary()
    summary = written or summary_of(last.boundary, last.seconds, identity, config, folder.name)
    owes = written is None or (written.get("ledger") or {}).get("outstanding_receipts", 0)
    if config.ledger.enabled and owes:
        summary["ledger"] = _settle_outbox(request, identity, last)
        write_whole(folder.summary, json.dumps(summary, indent=1).encode())
        folder.publish(folder.summary)
    return summary


def _settle_outbox(request: Request, identity: Identity, last: Checkpoint) -> dict[str, Any]:
    """Post what a finished run has not been answered for; what the ledger says of it then.

    Raises:
        LedgerError: If the ledger cannot be used.
    """
    config = request.config
    with ExitStack() as stack:
        path = _ledger_path(request)
        if config.workers == 0 or is_embedded(request.address):
            assert path is not None, "runs are in a folder"
            line: LedgerLine = DirectLine(Ledger(path))
        else:
            from hydrahive.runtime.coordinator_actor import CoordinatorLine
            from hydrahive.runtime.ray_cluster import connected

            stack.enter_context(connected(request.address))
            line = CoordinatorLine(path, embedded=False)
        stack.callback(line.close)
        price = price_of(config.ledger, config.env.step_weight)
        account, progress = _account(request, identity.run_id), last.boundary.progress
        accounts = RunAccounts(account, price, 0, progress, line, outbox_of(request.folder, last))
        accounts.finish(_say)
        return accounts.figures()


def _initial_weights(request: Request) -> State:
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


def _refuse_other_weights(identity: Identity | None, initial: State | None) -> None:
    if identity and initial and identity.init_from != _weights_digest(initial):
        raise UsageError("--init-from: the run was started from other weights; choose another --name")


def _settled_identity(identity: Identity | None, run_id: str, fleet: Fleet, initial: State | None) -> Identity:
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


@contextmanager
def _sinks(request: Request, start: Checkpoint | None, fleet: Fleet) -> Iterator[list[Sink]]:
    """The run's sinks, with what lies behind the start cut off."""
    folder, config = request.folder, request.config
    for path in (folder.metrics, folder.episodes):
        cut_after(path, start.boundary.updates if start else 0)
    purge_from = start.boundary.progress.env_steps + 1 if start else (0 if folder.tensorboard.exists() else None)
    folder.summary.unlink(missing_ok=True)
    sinks: list[Sink] = [
        JsonlSink(folder.metrics, folder.events, folder.episodes),
        TensorBoardSink(folder.tensorboard, purge_from),
    ]
    sinks += [] if request.quiet else [ProgressSink(config.stop.env_steps)]
    exported = fleet.metrics_sink(request.title or folder.name)
    sinks += [exported] if exported else []
    try:
        yield sinks
    finally:
        for sink in sinks:
            sink.close()


def _announce(
    sinks: list[Sink],
    request: Request,
    fleet: Fleet,
    plan: MemoryPlan,
    line: LedgerLine | None,
    start: Checkpoint | None,
    passed_over: list[str],
    times: StartTimes | None,
) -> None:
    """Say what begins."""
    folder, config = request.folder, request.config
    for reason in passed_over:
        for sink in sinks:
            sink.event("checkpoint_passed_over", f"{reason}; using the one before")
    workers = f"{fleet.worker_count} env workers on Ray" if fleet.worker_count else "inline, without Ray"
    begin = f"resuming at {start.boundary.progress.env_steps:,} env steps" if start else "starting"
    if config.schedule == "free-running":
        workers += ", free-running: not reproducible"
    for sink in sinks:
        sink.event(
            "resumed" if start else "started",
            f"{folder.name}: {begin}, {workers}, {plan}",
            workers=fleet.worker_count,
            updates=start.boundary.updates if start else 0,
            ledger=line.place if line else None,
            **(times.done if times else {}),
        )


def _refuse_if_trained_meanwhile(folder: RunFolder, existed: bool, start: Checkpoint | None) -> None:
    """Another process may have trained the run between our look at it and our claim.

    Raises:
        HydrahiveError: If so; what was found before the claim is stale.
    """
    newest, _ = folder.checkpoints().newest(resumable=True, with_replay=True)
    if folder.exists() != existed or (newest.path if newest else None) != (start.path if start else None):
        raise HydrahiveError(
            f"run {folder.name!r} was trained by another process meanwhile; the same command goes on from there"
        )


def weights_bytes(config: RunConfig) -> int:
    """Bytes of one weights version."""
    return FlatWeights(build_network(config, torch.Generator())).vector.nbytes


@contextmanager
def readable_disk_errors() -> Iterator[None]:
    """Turn a failing disk into one line."""
    try:
        yield
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        raise HydrahiveError(f"cannot write{where}: {error.strerror or error}; the run stops here") from error


def with_experiment(config: RunConfig, name: str) -> RunConfig:
    """The config with the experiment's name filled in where it has none."""
    return config if config.experiment else dataclasses.replace(config, experiment=name)
