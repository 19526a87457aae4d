"""What people ask of a run while it is trained: pause, continue, stop; and who watches it."""

from __future__ import annotations

import time

from hydrahive.ledger.prices import price_of
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.fleet.interface import Fleet
from hydrahive.runtime.runs.controls import FolderControls
from hydrahive.runtime.runs.run_folder import RunFolder
from hydrahive.runtime.schedule.updates import Update
from hydrahive.runtime.training.clock import Clock
from hydrahive.runtime.training.keeper import Keeper
from hydrahive.runtime.training.story import Story
from hydrahive.runtime.training.watch import Watch

PAUSE_LOOK_SECONDS = 0.1
"""Time between two looks for an end of the pause."""


class Asked:
    """Hears what people ask, through the run's folder or the coordinator, and does it."""

    def __init__(
        self, config: RunConfig, folder: RunFolder, fleet: Fleet, keeper: Keeper, story: Story, clock: Clock
    ) -> None:
        """Hear nothing yet."""
        self._fleet, self._keeper, self._story, self._clock = fleet, keeper, story, clock
        self._controls = FolderControls(folder.path)
        self._watch = Watch(folder, fleet, price_of(config.ledger, config.env.step_weight))

    def begin(self) -> None:
        """The run is trained from now on; what was asked of a process before this one is dropped."""
        self._controls.forget()
        self._controls.say("running", self._story.taken.env_steps)

    def take(self, update: Update) -> None:
        """Show those who watch what an update brought."""
        self._watch.take(update)

    def obey(self) -> bool:
        """Look after the fleet and do what people ask; False if the run shall stop."""
        taken = self._story.taken
        self._watch.tend("running", taken, self._clock.seconds)
        asked = self._fleet.tend(taken.env_steps) or self._controls.take()
        if asked == "pause":
            asked = self._pause()
        return asked != "stop"

    def _pause(self) -> str:
        """Submit nothing until `continue` or `stop` is asked; the pause does not count as training time."""
        began, at = time.perf_counter(), self._clock.seconds
        taken, event = self._story.taken, self._story.event
        self._keeper.save_newest()
        event("paused", f"paused at {taken.env_steps:,} env steps", env_steps=taken.env_steps)
        self._controls.say("paused", taken.env_steps)
        asked = None
        while asked not in ("continue", "stop"):
            time.sleep(PAUSE_LOOK_SECONDS)
            self._watch.tend("paused", taken, at)
            asked = self._fleet.tend(taken.env_steps, paused=True) or self._controls.take()
        seconds = time.perf_counter() - began
        self._clock.leave_out(seconds)
        if asked == "continue":
            self._controls.say("running", taken.env_steps)
            event("continued", f"continued after {seconds:.1f} s")
        return str(asked)

    def end(self, *, is_held: bool) -> None:
        """The run is not trained any more; `is_held`: it will go on later."""
        self._controls.say("ended", self._story.taken.env_steps)
        self._watch.close("ended", self._story.taken, self._clock.seconds, is_held=is_held)
