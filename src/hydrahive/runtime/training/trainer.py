"""The Trainer: drives the schedule, keeps the story, writes the boundaries, and ends the run well."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hydrahive.core.durable import write_whole
from hydrahive.core.errors import (
    DivergedError,
    FragmentError,
    HydrahiveError,
    LearnerLostError,
    LostError,
    TakenBackError,
)
from hydrahive.core.interrupts import Interrupted, Interrupts
from hydrahive.core.schedules import value_at
from hydrahive.core.sink import Sink
from hydrahive.core.state import State
from hydrahive.ledger.prices import price_of
from hydrahive.runtime.accounting.audits import Audits, Caught
from hydrahive.runtime.accounting.run_accounts import RunAccounts
from hydrahive.runtime.config.changes import algorithm_at, algorithms
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.fleet.fleet import Fleet, Ref
from hydrahive.runtime.roles.pictures import Undrawn
from hydrahive.runtime.runs.boundary import Boundary, Progress
from hydrahive.runtime.runs.checkpoints import Checkpoint, Segment
from hydrahive.runtime.runs.controls import FolderControls
from hydrahive.runtime.runs.run_folder import Identity, RunFolder
from hydrahive.runtime.schedule.dataflow import Replayed
from hydrahive.runtime.schedule.schedules import schedule_of
from hydrahive.runtime.schedule.updates import Update
from hydrahive.runtime.training.watch import Watch

BEGIN_ATTEMPTS = 5
"""How often in a row the run is begun again at its last boundary before it gives up."""

IN_FORCE = ("learning_rate", "entropy_cost", "discount")
"""What updates tell they were made with."""

PAUSE_LOOK_SECONDS = 0.1
"""Time between two looks for an end of the pause."""


@dataclass(frozen=True)
class Books:
    """What a run keeps besides its bytes: who is owed what, and whose work was computed again."""

    accounts: RunAccounts
    audits: Audits


class Trainer:
    """Trains one run to its end, from version 0, from given weights, or from a checkpoint."""

    def __init__(
        self,
        config: RunConfig,
        folder: RunFolder,
        identity: Identity,
        fleet: Fleet,
        sinks: Sequence[Sink],
        books: Books,
        start: Checkpoint | None,
        initial: State | None = None,
        *,
        again: bool = False,
        until: int | None = None,
    ) -> None:
        """Take over the run.

        Args:
            config: The run's.
            folder: Where it is written; claimed by this process.
            identity: What the run is.
            fleet: Learner and workers, fresh.
            sinks: Where its story goes.
            books: Its accounts and audits, from the same start.
            start: The checkpoint to begin at.
            initial: The learner's state whose weights a new run begins with, instead of drawing its own.
            again: The fleet has worked before; the run was taken back.
            until: Train only until so many updates are done, a boundary; None for the run's end.
        """
        stop = config.stop if until is None else replace(config.stop, updates=min(until, config.stop.updates or until))
        self._config_until, self._until = replace(config, stop=stop), until
        self._algorithms = algorithms(config)
        self._accounts, self._audits, self._again = books.accounts, books.audits, again
        self._config, self._folder, self._identity, self._fleet, self._sinks = config, folder, identity, fleet, sinks
        self._start, self._initial = start, initial
        self._store = folder.checkpoints(config.checkpoint.keep)
        self._controls = FolderControls(folder.path)
        self._replayed = Replayed()
        self._newest: Boundary | None = start.boundary if start else None
        self._newest_resumable = self._newest
        self._on_disk = {start.boundary.updates} if start else set()
        self._seconds_before = start.seconds if start else 0.0
        self._started = time.perf_counter()
        self._window: list[dict[str, float]] = []
        self._facts: dict[str, list[float]] = {}
        self._window_start = (0, 0.0)
        self._taken = start.boundary.progress if start else Progress()
        self._evaluations: list[tuple[Update, float, Ref]] = []
        self._picture: tuple[Update, Ref] | None = None
        self._lags: list[float] = []
        self._watch = Watch(folder, fleet, price_of(config.ledger, config.env.step_weight))

    def run(self, interrupts: Interrupts) -> dict[str, Any] | None:
        """Train until the run's stop, or `until`, and give its summary; None if it was asked to stop before.

        Raises:
            Interrupted: After Ctrl-C or SIGTERM; the newest boundary is on disk.
            HydrahiveError: If something stopped the run; the newest boundary is on disk.
        """
        self._started = time.perf_counter()
        self._window_start = (self._taken.env_steps, self._started)
        self._fleet.listener = self._event
        self._controls.forget()
        self._controls.say("running", self._taken.env_steps)
        try:
            with interrupts.recognised():
                if self._train(interrupts):
                    return self._finish(interrupts) if self._is_at_its_end() else self._hold(interrupts)
                self._save_newest()
                self._event("stopped", self._how_to_resume("stopped on request"))
                return None
        except Interrupted as interrupted:
            self._save_newest()
            self._event("interrupted", self._how_to_resume(f"stopped by {interrupted}"), signal=str(interrupted))
            raise
        except TakenBackError:
            raise
        except HydrahiveError as error:
            self._save_newest()
            kind = "diverged" if isinstance(error, DivergedError) else "failed"
            self._event(kind, self._how_to_resume(f"{kind}: {error}"))
            raise
        finally:
            for update, *_ in self._evaluations:
                why = "the run ended before it was done"
                self._event("evaluation_lost", f"the evaluation of update {update.progress.updates} is lost: {why}")
            self._controls.say("ended", self._taken.env_steps)
            self._watch.close("ended", self._taken, self._seconds, is_held=self._until is not None)

    def _train(self, interrupts: Interrupts) -> bool:
        """Train to the run's stop; False if it was asked to stop before."""
        again, in_a_row = self._again, 0
        while True:
            before = self._taken
            try:
                for update in self._begin(again=again):
                    self._take(update)
                    if self._let_boundaries_pass(update, interrupts):
                        return True
                    if not self._obey():
                        return False
                return True
            except (LostError, FragmentError) as loss:
                self._replayed.notice()
                again, in_a_row = True, (in_a_row + 1 if self._taken == before else 1)
                if in_a_row > BEGIN_ATTEMPTS:
                    raise HydrahiveError(
                        f"lost {in_a_row} times in a row without a new update; the last: {loss}"
                    ) from None

    def _begin(self, *, again: bool) -> Iterator[Update]:
        """The updates from the newest boundary on; `again` after something was lost that only this brings back."""
        boundary = self._newest_resumable
        if again:
            self._gather_again(boundary)
            self._accounts.drop_from(boundary.updates if boundary else 0)
            self._audits.restart(boundary)
        if boundary:
            self._fleet.restore_learner(boundary.learner())
        elif self._initial:
            self._fleet.restore_learner(self._initial, weights_only=True)
        if self._config.replay and (boundary or again):
            state, blocks = (boundary.replay(), boundary.blocks) if boundary else (None, ())
            self._fleet.restore_replay(state, [block.arrays for block in blocks])
        return schedule_of(self._config_until, self._fleet, boundary, self._replayed).updates()

    def _gather_again(self, boundary: Boundary | None) -> None:
        """Have a learner, a replay and workers, and tell what is done again."""
        try:
            self._fleet.stock()
        except LearnerLostError:
            self._fleet.renew(everything=boundary is None)
        else:
            if boundary is None:
                self._fleet.renew(everything=True)
        steps = self._taken.env_steps - (boundary.progress.env_steps if boundary else 0)
        self._replayed.add(steps, self._taken.updates)
        at = f"update {boundary.updates}" if boundary else "the beginning"
        self._event("recovering", f"going on from {at}: {steps:,} env steps are done again", env_steps=steps)

    def _obey(self) -> bool:
        """Look after the fleet, hear the ledger, and do what people ask; False if the run shall stop."""
        self._accounts.tend(self._event)
        self._watch.tend("running", self._taken, self._seconds)
        asked = self._fleet.tend(self._taken.env_steps) or self._controls.take()
        if asked == "pause":
            asked = self._pause()
        return asked != "stop"

    def _pause(self) -> str:
        """Submit nothing until `continue` or `stop` is asked; the pause does not count as training time."""
        began = time.perf_counter()
        self._save_newest()
        self._event("paused", f"paused at {self._taken.env_steps:,} env steps", env_steps=self._taken.env_steps)
        self._controls.say("paused", self._taken.env_steps)
        asked = None
        while asked not in ("continue", "stop"):
            time.sleep(PAUSE_LOOK_SECONDS)
            self._watch.tend("paused", self._taken, began - self._started + self._seconds_before)
            asked = self._fleet.tend(self._taken.env_steps, paused=True) or self._controls.take()
        seconds = time.perf_counter() - began
        self._started += seconds
        self._window_start = (self._window_start[0], self._window_start[1] + seconds)
        if asked == "continue":
            self._controls.say("running", self._taken.env_steps)
            self._event("continued", f"continued after {seconds:.1f} s")
        return str(asked)

    @property
    def _seconds(self) -> float:
        return self._seconds_before + time.perf_counter() - self._started

    def _take(self, update: Update) -> None:
        """Write what is due after an update; one that is done again after a loss was written before."""
        self._accounts.take(update)
        self._audits.take(update)
        updates = update.progress.updates
        if updates <= self._taken.updates:
            return
        self._see_changes_in_force(update.metrics, updates - 1)
        self._taken = update.progress
        self._watch.take(update)
        self._tell_recovery()
        self._window.append(update.metrics)
        self._lags.append(update.metrics["lag"])
        if update.replay:
            for event in update.replay.events:
                self._event(event.kind, event.text, updates=updates, episode=event.episode, **event.facts)
        self._tell_episodes(update)
        for name, values in update.episodes.facts.items():
            self._facts.setdefault(name, []).extend(values)
        # A row at every boundary makes a resumed run's rows the same as an undisturbed one's.
        if updates % self._config.metrics_every == 0 or update.boundary:
            figures = update.replay.figures if update.replay else {}
            self._row(update.progress, self._seconds, {**self._averages(update.progress), **figures})
        every = self._config.evaluate_every
        if every and updates % every == 0:
            self._evaluations.append((update, self._seconds, self._fleet.evaluate(update.weights)))
        every = self._config.pictures_every
        if every and updates % every == 0 and self._picture is None:  # one at a time: it may take many updates
            self._picture = (update, self._fleet.picture(update.weights))
        self._write_evaluations(wait=False)
        self._write_picture(wait=False)

    def _see_changes_in_force(self, metrics: Mapping[str, float], at: int) -> None:
        """See that the update after `at` others was made with what the config's changes say.

        Raises:
            HydrahiveError: If it was not.
        """
        if not self._config.changes:
            return
        algorithm = algorithm_at(self._algorithms, at)
        for name in IN_FORCE:
            wanted = getattr(algorithm, name, None)
            if wanted is not None and name in metrics:
                value = value_at(wanted, self._taken.env_steps)
                if metrics[name] != value:
                    text = f"update {at} was made with algorithm.{name} {metrics[name]}, not with {value}"
                    raise HydrahiveError(text)

    def _tell_episodes(self, update: Update) -> None:
        """Write down the scores of what finished, from which a run's whole story is told afterwards."""
        told, progress = update.episodes, update.progress
        if not told.scores and not any(told.detours):
            return
        facts: dict[str, Any] = {
            "updates": progress.updates,
            "env_steps": progress.env_steps,
            "seconds": round(self._seconds, 3),
            "episodes": progress.episodes,
            "scores": told.scores,
            "lengths": told.lengths,
        }
        if "epsilon" in update.metrics:
            facts["epsilon"] = update.metrics["epsilon"]
        if update.replay and "replay_gear" in update.replay.figures:
            facts["gear"] = update.replay.figures["replay_gear"]
        if any(told.detours):
            facts["detours"] = told.detours
        for sink in self._sinks:
            sink.episodes(facts)

    def _tell_recovery(self) -> None:
        seconds = self._replayed.back_after(self._taken.updates)
        if seconds is not None:
            text = f"recovered {seconds:.1f} s after the loss was noticed"
            self._event("recovered", text, seconds=round(seconds, 3), updates=self._taken.updates)

    def _averages(self, progress: Progress) -> dict[str, float]:
        """The window's mean figures (counters: the newest), and the speed over it."""
        newest = self._window[-1]
        names = dict.fromkeys(name for row in self._window for name in row)
        rows_with = {name: [row[name] for row in self._window if name in row] for name in names}
        averages = {name: sum(values) / len(values) for name, values in rows_with.items()}
        averages["gradient_steps"] = newest["gradient_steps"]
        averages["lag_max"] = max(row["lag_max"] for row in self._window)
        steps, since = self._window_start
        now = time.perf_counter()
        averages["steps_per_second"] = (progress.env_steps - steps) / max(now - since, 1e-9)
        self._window, self._window_start = [], (progress.env_steps, now)
        # A fact may say nothing of an episode, as the way to a goal of one that reached none.
        told = {name: [value for value in values if value == value] for name, values in self._facts.items()}
        averages |= {f"episode_{name}": sum(values) / len(values) for name, values in told.items() if values}
        self._facts = {}
        return averages

    def _row(self, progress: Progress, seconds: float, values: dict[str, Any]) -> None:
        row = {
            "rounds": progress.updates,
            "updates": progress.updates,
            "env_steps": progress.env_steps,
            "episodes": progress.episodes,
            "seconds": round(seconds, 3),
            "score_mean": progress.score_mean,
            "score_max": progress.score_max,
            "recoveries": self._replayed.recoveries,
            "replayed_env_steps": self._replayed.env_steps,
            "env_workers": self._fleet.worker_count,
            **self._accounts.figures(),
            **values,
        }
        for sink in self._sinks:
            sink.row(row)

    def _event(self, kind: str, text: str, **fields: object) -> None:
        for sink in self._sinks:
            sink.event(kind, text, **fields)

    def _let_boundaries_pass(self, update: Update, interrupts: Interrupts) -> bool:
        """Keep the boundaries whose audits are in; say whether the run ends at this update's.

        Raises:
            TakenBackError: If an audit caught a worker.
        """
        boundary = update.boundary
        ends = boundary is not None and boundary.progress.reached(self._config_until.stop, self._seconds)
        for passed in self._audits.passed(wait=ends):
            if isinstance(passed, Caught):
                self._take_back(passed)
            else:
                self._keep(passed, interrupts)
        return ends

    def _keep(self, boundary: Boundary, interrupts: Interrupts) -> None:
        """Keep a boundary, and write it if its turn has come."""
        self._newest = boundary
        if boundary.resumable:
            self._newest_resumable = boundary
            number = boundary.updates // self._config.boundary_every
            if number % self._config.checkpoint.every_boundaries == 0:
                with interrupts.held_back():
                    self._save(boundary)

    def _save(self, boundary: Boundary) -> None:
        """Write a boundary with all that is owed for what led to it; once that is durable, post it."""
        if boundary.updates in self._on_disk:
            return
        self._accounts.judge(self._audits.take_verdicts())
        self._accounts.seal(boundary.progress)
        standings = self._audits.standings
        self._store.write(
            boundary,
            self._seconds,
            self._identity.machine_class,
            outbox=self._accounts.outbox(),
            standings=standings.as_plain(),
            way_back=standings.way_back(boundary.updates, self._reach),
        )
        self._folder.send()
        self._on_disk.add(boundary.updates)
        self._accounts.post(self._event)

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
            f"audit: worker {worker.name} of {worker.owner} (node {worker.node}) computed something else for shard "
            f"{verdict.shard}, {verdict.text}"
        )
        facts = {"worker": worker.name, "owner": worker.owner, "node": worker.node, "shard": verdict.shard}
        self._event("audit_failed", why, from_round=verdict.from_round, until_round=verdict.until_round, **facts)
        self._accounts.judge(self._audits.take_verdicts())
        self._folder.begin_segment(Segment(at, why, tainted, self._accounts.condemn(verdict, worker)))
        self._fleet.quarantine(worker, "an audit caught it")
        self._folder.send()
        self._accounts.finish(self._event)
        if tainted:
            text = f"what it did since update {caught.believed_until} was never verified: the run is marked tainted"
            self._event("tainted", text)
        self._event("taken_back", f"the run is taken back to update {at}", updates=at)
        raise TakenBackError(why)

    def _save_newest(self) -> None:
        if self._newest_resumable:
            self._save(self._newest_resumable)

    def _how_to_resume(self, what: str) -> str:
        if self._newest_resumable is None:
            return f"{what}; no boundary was reached yet, the same command starts over"
        at = self._newest_resumable.progress.env_steps
        return f"{what}; the run is kept up to {at:,} env steps, the same command resumes it there"

    def _write_evaluations(self, *, wait: bool) -> None:
        while self._evaluations and self._fleet.ready([self._evaluations[0][2]], None if wait else 0):
            update, seconds, ref = self._evaluations.pop(0)
            try:
                figures = self._fleet.get(ref).summary()
            except HydrahiveError as loss:
                self._fleet.forget_evaluator()
                self._event("evaluation_lost", f"the evaluation of update {update.progress.updates} is lost: {loss}")
                continue
            values = {f"evaluation_{name}": value for name, value in figures.items()}
            self._row(update.progress, seconds, {"gradient_steps": update.metrics["gradient_steps"], **values})

    def _write_picture(self, *, wait: bool) -> None:
        if self._picture is None or not self._fleet.ready([self._picture[1]], None if wait else 0):
            return
        (update, ref), self._picture = self._picture, None
        try:
            clip = self._fleet.get(ref)
        except HydrahiveError as loss:
            self._fleet.forget_evaluator()
            clip = Undrawn(str(loss))
        if isinstance(clip, Undrawn):
            self._event("picture_lost", f"the picture of update {update.progress.updates} is lost: {clip.reason}")
            return
        for sink in self._sinks:
            sink.clip(update.progress.env_steps, clip)

    def _is_at_its_end(self) -> bool:
        assert self._newest is not None, "a run ends at a boundary"
        return self._newest.progress.reached(self._config.stop, self._seconds)

    def _hold(self, interrupts: Interrupts) -> dict[str, Any]:
        """Write where the run stands before its end, so that it goes on from there; what it came to so far."""
        assert self._newest is not None, "a run is held at a boundary"
        with interrupts.held_back():
            self._save_newest()
        self._write_picture(wait=True)
        self._write_evaluations(wait=True)
        self._settle()
        return summary_of(self._newest, self._seconds, self._identity, self._config, self._folder.name) | {
            "ledger": self._accounts.figures() or None
        }

    def _settle(self) -> None:
        """Have the ledger answer everything; if it has, the next who trains the run need not post it again."""
        assert self._newest is not None, "a run ends at a boundary"
        self._accounts.finish(self._event)
        if self._accounts.is_settled:
            self._folder.note_posted(len(self._folder.segments()), self._newest.updates)

    def _finish(self, interrupts: Interrupts) -> dict[str, Any]:
        """Write the end of the run: the checkpoints it can be continued from and judged by, and the summary."""
        seconds = self._seconds
        assert self._newest is not None, "a run ends at a boundary"
        with interrupts.held_back():
            self._save_newest()
            self._save(self._newest)
        self._write_picture(wait=True)
        self._write_evaluations(wait=True)  # may take its time, so it can be interrupted
        self._settle()
        summary = summary_of(self._newest, seconds, self._identity, self._config, self._folder.name)
        if self._config.schedule == "free-running":
            summary["lag"] = sum(self._lags) / len(self._lags)
        summary |= {"workers": self._fleet.worker_count, "resumed": self._start is not None}
        summary |= {"recoveries": self._replayed.recoveries, "replayed_env_steps": self._replayed.env_steps}
        summary |= {"hedged": self._replayed.hedged}
        segments = self._folder.segments()
        summary |= {"segments": 1 + len(segments), "tainted": any(segment.tainted for segment in segments)}
        summary |= {"audited_env_steps": self._audits.audited_env_steps, "ledger": self._accounts.figures() or None}
        write_whole(self._folder.summary, json.dumps(summary, indent=1).encode())
        self._event("finished", f"finished after {summary['env_steps']:,} env steps", digest=summary["digest"])
        return summary


def summary_of(
    boundary: Boundary, seconds: float, identity: Identity, config: RunConfig, run_name: str
) -> dict[str, Any]:
    """What a run came to, from its last boundary."""
    progress = boundary.progress
    _, gradient_steps, _ = (int(value) for value in boundary.learner()["counters"])
    return {
        "run": run_name,
        "run_id": identity.run_id,
        "env_steps": progress.env_steps,
        "updates": progress.updates,
        "gradient_steps": gradient_steps,
        "seconds": round(seconds, 3),
        "steps_per_second": round(progress.env_steps / seconds, 1) if seconds else None,
        "digest": boundary.digest(),
        "state_digest": boundary.state_digest(),
        "machine_class": identity.machine_class,
        "episodes": progress.episodes,
        "score_mean": progress.score_mean,
        "score_max": progress.score_max,
        "workers": config.workers if isinstance(config.workers, int) else None,
        "schedule": config.schedule,
        "reproducible": config.schedule == "fixed-lag" and config.stop.seconds is None,
        "lag": config.lag,
        "resumed": False,
    }
