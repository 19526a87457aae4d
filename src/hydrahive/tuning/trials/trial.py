"""A trial: a run that is trained from milestone to milestone, and that may go on as a copy of another."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from hydrahive.core.durable import write_whole
from hydrahive.core.errors import (
    DivergedError,
    HydrahiveError,
    LedgerError,
    LostError,
    MachineClassError,
    VersionsError,
    is_out_of_memory,
)
from hydrahive.core.interrupts import Interrupts
from hydrahive.runtime.config.changes import in_force, value_of
from hydrahive.runtime.config.fingerprint import difference_in_words
from hydrahive.runtime.config.machine_class import is_same_class
from hydrahive.runtime.config.plain import first_difference
from hydrahive.runtime.config.run_config import Change, RunConfig
from hydrahive.runtime.fleet.interface import Fleet
from hydrahive.runtime.inspect.envs.look import look
from hydrahive.runtime.runs.checkpoints import Checkpoint, Segment
from hydrahive.runtime.runs.locks import locked
from hydrahive.runtime.runs.run_folder import RunFolder
from hydrahive.runtime.training.admission import Admitted, where_ledger_lies
from hydrahive.runtime.training.books import outbox_of
from hydrahive.runtime.training.resuming import Found
from hydrahive.runtime.training.train import train_on
from hydrahive.tuning.folder import Ending, Exploit, SweepFolder, append_line, read_lines, trial_name
from hydrahive.tuning.trials.fleets import trial_fleet
from hydrahive.tuning.trials.forking import begin_fork

ORPHAN_SECONDS = 60.0
"""How long a trial waits for a process that still trains it: one whose sweep was killed, and that notices it soon."""

PUT_OFF = "put off"
"""Status of a trial that ends the sweep without having ended itself."""

NO_SCORE = -1e30
"""What Tune's schedulers compare a trial by that has no score yet; theirs must be numbers."""


@dataclass(frozen=True)
class Task:
    """What a trial is to do.

    Attributes:
        name: Of its run.
        config: What is trained.
        number: Its own, or that of the trial that is trained again.
        is_bred: Whether decisions are made about it at milestones.
        fork_of: The trial whose best boundary it begins with; None for one that begins by itself.
    """

    name: str
    config: RunConfig
    number: int
    is_bred: bool
    fork_of: int | None = None


@dataclass
class Workshop:
    """The fleet of one process, kept from one step to the next for as long as it fits."""

    embedded: bool
    _fleet: Fleet | None = None
    _run_id: str = ""
    _config: RunConfig | None = None
    _open: ExitStack = field(default_factory=ExitStack)

    def fleet_for(self, config: RunConfig, run_id: str, name: str, *, fresh: bool) -> Fleet:
        """A fleet for a run; the one there is, if it is that run's and only what can change inside a run is other."""
        if self._fleet and not fresh and self._run_id == run_id and self._config and _fits(self._config, config):
            if self._config != config:
                self._fleet.follow(config)
                self._config = config
            return self._fleet
        self.close()
        self._fleet = self._open.enter_context(trial_fleet(config, run_id, name, embedded=self.embedded))
        self._run_id, self._config = run_id, config
        return self._fleet

    def close(self) -> None:
        """End the fleet."""
        self._open.close()
        self._fleet = None


def _fits(before: RunConfig, now: RunConfig) -> bool:
    """Whether a fleet built for one config can follow the other: they differ in the changeable alone."""
    algorithm = now.algorithm
    same = dataclasses.replace(before, algorithm=algorithm, changes=now.changes)
    fixed = {one.name for one in dataclasses.fields(algorithm)} - algorithm.changeable
    alike = type(before.algorithm) is type(algorithm) and all(
        getattr(before.algorithm, name) == getattr(algorithm, name) for name in fixed
    )
    return alike and first_difference(same, now) is None


class EndedError(HydrahiveError):
    """A trial had ended before; how is in `ending`."""

    def __init__(self, ending: Ending) -> None:
        """Say it again."""
        super().__init__(ending.reason)
        self.ending = ending


class Trial:
    """One trial as one process sees it."""

    def __init__(self, sweep: SweepFolder, task: Task, workshop: Workshop) -> None:
        """Begin with the first milestone: those that were reached before are only told again."""
        self._sweep, self._task, self._workshop = sweep, task, workshop
        self._settings = sweep.config()
        self._folder = sweep.run(task.name)
        self.told = 0

    def advance(self) -> dict[str, Any]:
        """The next milestone's report; trains for it unless it was reached before.

        Raises:
            EndedError: If the trial had come to its end before this milestone.
            HydrahiveError: If the trial cannot go on.
        """
        name = self._task.name
        reports = self._sweep.reports(name)
        if self.told == len(reports):
            ending = self._sweep.ending(name)
            if ending is not None and ending.status not in ("done", "pruned"):
                raise EndedError(ending)
            with self._claimed():
                reports = self._sweep.reports(name)
                if self.told == len(reports):
                    reports.append(self._train_to_next(reports))
        elif reports[self.told]["last"]:
            self._pay_what_is_owed(reports[self.told]["updates"])
        report = reports[self.told]
        self.told += 1
        ending = self._sweep.ending(name)
        was_stopped = ending is not None and ending.status == "pruned" and ending.milestone == report["milestone"]
        return {**report, "done": report["last"] or was_stopped}

    def _pay_what_is_owed(self, updates: int) -> None:
        """Post what the ledger has not answered of a trial that was trained to its end."""
        summary = self._folder.read_summary() or {}
        if (summary.get("ledger") or {}).get("outstanding_receipts", 0):
            self._train(self._folder.config(trusted=None), updates)

    @contextmanager
    def _claimed(self) -> Iterator[None]:
        """Keep a process of a sweep that was killed, should there still be one, from working at the same trial.

        Raises:
            UsageError: If it does not end.
        """
        refusal = f"{self._task.name} is being trained by another process"
        with locked(self._folder.path / "trial.lock", refusal, ORPHAN_SECONDS):
            yield

    def rank(self, score: float | None) -> float:
        """What Tune's schedulers compare by, for which more is better."""
        if score is None:
            return NO_SCORE
        return score if self._settings.mode == "max" else -score

    def _train_to_next(self, reports: list[dict[str, Any]]) -> dict[str, Any]:
        config, at = self._task.config, reports[-1]["updates"] if reports else 0
        if self._task.fork_of is not None:
            forked_at = begin_fork(self._folder, self._sweep.run(trial_name(self._task.fork_of)))
            config, at = self._folder.config(trusted=None), at or forked_at
        if self._task.is_bred and reports:
            at = self._obey(reports[-1]["milestone"], at)
        if self._folder.exists() and self._task.is_bred:
            config = self._folder.config(trusted=None)  # with what was taken over
        until = at + self._settings.milestone_updates(config)
        summary = self._train(config, until)
        report = self._report(config, summary, reports)
        append_line(self._folder.path / "milestones.jsonl", report)
        return report

    def _train(self, config: RunConfig, until: int) -> dict[str, Any]:
        folder = self._folder
        store = folder.checkpoints(config.checkpoint.keep)
        start, passed_over = store.newest(resumable=True, with_replay=True)
        identity = folder.identity() if folder.exists() else None
        run_id = identity.run_id if identity else str(uuid.uuid4())
        title = f"{self._sweep.name}/{folder.name}"
        seen = look(config) if identity is None else ()
        fleet = self._workshop.fleet_for(config, run_id, title, fresh=start is None)
        ledger = where_ledger_lies(config, folder, self._sweep.path.parent, None) if config.ledger.enabled else None
        found = Found(identity, start, tuple(passed_over))
        run = Admitted(config, folder, run_id, title, found, ledger, quiet=True, oddities=seen)
        try:
            summary = train_on(fleet, run, Interrupts(), until=until)
        except BaseException:
            self._workshop.close()
            raise
        if summary is None:
            raise HydrahiveError("stopped on request")
        return summary

    def _report(self, config: RunConfig, summary: dict[str, Any], before: list[dict[str, Any]]) -> dict[str, Any]:
        """What is told of a milestone: the newest figures since the one before, and what the trial's values are."""
        since = summary["updates"] - self._settings.milestone_updates(config)
        rows = [row for row in _rows(self._folder) if since < row["updates"] <= summary["updates"]]
        row = {name: value for found in rows for name, value in found.items() if value is not None}
        pilot = summary.get("pilot") or {}
        if pilot:
            row["validation_best"] = pilot["mean"]
        values = {key: value_of(in_force(config, summary["updates"]), key) for key in self._settings.domains}
        keep = ("updates", "env_steps", "episodes", "digest", "state_digest", "score_mean", "score_max")
        return {
            **row,
            **{name: summary[name] for name in keep},
            "milestone": before[-1]["milestone"] + 1 if before else 1,
            "score": _finite(row.get(self._settings.metric, summary.get(self._settings.metric))),
            "values": values,
            "last": summary["updates"] >= (config.stop.updates or 0) or pilot.get("ends") is not None,
            "fork": pilot.get("fork"),
        }

    def _decided(self, milestone: int) -> Exploit | None:
        """What was decided about this trial at a milestone."""
        number = self._task.number
        decisions = self._sweep.decisions()
        if not any(decision.milestone == milestone and number in decision.scores for decision in decisions):
            raise HydrahiveError(f"nothing was decided about trial {number} at milestone {milestone}")
        exploits = [one for decision in decisions if decision.milestone == milestone for one in decision.exploits]
        return next((one for one in exploits if one.trial == number), None)

    def _obey(self, milestone: int, at: int) -> int:
        """Go on as a copy of the donor, if that was decided and is not done yet; the update to go on from."""
        exploit = self._decided(milestone)
        if exploit is None:
            return at
        donor = self._sweep.run(trial_name(exploit.donor))
        done = self._folder.path / "copied.json"
        wanted = {"milestone": milestone, **dataclasses.asdict(exploit)}
        copied = json.loads(done.read_text("utf-8")) if done.is_file() else {}
        if copied.get("exploit") != wanted:
            at = take_over(self._folder, donor, exploit, milestone, exact=self._settings.repeats is None)
            copied = {"exploit": wanted, "updates": at}
            write_whole(done, json.dumps(copied, indent=1).encode())
        return int(copied["updates"])


def take_over(folder: RunFolder, donor: RunFolder, exploit: Exploit, milestone: int, *, exact: bool) -> int:
    """Have a run go on from another's boundary, with other values; may be done again if a crash cut it short.

    The run keeps its id, its accounts and what it wrote; it begins a new segment, whose config is the donor's with the
    values as changes from there on: trained from scratch, that gives the same bytes.

    Args:
        folder: The run's.
        donor: The other's.
        exploit: What was decided.
        milestone: At which of the run's own.
        exact: Whether it must be the very boundary; else the donor's newest will do, which may have gone on.

    Returns:
        The updates at which it goes on.

    Raises:
        HydrahiveError: If the donor's boundary is gone.
        MachineClassError: If it was made on another class of machine.
    """
    found, theirs = _standing(donor, exploit.donor_updates if exact else None)
    if exact and found.boundary.updates != exploit.donor_updates:
        raise HydrahiveError(f"{donor.name} has no checkpoint at update {exploit.donor_updates} any more")
    own = folder.identity()
    if not is_same_class(found.machine_class, own.machine_class):
        raise MachineClassError(
            f"{donor.name} is trained on machine class {found.machine_class}, {folder.name} on {own.machine_class}"
        )
    if found.fingerprint and own.fingerprint:
        words = f"{donor.name} is computed with", f"{folder.name} with"
        difference = difference_in_words(found.fingerprint, own.fingerprint, *words)
        if difference:
            raise VersionsError(difference)
    at, mine = found.boundary.updates, folder.config(trusted=None)
    before = [change for change in theirs.changes if change.from_update < at]
    current = in_force(dataclasses.replace(theirs, changes=before), at)
    changes = [Change(at, key, value) for key, value in exploit.values.items() if value_of(current, key) != value]
    config = dataclasses.replace(theirs, changes=[*before, *changes], experiment=mine.experiment)
    why = f"went on at milestone {milestone} as a copy of {donor.name} at update {at}"
    last, _ = folder.checkpoints().newest()
    segments = folder.segments()
    if not (segments and segments[-1].why == why):
        known = [one for segment in segments for one in segment.owed]
        owed = [one.as_plain() for one in outbox_of(folder, last)]
        folder.begin_segment(Segment(at, why, owed=[one for one in owed if one not in known]))
    folder.write_config(config)
    lines = [{**dataclasses.asdict(change), "donor": donor.name} for change in config.changes]
    write_whole(folder.path / "config_changes.jsonl", "".join(json.dumps(line) + "\n" for line in lines).encode())
    shutil.rmtree(folder.path / "checkpoints", ignore_errors=True)
    seconds = last.seconds if last else found.seconds
    outbox = b"[]" if found.outbox is not None else None
    folder.checkpoints().write(
        found.boundary, seconds, found.machine_class, fingerprint=found.fingerprint, outbox=outbox
    )
    return at


def _standing(donor: RunFolder, up_to: int | None) -> tuple[Checkpoint, RunConfig]:
    """A donor's newest checkpoint, and the config that it was trained with: one that is itself taking over is awaited.

    Raises:
        HydrahiveError: If there is none.
    """
    deadline = time.monotonic() + ORPHAN_SECONDS
    while True:
        config = donor.config(trusted=None)
        found, _ = donor.checkpoints().newest(resumable=True, up_to=up_to, with_replay=True)
        if found is not None and donor.config(trusted=None) == config:
            return found, config
        if time.monotonic() > deadline:
            raise HydrahiveError(f"{donor.name} has no checkpoint that can be copied")
        time.sleep(0.2)


def _rows(folder: RunFolder) -> list[dict[str, Any]]:
    return read_lines(folder.metrics)


def _finite(value: Any) -> float | None:
    """A score that can be compared; None for what is none."""
    if value is None or value != value or abs(value) == float("inf"):
        return None
    return float(value)


def why_it_failed(error: BaseException) -> tuple[str, str]:
    """An error that a trial raised, as status and reason; one that would not come again elsewhere puts it off."""
    text = _last_line(error)
    if isinstance(error, MachineClassError | LedgerError | LostError):
        return PUT_OFF, text
    if isinstance(error, DivergedError):
        return "diverged", text
    return "out of memory" if is_out_of_memory(error) else "failed", text


def why_it_ended(error: BaseException | None) -> tuple[str, str]:
    """What Ray says of a trial's process that ended, as status and reason.

    Of every process that dies it says that it may have been for memory.
    """
    text = str(error) if error else ""
    if "low on memory" in text or "OutOfMemoryError" in text:
        return "out of memory", "Ray ended its process: the node was low on memory"
    if error is None or "process has died" in text or "actor died" in text:
        return "died", "its process died"
    return "failed", _last_line(error)


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
