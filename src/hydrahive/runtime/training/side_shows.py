"""What goes on beside the training: evaluations on held-out seeds, and pictures of the policy."""

from __future__ import annotations

from typing import Protocol

from hydrahive.core.errors import HydrahiveError
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.fleet.interface import EvaluatorCalls, Opening
from hydrahive.runtime.fleet.refs import Ref
from hydrahive.runtime.roles.pictures import Undrawn
from hydrahive.runtime.schedule.updates import Update
from hydrahive.runtime.training.clock import Clock
from hydrahive.runtime.training.story import Story


class Stage(EvaluatorCalls, Opening, Protocol):
    """What side shows ask of a fleet."""


class SideShows:
    """Asks for evaluations and pictures when they are due, and writes them when they have come."""

    def __init__(self, config: RunConfig, fleet: Stage, story: Story, clock: Clock) -> None:
        """Ask for nothing yet."""
        self._config, self._fleet, self._story, self._clock = config, fleet, story, clock
        self._evaluations: list[tuple[Update, float, Ref]] = []
        self._picture: tuple[Update, Ref] | None = None

    def take(self, update: Update) -> None:
        """Ask for what is due after an update, and write what has come."""
        updates, every = update.progress.updates, self._config.evaluate_every
        if every and updates % every == 0:
            self._evaluations.append((update, self._clock.seconds, self._fleet.evaluate(update.weights)))
        every = self._config.pictures_every
        if every and updates % every == 0 and self._picture is None:  # one at a time: it may take many updates
            self._picture = (update, self._fleet.picture(update.weights))
        self._write_evaluations(wait=False)
        self._write_picture(wait=False)

    def finish(self) -> None:
        """Wait for what was asked for, and write it."""
        self._write_picture(wait=True)
        self._write_evaluations(wait=True)

    def give_up(self) -> None:
        """The run has ended: tell which evaluations it cut off."""
        for update, *_ in self._evaluations:
            why = "the run ended before it was done"
            self._story.event("evaluation_lost", f"the evaluation of update {update.progress.updates} is lost: {why}")

    def _write_evaluations(self, *, wait: bool) -> None:
        while self._evaluations and self._fleet.ready([self._evaluations[0][2]], None if wait else 0):
            update, seconds, ref = self._evaluations.pop(0)
            try:
                figures = self._fleet.get(ref).summary()
            except HydrahiveError as loss:
                self._fleet.forget_evaluator()
                text = f"the evaluation of update {update.progress.updates} is lost: {loss}"
                self._story.event("evaluation_lost", text)
                continue
            values = {f"evaluation_{name}": value for name, value in figures.items()}
            gradient_steps = {"gradient_steps": update.metrics["gradient_steps"]}
            self._story.row(update.progress, seconds, {**gradient_steps, **values})

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
            text = f"the picture of update {update.progress.updates} is lost: {clip.reason}"
            self._story.event("picture_lost", text)
            return
        for sink in self._story.sinks:
            sink.clip(update.progress.env_steps, clip)
