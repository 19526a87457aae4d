"""`hydrahive train` without the command line: find or create the run, gather its fleet, train it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from hydrahive.core.errors import HydrahiveError, SupersededError, TakenBackError
from hydrahive.core.interrupts import Interrupts
from hydrahive.core.sink import Sink
from hydrahive.runtime.config.plain import as_plain
from hydrahive.runtime.fleet.interface import Fleet
from hydrahive.runtime.fleet.ledger_line import LedgerLine
from hydrahive.runtime.fleet.waiting import StopAsked
from hydrahive.runtime.inspect.envs.look import look
from hydrahive.runtime.runs.checkpoints import Checkpoint, Segment
from hydrahive.runtime.runs.run_folder import RunFolder
from hydrahive.runtime.training.admission import Admitted, admitted
from hydrahive.runtime.training.asked import AskedEarly
from hydrahive.runtime.training.books import books_of, ledger_line, summary_if_finished
from hydrahive.runtime.training.clock import StartTimes
from hydrahive.runtime.training.gathering import claimed_by, gathered_fleet
from hydrahive.runtime.training.keeper import STORE_SECONDS
from hydrahive.runtime.training.memory_plan import MemoryPlan, memory_plan, weights_bytes
from hydrahive.runtime.training.request import Request, say
from hydrahive.runtime.training.resuming import Found, Settled, refuse_if_trained_meanwhile, settled_identity
from hydrahive.runtime.training.trainer import Trainer
from hydrahive.telemetry.jsonl import JsonlSink, cut_after
from hydrahive.telemetry.loggers.background import Background
from hydrahive.telemetry.loggers.base import About
from hydrahive.telemetry.progress import ProgressSink
from hydrahive.telemetry.tensorboard import TensorBoardSink


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
    interrupts = Interrupts()
    with interrupts.installed():
        return _trained(request, at_the_end, interrupts)


def _trained(request: Request, at_the_end: Callable[[], None], interrupts: Interrupts) -> Outcome:
    run = admitted(request)
    finished = summary_if_finished(run, request.address)
    if finished:
        return Outcome(finished, trained=False)
    run = replace(run, oddities=look(run.config))
    folder, config = run.folder, run.config
    claim, times = partial(claimed_by, folder, config), StartTimes()
    times.note("asked")
    begin, plan = run.found.start, memory_plan(config, weights_bytes(config))
    asked = AskedEarly(folder, begin.boundary.progress.env_steps if begin else 0)
    with folder.claimed() if folder.exists() else nullcontext():
        asked.begin()
        try:
            place, whose = str(folder.path), (config, run.run_id, folder.name, request.address)
            with gathered_fleet(*whose, claim, times, interrupts, asked.obey, plan, place) as fleet:
                summary = train_on(fleet, run, interrupts, times=times, asked=asked, plan=plan)
                if summary is not None:
                    at_the_end()
                return Outcome(summary, trained=True)
        except StopAsked:
            asked.stopped()
            say("stopped", "stopped on request before anything was trained; the same command goes on with it")
            return Outcome(None, trained=True)


def train_on(
    fleet: Fleet,
    run: Admitted,
    interrupts: Interrupts,
    *,
    until: int | None = None,
    times: StartTimes | None = None,
    asked: AskedEarly | None = None,
    plan: MemoryPlan | None = None,
) -> dict[str, Any] | None:
    """Train a run on a fleet, fresh or at work for it before, to its end or `until` so many updates are done.

    The event that training begins carries the `times` of its start; `asked` has heard what people asked meanwhile;
    `plan` is what the run keeps in flight, where that is known.

    Raises:
        HydrahiveError: If the run was stopped by an error; its newest boundary is on disk.
        Interrupted: If `interrupts` say so; likewise.
    """
    folder, config, found, start = run.folder, run.config, run.found, run.found.start
    settled = settled_identity(found.identity, run.run_id, fleet, run.initial, accept_versions=run.accept_versions)
    identity = settled.identity
    plan = plan or memory_plan(config, weights_bytes(config))
    if fleet.worker_count:
        plan.refuse_versions_above(config.faults.kept_versions_mb)
    with readable_disk_errors(), ledger_line(run, fleet) as line, folder.claimed():
        folder.refresh(claimed=True)
        refuse_if_trained_meanwhile(folder, found.identity is not None, start)
        at = start.boundary.updates if start else 0
        if settled.accepted:
            folder.begin_segment(Segment(at, "goes on with other versions", accepted=settled.accepted))
        elif start and config.schedule != "fixed-lag":
            folder.begin_segment(Segment(at, f"a run of schedule {config.schedule} goes on with other bytes"))
        folder.create(identity, config, run.initial)
        folder.fence.put_up()
        most_waiting = plan.waiting_boundaries(config.boundary_every, config.faults.kept_versions_mb)
        books = books_of(run, fleet, line, start, most_waiting)
        again, news = False, [*_news(settled, found), *(("environment", text) for text in run.oddities)]
        while True:
            with _stored_at_the_end(folder), _sinks(run, start, fleet) as sinks:
                _announce(sinks, run, fleet, plan, line, start, news, times)
                folder.send()  # the run is there, and no summary of before it went on
                trainer = Trainer(
                    config, folder, identity, fleet, sinks, books, start, run.initial, again=again, until=until,
                    asked=asked,
                )  # fmt: skip
                try:
                    return trainer.run(interrupts)
                except TakenBackError:
                    start, passed_over = folder.checkpoints().newest(resumable=True, with_replay=True)
                    again, news = True, [_passed_over(reason) for reason in passed_over]
            books = books_of(run, fleet, line, start, most_waiting, books)


News = tuple[str, str]
"""An event's kind, and its sentence."""


def _news(settled: Settled, found: Found) -> list[News]:
    """What is to be told of how a run goes on."""
    news = [_passed_over(reason) for reason in found.passed_over]
    if settled.accepted:
        news.append(("versions_accepted", f"{settled.accepted}: the run goes on as a new segment, with other bytes"))
    if settled.is_dated:
        text = "nobody wrote down which versions the run was computed with; it goes on with those that are here"
        news.append(("versions_unknown", text))
    return news


def _passed_over(reason: str) -> News:
    return "checkpoint_passed_over", f"{reason}; using the one before"


@contextmanager
def _stored_at_the_end(folder: RunFolder) -> Iterator[None]:
    """Where runs lie in a storage: store what was written since the last checkpoint, however the block ends."""
    try:
        yield
    except SupersededError:
        raise
    except BaseException:
        with suppress(OSError, HydrahiveError):  # what went wrong first is what is told
            folder.send()
        raise
    folder.send(STORE_SECONDS, say)


@contextmanager
def _sinks(run: Admitted, start: Checkpoint | None, fleet: Fleet) -> Iterator[list[Sink]]:
    """The run's sinks, with what lies behind the start cut off."""
    folder, config = run.folder, run.config
    for path in (folder.metrics, folder.episodes):
        cut_after(path, start.boundary.updates if start else 0)
    purge_from = start.boundary.progress.env_steps + 1 if start else (0 if folder.tensorboard.exists() else None)
    folder.summary.unlink(missing_ok=True)
    sinks: list[Sink] = [
        JsonlSink(folder.metrics, folder.events, folder.episodes),
        TensorBoardSink(folder.tensorboard, purge_from),
    ]
    sinks += [] if run.quiet else [ProgressSink(config.stop.env_steps)]
    sinks += run.sinks
    sinks += _loggers(run, start, sinks[0])
    exported = fleet.metrics_sink(run.title)
    sinks += [exported] if exported else []
    try:
        yield sinks
    finally:
        for sink in reversed(sinks):  # whoever has something to tell at its end tells it to the first ones
            sink.close()


def _loggers(run: Admitted, start: Checkpoint | None, told: Sink) -> list[Sink]:
    """Who else hears the story, each on a thread of its own; what goes wrong with one is an event, and said once."""

    def tell(text: str) -> None:
        told.event("logger_failed", text)
        say("logger_failed", text)

    about = About(
        run.folder.name,
        run.run_id,
        run.config.experiment,
        as_plain(run.config),
        run.folder.path,
        start.boundary.updates if start else 0,
    )
    return [Background(logger, about, run.folder.read_summary, tell) for logger in run.config.loggers]


def _announce(
    sinks: list[Sink],
    run: Admitted,
    fleet: Fleet,
    plan: MemoryPlan,
    line: LedgerLine | None,
    start: Checkpoint | None,
    news: Sequence[News],
    times: StartTimes | None,
) -> None:
    """Say what begins."""
    folder, config = run.folder, run.config
    for kind, text in news:
        for sink in sinks:
            sink.event(kind, text)
    workers = f"{fleet.worker_count} env workers on Ray" if fleet.worker_count else "inline, without Ray"
    begin = f"resuming at {start.boundary.progress.env_steps:,} env steps" if start else "starting"
    if config.schedule == "free-running":
        workers += ", free-running: not reproducible"
    about = f"{workers}, {plan}"
    if config.schedule == "rllib":
        name, runners = getattr(config.algorithm, "name", ""), fleet.worker_count if config.workers else 0
        who = f"{runners} env runner{'s' if runners > 1 else ''} of RLlib's" if runners else "RLlib's own process"
        about = f"{who}, trained by its {name}: not reproducible"
    for sink in sinks:
        sink.event(
            "resumed" if start else "started",
            f"{folder.name}: {begin}, {about}",
            workers=fleet.worker_count,
            updates=start.boundary.updates if start else 0,
            ledger=line.place if line else None,
            **(times.done if times else {}),
        )


@contextmanager
def readable_disk_errors() -> Iterator[None]:
    """Turn a failing disk into one line."""
    try:
        yield
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        raise HydrahiveError(f"cannot write{where}: {error.strerror or error}; the run stops here") from error
