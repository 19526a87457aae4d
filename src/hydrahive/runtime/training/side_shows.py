"""What goes on beside the training: evaluations on held-out seeds, and pictures of the policy."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple, Protocol

from hydrahive.core.errors import HydrahiveError
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.fleet.interface import EvaluatorCalls, Opening
from hydrahive.runtime.fleet.refs import Ref
from hydrahive.runtime.roles.pictures import Undrawn
from hydrahive.runtime.runs.boundary import Progress
from hydrahive.runtime.schedule.updates import Update
from hydrahive.runtime.training.clock import Clock
from hydrahive.runtime.training.story import Story


class Stage(EvaluatorCalls, Opening, Protocol):
    """What side shows ask of a fleet."""


MOST_ASKED = 8
"""Evaluations that are under way at once; then the run waits for the first."""


class _Asked(NamedTuple):
    """An evaluation that was asked for: of which update, after so many gradient steps and seconds, and its figures."""

    progress: Progress
    gradient_steps: float
    seconds: float
    figures: Ref


class SideShows:
    """Asks for evaluations and pictures when they are due, and writes them when they have come."""

    def __init__(self, config: RunConfig, fleet: Stage, story: Story, clock: Clock) -> None:
        """Ask for nothing yet."""
        self._config, self._fleet, self._story, self._clock = config, fleet, story, clock
        self._evaluations: deque[_Asked] = deque()
        self._picture: tuple[Progress, Ref] | None = None

    def again(self, progress: Progress, gradient_steps: int, weights: Ref) -> None:
        """Ask for the evaluation of the update that a run goes on from, which was cut off before it was written."""
        self._ask(progress, gradient_steps, weights)

    def take(self, update: Update) -> None:
        """Ask for what is due after an update, and write what has come."""
        updates, every = update.progress.updates, self._config.evaluate_every
        if every and updates % every == 0:
            while len(self._evaluations) >= MOST_ASKED:  # each holds its weights
                self._write_evaluation()
            self._ask(update.progress, update.metrics["gradient_steps"], update.weights)
        every = self._config.pictures_every
        if every and updates % every == 0 and self._picture is None:  # one at a time: it may take many updates
            self._picture = (update.progress, self._fleet.picture(update.weights))
        self._write_evaluations(wait=False)
        self._write_picture(wait=False)

    def finish(self) -> None:
        """Wait for what was asked for, and write it."""
        self._write_picture(wait=True)
        self._write_evaluations(wait=True)

    def give_up(self) -> None:
        """The run has ended: tell which evaluations it cut off."""
        for asked in self._evaluations:
            why = "the run ended before it was done"
            self._story.event("evaluation_lost", f"the evaluation of update {asked.progress.updates} is lost: {why}")

    def _ask(self, progress: Progress, gradient_steps: float, weights: Ref) -> None:
        self._evaluations.append(_Asked(progress, gradient_steps, self._clock.seconds, self._fleet.evaluate(weights)))

    def _write_evaluations(self, *, wait: bool) -> None:
        while self._evaluations and (wait or self._fleet.ready([self._evaluations[0].figures], 0)):
            self._write_evaluation()

    def _write_evaluation(self) -> None:
        """Wait for the one that was asked for first, and write it."""
        progress, gradient_steps, seconds, ref = self._evaluations.popleft()
        try:
            with self._fleet.waits.of("evaluation", f"the evaluation of update {progress.updates}"):
                figures = self._fleet.get(ref).summary()
        except HydrahiveError as loss:
            self._fleet.forget_evaluator()
            text = f"the evaluation of update {progress.updates} is lost: {loss}"
            self._story.event("evaluation_lost", text)
            return
        values = {f"evaluation_{name}": value for name, value in figures.items()}
        self._story.row(progress, seconds, {"gradient_steps": gradient_steps, **values})

    def _write_picture(self, *, wait: bool) -> None:
        if self._picture is None or not (wait or self._fleet.ready([self._picture[1]], 0)):
            return
        (progress, ref), self._picture = self._picture, None
        try:
            with self._fleet.waits.of("picture", f"the picture of update {progress.updates}"):
                clip = self._fleet.get(ref)
        except HydrahiveError as loss:
            self._fleet.forget_evaluator()
            clip = Undrawn(str(loss))
        if isinstance(clip, Undrawn):
            text = f"the picture of update {progress.updates} is lost: {clip.reason}"
            self._story.event("picture_lost", text)
            return
        for sink in self._story.sinks:
            sink.clip(progress.env_steps, clip)
