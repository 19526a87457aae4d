"""A run's pilot at work: it is shown every boundary, and what it decides is told and carried out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import numpy as np

from hydrahive.core.durable import write_whole
from hydrahive.core.errors import HydrahiveError
from hydrahive.pilot.guards import watched_of
from hydrahive.pilot.meta import forked
from hydrahive.pilot.pilot import Pilot
from hydrahive.pilot.seen import Order, Seen, Validation
from hydrahive.runtime.config.changes import algorithms
from hydrahive.runtime.config.piloted import course_of, repeated, steered
from hydrahive.runtime.config.plain import dump
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.fleet.interface import EvaluatorCalls, LearnerCalls, Opening
from hydrahive.runtime.fleet.refs import Ref
from hydrahive.runtime.runs.boundary import Boundary, Progress
from hydrahive.runtime.runs.checkpoints import Checkpoint
from hydrahive.runtime.runs.newest import BEST, REPETITION
from hydrahive.runtime.runs.run_folder import RunFolder
from hydrahive.runtime.schedule.updates import Update
from hydrahive.runtime.training.clock import Clock
from hydrahive.runtime.training.piloting.champion import (
    averaged,
    candidates,
    checkpoints_of,
    flat_weights,
    tell_best,
    write_average,
)
from hydrahive.runtime.training.piloting.log import PilotLog, follow, validations_in
from hydrahive.runtime.training.story import Story

ATTEMPTS = 3
"""How often a validation is asked for whose evaluator is lost."""


class Deck(EvaluatorCalls, LearnerCalls, Opening, Protocol):
    """What a pilot asks of a fleet."""


class _Asked(NamedTuple):
    """A validation under way."""

    progress: Progress
    weights: Ref
    figures: Ref


class Steering:
    """Shows a run's boundaries to its pilot.

    Attributes:
        pilot: Which decides.
        algorithms: The learning rule's configs, each with the update from which on it is in force.
        went_back: The boundary that it had decided to go back to when the process ended; None if it had not.
    """

    def __init__(
        self, config: RunConfig, folder: RunFolder, fleet: Deck, story: Story, clock: Clock, start: Checkpoint | None
    ) -> None:
        """Go on at `start`: what was seen until then is seen again."""
        assert config.pilot is not None, "whoever steers has a pilot"
        self._config, self._folder, self._fleet = config, folder, fleet
        self._story, self._clock = story, clock
        segments = folder.segments()
        self._segment = len(segments)
        self._log = PilotLog(folder.path)
        updates = start.boundary.updates if start else 0
        self.pilot = Pilot(config.pilot, course_of(config, updates))
        lines, cut_off = self._log.go_on(segments, updates, config.boundary_every, is_forked=bool(config.changes))
        follow(self.pilot, lines)
        self._known = validations_in(cut_off)
        self._order: tuple[int, Order] = (-1, Order())
        last = lines[-1] if lines else None
        ours = last is not None and last["segment"] == self._segment
        self.went_back: int | None = last["order"]["back_to"] if ours and last else None
        self.algorithms = algorithms(self.config)
        self._sums: dict[str, list[float]] = {}
        self._scores: list[float] = []
        self._asked: dict[int, _Asked] = {}
        self._ask_again()

    def _ask_again(self) -> None:
        """Ask for the validations that were under way."""
        for checkpoint in checkpoints_of(self._folder, self.pilot.awaited):
            self._ask(checkpoint.boundary.progress, self._weights_of(checkpoint))
        missing = set(self.pilot.awaited) - set(self._asked) - set(self._known)
        if missing:
            raise HydrahiveError(f"the checkpoint of update {min(missing)}, which was being validated, is gone")

    @property
    def config(self) -> RunConfig:
        """The run's config with all that was decided so far as its changes."""
        return steered(self._config, self.pilot.moves)

    def held(self) -> frozenset[int]:
        """Boundaries whose checkpoints are to be kept."""
        return self.pilot.held

    @property
    def ends(self) -> bool:
        """Whether the pilot has ended the run."""
        return self.pilot.ends is not None

    def begin(self) -> None:
        """Have the learner follow what was decided so far, and the folder say what is the best of it."""
        best = self.pilot.champions.best
        if best is not None:
            tell_best(self._folder, best)
        else:
            (self._folder.path / BEST).unlink(missing_ok=True)
        self._fleet.follow(self.config)  # also if no move is left: the fleet may have followed some before

    def take(self, update: Update) -> Order:
        """Look at an update that is done for the first time; at a boundary, decide.

        Raises:
            HydrahiveError: If a validation cannot be made.
        """
        for name, value in watched_of(update.metrics).items():
            self._sums.setdefault(name, []).append(value)
        self._scores += update.episodes.scores
        if update.boundary is None or not update.boundary.resumable:
            return Order()
        progress = update.progress
        of = self.pilot.decides(progress.updates)
        validation = None if of is None else self._validated(of)
        figures = {name: float(np.mean(values)) for name, values in self._sums.items()}
        self._sums = {}
        before = self.pilot.champions.best
        score = float(np.mean(self._scores)) if self._scores else None
        self._scores = []
        seen = Seen(progress.updates, progress.env_steps, figures, validation, score)
        order = self.pilot.take(seen)
        self._log.add(self._segment, seen, order)
        self._order = (progress.updates, order)
        if order.validate:
            self._ask(progress, update.weights)
        self._tell(progress, validation, order)
        if order.moves and order.back_to is None:
            self.algorithms = algorithms(self.config)
            self._fleet.follow(self.config)
        best = self.pilot.champions.best
        if best is not None and best != before:
            tell_best(self._folder, best)
        return order

    def again(self, update: Update) -> Order:
        """What is still to be done of what was decided at an update that is done again: go back, or end."""
        at, order = self._order
        return replace(order, validate=False, moves=(), told=()) if at == update.progress.updates else Order()

    def _tell(self, progress: Progress, validation: Validation | None, order: Order) -> None:
        for told in order.told:
            self._story.event(told.kind, told.text, **{"updates": progress.updates, **told.facts})
        if validation is not None:
            best = self.pilot.champions.best
            row = {
                "validation_updates": validation.updates,
                "validation_mean": validation.mean,
                "validation_error": validation.error,
                "validation_best": best.mean if best else validation.mean,
                "generalisation_gap": validation.gap,
                "pilot_resting": self.pilot.progress.resting,
            }
            self._story.row(progress, self._clock.seconds, row)

    def _ask(self, progress: Progress, weights: Ref) -> None:
        self._asked[progress.updates] = _Asked(progress, weights, self._fleet.validate(weights))

    def _weights_of(self, checkpoint: Checkpoint) -> Ref:
        return self._fleet.put(flat_weights(self._config, checkpoint.boundary.learner()))

    def _validated(self, updates: int) -> Validation:
        """Wait for a validation; whoever plays it may be lost, and then somebody else does.

        Raises:
            HydrahiveError: If that happens again and again, or the environment fails.
        """
        if updates not in self._asked:
            return self._known[updates]  # its checkpoint is gone, but it was made before: it would come out the same
        asked = self._asked.pop(updates)
        for attempt in range(ATTEMPTS):
            try:
                with self._fleet.waits.of("validation", f"the validation of update {updates}"):
                    evaluation = self._fleet.get(asked.figures)
            except HydrahiveError as loss:
                self._fleet.forget_evaluator()
                if attempt == ATTEMPTS - 1:
                    raise HydrahiveError(f"the validation of update {updates} failed: {loss}") from None
                for checkpoint in checkpoints_of(self._folder, [updates]):  # its weights may be lost, too
                    asked = asked._replace(weights=self._weights_of(checkpoint))
                asked = asked._replace(figures=self._fleet.validate(asked.weights))
                continue
            break
        progress = asked.progress
        mean, error = float(evaluation.scores.mean()), evaluation.error()
        return Validation(updates, progress.env_steps, mean, error, progress.score_mean)

    def finish(self, end: Boundary) -> dict[str, Any]:
        """Validate what is left, and the end; try the best ones' average; what the run's best is, as plain data."""
        champions = self.pilot.champions
        for updates in sorted(self._asked):
            champions.take(self._validated(updates))
        if all(end.updates != one.updates for one in self.pilot.validations) and end.updates not in champions.held:
            self._ask(end.progress, self._fleet.put(flat_weights(self._config, end.learner())))
            champions.take(self._validated(end.updates))
        assert champions.best is not None, "the end is validated at least"
        best, of = self._with_average(champions.best)
        self._write_repetition(end)
        told = tell_best(self._folder, best, of=of, finished=end.updates, ends=self.pilot.ends)
        return {**told, **self._fork()}

    def _with_average(self, best: Validation) -> tuple[Validation, list[int]]:
        """The best, or the average of the best ones' weights if that is better; of which boundaries."""
        found = candidates(self.pilot.champions, self._folder)
        if not found:
            return best, []
        average = averaged([one.boundary.learner() for one in found])
        learner = {f"weights/{name}": array for name, array in average.items()}
        progress = Progress(updates=best.updates, env_steps=best.env_steps)
        self._ask(progress, self._fleet.put(flat_weights(self._config, learner)))
        tried, numbers = self._validated(best.updates), [one.boundary.updates for one in found]
        is_better = tried.mean > best.mean
        what = "is the run's best" if is_better else f"is not above the best, {best.mean:.4g}"
        text = f"the average of updates {', '.join(map(str, numbers))} scores {tried.mean:.4g}: it {what}"
        self._story.event("pilot_average", text, mean=tried.mean)
        if not is_better:
            return best, []
        write_average(self._folder, average)
        return replace(tried, train=best.train), numbers

    def _write_repetition(self, end: Boundary) -> None:
        """Write the config that gives the same bytes without a pilot."""
        config = repeated(self._config, self.pilot.moves, end.updates)
        write_whole(self._folder.path / REPETITION, dump(config).encode())

    def _fork(self) -> dict[str, Any]:
        """What a sweep may go on with."""
        pilot = self._config.pilot
        if self.pilot.ends != "spawn" or pilot is None or pilot.search is None:
            return {}
        best = self.pilot.champions.best
        assert best is not None, "a run that has come to rest was validated"
        ranges, found = pilot.search.ranges, self.pilot.found()
        return {"fork": forked(found, ranges, pilot.dormant.perturbed, self._config.seed, best.updates)}
