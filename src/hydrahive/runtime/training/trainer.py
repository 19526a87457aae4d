"""The Trainer: drives the schedule to the run's end, begins again at a boundary what is lost, and ends the run well."""

from __future__ import annotations

import gc
import json
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

from hydrahive.core.durable import write_whole
from hydrahive.core.errors import (
    DivergedError,
    FragmentError,
    HydrahiveError,
    LearnerLostError,
    LostError,
    SupersededError,
    TakenBackError,
    first_line,
    is_out_of_memory,
)
from hydrahive.core.interrupts import Interrupted, Interrupts
from hydrahive.core.schedules import value_at
from hydrahive.core.sink import Sink
from hydrahive.core.state import State
from hydrahive.pilot.seen import Order
from hydrahive.runtime.config.changes import algorithm_at, algorithms
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.fleet.interface import Fleet
from hydrahive.runtime.fleet.waiting import StopAsked
from hydrahive.runtime.runs.boundary import Boundary, Progress
from hydrahive.runtime.runs.checkpoints import Checkpoint
from hydrahive.runtime.runs.run_folder import Identity, RunFolder
from hydrahive.runtime.schedule.dataflow import Replayed
from hydrahive.runtime.schedule.schedules import schedule_of
from hydrahive.runtime.schedule.updates import Update
from hydrahive.runtime.training.asked import Asked, AskedEarly
from hydrahive.runtime.training.books import Books
from hydrahive.runtime.training.clock import Clock
from hydrahive.runtime.training.keeper import Keeper
from hydrahive.runtime.training.piloting.steering import Steering
from hydrahive.runtime.training.side_shows import SideShows
from hydrahive.runtime.training.story import Story
from hydrahive.runtime.training.summary import summary_of
from hydrahive.telemetry.jsonl import read_rows

BEGIN_ATTEMPTS = 5
"""How often in a row the run is begun again at its last boundary before it gives up."""

COLLECTED_AFTER = 10_000
"""New objects after which a driver whose workers are elsewhere looks for garbage; 1,000 fragments make more."""

IN_FORCE = ("learning_rate", "entropy_cost", "discount")
"""What updates tell they were made with."""


@contextmanager
def _few_collections(*, alone: bool) -> Iterator[None]:
    """The garbage collector passes over what is there already: modules and the fleet, which stay until the end.

    `alone`: workers and learner are elsewhere. Then this process makes many small objects that wait for updates and
    checkpoints, and are no garbage, and is to look at them seldom.
    """
    before = gc.get_threshold()
    gc.freeze()
    if alone:
        gc.set_threshold(COLLECTED_AFTER, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


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
        asked: AskedEarly | None = None,
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
            asked: Has heard what people asked of the run while its fleet was gathered.
        """
        stop = config.stop if until is None else replace(config.stop, updates=min(until, config.stop.updates or until))
        self._config, self._config_until = config, replace(config, stop=stop)
        self._is_held = until is not None
        self._folder, self._identity, self._fleet = folder, identity, fleet
        self._accounts, self._audits, self._again = books.accounts, books.audits, again
        self._is_superseded = False
        self._is_resumed, self._initial = start is not None, initial
        self._algorithms = algorithms(config)
        self._replayed = Replayed()
        self._clock = clock = Clock(start.seconds if start else 0.0)
        begin = start.boundary.progress if start else Progress()
        self._story = story = Story(config, fleet, sinks, books.accounts, self._replayed, clock, begin)
        self._keeper = Keeper(self._config_until, folder, identity, fleet, books, story, clock, start)
        self._side_shows = SideShows(config, fleet, story, clock)
        self._steering = Steering(config, folder, fleet, story, clock, start) if config.pilot else None
        if self._steering:
            self._keeper.held = self._steering.held
        self._asked = Asked(config, folder, fleet, self._keeper, story, clock, asked or AskedEarly(folder))

    def run(self, interrupts: Interrupts) -> dict[str, Any] | None:
        """Train until the run's stop, or `until`, and give its summary; None if it was asked to stop before.

        Raises:
            Interrupted: After Ctrl-C or SIGTERM; the newest boundary is on disk.
            HydrahiveError: If something stopped the run; the newest boundary is on disk.
        """
        self._clock.start()
        self._story.begin()
        self._fleet.listener = self._story.event
        self._asked.begin()
        try:
            with _few_collections(alone=self._fleet.worker_count > 0), interrupts.recognised():
                if (summary := self._trained(interrupts)) is not None:
                    return summary
                self._keeper.save_newest()
                self._story.event("stopped", self._keeper.how_to_resume("stopped on request"))
                return None
        except Interrupted as interrupted:
            self._leave("interrupted", f"stopped by {interrupted}", signal=str(interrupted))
            interrupted.told = True
            raise
        except TakenBackError:
            raise
        except SupersededError:
            self._is_superseded = True
            raise
        except HydrahiveError as error:
            kind = "diverged" if isinstance(error, DivergedError) else "failed"
            self._leave(kind, f"{kind}: {error}")
            raise
        except Exception as error:  # none of ours: Ray's, the disk's, memory's, or a fault of our own
            told = first_line(error)
            self._leave("failed", f"failed: {type(error).__name__}: {told}", traceback=traceback.format_exc())
            if isinstance(error, OSError) or is_out_of_memory(error):
                raise  # the command has words for these
            where = " (its traceback is in events.jsonl)"
            raise HydrahiveError(f"{type(error).__name__}: {told}{where}") from error
        finally:
            if not self._is_superseded:  # what lies there is another's
                for close in (self._side_shows.give_up, partial(self._asked.end, is_held=self._is_held)):
                    self._despite_all(close)

    def _leave(self, kind: str, what: str, **fields: Any) -> None:
        """The one way out of a run that does not end by itself: the newest boundary is kept, and told in a line."""
        kept = self._despite_all(self._keeper.save_newest)
        unkept = "" if kept is None else f"; the newest boundary could not be written ({kept})"
        self._despite_all(partial(self._story.event, kind, self._keeper.how_to_resume(what + unkept), **fields))

    def _despite_all(self, act: Callable[[], object]) -> str | None:
        """Do what belongs to the end, though it may fail, too: what went wrong first is what is told."""
        try:
            act()
        except Exception as error:
            text = f"{type(error).__name__}: {first_line(error)}"
            with suppress(Exception):
                self._story.event("ending_failed", text)
            return text
        return None

    def _trained(self, interrupts: Interrupts) -> dict[str, Any] | None:
        """Train, and give the run's summary; None if it was asked to stop before."""
        try:
            if self._steering:
                self._steering.begin()
                self._go_back_if(self._steering.went_back, interrupts)
            if self._train(interrupts):
                return self._finish(interrupts) if self._is_at_its_end() else self._hold(interrupts)
        except StopAsked:
            """As between two updates, but something was waited for."""
        return None

    def _train(self, interrupts: Interrupts) -> bool:
        """Train to the run's stop; False if it was asked to stop before."""
        again, in_a_row = self._again, 0
        if self._steering and self._steering.ends:
            return True  # the process ended before all of that was written
        while True:
            before = self._story.taken
            try:
                for update in self._begin(again=again):
                    order = self._decided(update)
                    ends = self._keeper.ends_at(update, is_ended=order.ends is not None)
                    self._take(update, ends=ends)
                    interrupts.look()
                    self._keeper.let_pass(interrupts)
                    self._go_back_if(order.back_to, interrupts)
                    if ends:
                        return True
                    self._keeper.tend()
                    if not self._asked.obey():
                        return False
                return True
            except (LostError, FragmentError) as loss:
                self._replayed.notice()
                again, in_a_row = True, (in_a_row + 1 if self._story.taken == before else 1)
                if in_a_row > BEGIN_ATTEMPTS:
                    raise HydrahiveError(
                        f"lost {in_a_row} times in a row without a new update; the last: {loss}"
                    ) from None

    def _decided(self, update: Update) -> Order:
        """What the run's pilot decides, where there is one, and the update is done for the first time."""
        if update.progress.updates <= self._story.taken.updates:
            return self._steering.again(update) if self._steering else Order()
        self._see_changes_in_force(update.metrics, update.progress.updates - 1)
        return self._steering.take(update) if self._steering else Order()

    def _go_back_if(self, target: int | None, interrupts: Interrupts) -> None:
        """Go back to a boundary, if there is one.

        Raises:
            TakenBackError: If so.
        """
        if target is not None:
            self._keeper.go_back(target, "its pilot went back to the best boundary", interrupts)

    def _begin(self, *, again: bool) -> Iterator[Update]:
        """The updates from the newest boundary on; `again` after something was lost that only this brings back."""
        boundary = self._keeper.resumable
        if again:
            self._gather_again(boundary)
            self._accounts.drop_from(boundary.updates if boundary else 0)
            self._audits.restart(boundary)
        if boundary:
            self._fleet.restore_learner(boundary.learner())
            if self._is_resumed and not again and self._is_evaluation_missing(boundary.progress):
                steps = int(boundary.learner()["counters"][1])
                self._side_shows.again(boundary.progress, steps, self._fleet.weights())
        elif self._initial:
            self._fleet.restore_learner(self._initial, weights_only=True)
        elif self._identity.init_from is not None:
            raise HydrahiveError("the weights that the run began with are not kept with it; give --init-from again")
        if self._config.replay and (boundary or again):
            state, blocks = (boundary.replay(), boundary.blocks) if boundary else (None, ())
            self._fleet.restore_replay(state, [block.arrays for block in blocks])
        return schedule_of(self._config_until, self._fleet, boundary, self._replayed).updates()

    def _is_evaluation_missing(self, progress: Progress) -> bool:
        """Whether an evaluation was due at the update that the run goes on from, and its figures were not written."""
        every = self._config.evaluate_every
        if not every or progress.updates % every:
            return False
        rows = read_rows(self._folder.metrics, has="evaluation_mean")
        return all(row.get("updates") != progress.updates for row in rows)

    def _gather_again(self, boundary: Boundary | None) -> None:
        """Have a learner, a replay and workers, and tell what is done again."""
        try:
            self._fleet.stock()
        except LearnerLostError:
            self._fleet.renew(everything=boundary is None)
        else:
            if boundary is None:
                self._fleet.renew(everything=True)
        taken = self._story.taken
        steps = taken.env_steps - (boundary.progress.env_steps if boundary else 0)
        self._replayed.add(steps, taken.updates)
        at = f"update {boundary.updates}" if boundary else "the beginning"
        self._story.event("recovering", f"going on from {at}: {steps:,} env steps are done again", env_steps=steps)

    def _take(self, update: Update, *, ends: bool) -> None:
        """Write what is due after an update; one that is done again after a loss was written before."""
        for worker, refused in self._fleet.take_refused():
            self._accounts.accuse(worker, refused, update.progress.updates)
        self._accounts.take(update)
        self._audits.take(update, ends=ends)
        updates = update.progress.updates
        if updates <= self._story.taken.updates:
            return
        self._asked.take(update)
        self._story.take(update)
        self._side_shows.take(update)

    def _see_changes_in_force(self, metrics: Mapping[str, float], at: int) -> None:
        """See that the update after `at` others was made with what the config's changes say.

        Raises:
            HydrahiveError: If it was not.
        """
        known = self._steering.algorithms if self._steering else self._algorithms
        if len(known) < 2:
            return
        algorithm = algorithm_at(known, at)
        for name in IN_FORCE:
            wanted = getattr(algorithm, name, None)
            if wanted is not None and name in metrics:
                value = value_at(wanted, self._story.taken.env_steps)
                if metrics[name] != value:
                    text = f"update {at} was made with algorithm.{name} {metrics[name]}, not with {value}"
                    raise HydrahiveError(text)

    def _is_at_its_end(self) -> bool:
        if self._steering and self._steering.ends:
            return True
        return self._keeper.end.progress.reached(self._config.stop, self._clock.seconds)

    def _hold(self, interrupts: Interrupts) -> dict[str, Any]:
        """Write where the run stands before its end, so that it goes on from there; what it came to so far."""
        with interrupts.held_back():
            self._keeper.save_newest()
        self._side_shows.finish()
        self._keeper.settle()
        return self._summary(self._clock.seconds) | {"ledger": self._accounts.figures() or None}

    def _finish(self, interrupts: Interrupts) -> dict[str, Any]:
        """Write the end of the run: the checkpoints it can be continued from and judged by, and the summary."""
        self._folder.fence.see()
        seconds = self._clock.seconds
        with interrupts.held_back():
            self._keeper.save_end()
        self._side_shows.finish()  # may take its time, so it can be interrupted
        self._keeper.settle()
        summary = self._summary(seconds)
        if self._steering:
            summary["pilot"] = self._steering.finish(self._keeper.end)
        if self._config.schedule == "free-running":
            summary["lag"] = self._story.lag_sum / self._story.lag_count
        summary |= {"workers": self._fleet.worker_count, "resumed": self._is_resumed}
        summary |= {"recoveries": self._replayed.recoveries, "replayed_env_steps": self._replayed.env_steps}
        summary |= {"hedged": self._replayed.hedged}
        segments = self._folder.segments()
        accepted = [segment.accepted for segment in segments if segment.accepted]
        summary |= {"segments": 1 + len(segments), "tainted": any(segment.tainted for segment in segments)}
        summary |= {"accepted_versions": accepted, "reproducible": summary["reproducible"] and not accepted}
        summary |= {"audited_env_steps": self._audits.audited_env_steps, "ledger": self._accounts.figures() or None}
        write_whole(self._folder.summary, json.dumps(summary, indent=1).encode())
        text = f"finished after {summary['env_steps']:,} env steps"
        self._story.event("finished", text, digest=summary["digest"])
        return summary

    def _summary(self, seconds: float) -> dict[str, Any]:
        return summary_of(self._keeper.end, seconds, self._identity, self._config, self._folder.name)
