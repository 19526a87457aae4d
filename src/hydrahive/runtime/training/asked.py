"""What people ask of a run while it is trained: pause, continue, stop; and who watches it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from hydrahive.ledger.prices import price_of
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.fleet.interface import Fleet
from hydrahive.runtime.fleet.waiting import StopAsked
from hydrahive.runtime.runs.controls import FolderControls
from hydrahive.runtime.runs.run_folder import RunFolder
from hydrahive.runtime.schedule.updates import Update
from hydrahive.runtime.training.clock import Clock
from hydrahive.runtime.training.keeper import Keeper
from hydrahive.runtime.training.story import Story
from hydrahive.runtime.training.watch import Watch

PAUSE_LOOK_SECONDS = 0.1
"""Time between two looks for an end of the pause."""


class AskedEarly:
    """What is asked of a run while its fleet is gathered: `stop` is obeyed, the rest is kept for whoever trains it.

    Attributes:
        controls: By which it is asked, and answered.
        kept: What was asked so far, in order.
    """

    def __init__(self, folder: RunFolder, env_steps: int = 0) -> None:
        """Hear what is asked of a run that has come so far."""
        self._folder, self._env_steps = folder, env_steps
        self.controls = FolderControls(folder.path)
        self.kept: list[str] = []

    def begin(self) -> None:
        """The run is this process's from now on; what was asked of one before it is dropped."""
        if self._folder.exists():
            self.controls.forget()
            self.controls.say("running", self._env_steps)

    def obey(self, request: Callable[[], str | None]) -> None:
        """Do what is asked, of the folder or as `request` gives it.

        Raises:
            StopAsked: If the run shall stop.
        """
        while asked := request() or self.controls.take():
            if asked == "stop":
                raise StopAsked
            self.kept.append(asked)

    def stopped(self) -> None:
        """Nothing is trained any more."""
        if self._folder.exists():
            self.controls.say("ended", self._env_steps)


class Asked:
    """Hears what people ask, through the run's folder or the coordinator, and does it."""

    def __init__(
        self,
        config: RunConfig,
        folder: RunFolder,
        fleet: Fleet,
        keeper: Keeper,
        story: Story,
        clock: Clock,
        early: AskedEarly,
    ) -> None:
        """Hear nothing yet; `early` has heard what was asked while the fleet was gathered."""
        self._fleet, self._keeper, self._story, self._clock = fleet, keeper, story, clock
        self._controls, self._requests = early.controls, deque(early.kept)
        early.kept.clear()
        self._watch = Watch(folder, fleet, price_of(config.ledger, config.env.step_weight))

    def begin(self) -> None:
        """The run is trained from now on; what was asked of a process before this one is dropped."""
        self._controls.forget()
        self._controls.say("running", self._story.taken.env_steps)
        self._fleet.waits.obey = self._obey_in_a_wait

    def take(self, update: Update) -> None:
        """Show those who watch what an update brought."""
        self._watch.take(update)

    def obey(self) -> bool:
        """Look after the fleet and do what people ask; False if the run shall stop."""
        taken = self._story.taken
        self._watch.tend("running", taken, self._clock.seconds)
        self._hear(self._fleet.tend(taken.env_steps))
        return self._do_as_asked() != "stop"

    def _obey_in_a_wait(self) -> None:
        """Do what people ask though something is waited for: nothing is submitted meanwhile, so a pause is one.

        Raises:
            StopAsked: If the run shall stop.
        """
        self._hear(self._fleet.request())
        if self._do_as_asked() == "stop":
            raise StopAsked

    def _hear(self, of_fleet: str | None) -> None:
        self._requests.extend(asked for asked in (of_fleet, self._controls.take()) if asked)

    def _do_as_asked(self) -> str | None:
        """Do what was asked first; what it came to."""
        asked = self._requests.popleft() if self._requests else None
        return self._pause() if asked == "pause" else asked

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
            self._hear(self._fleet.tend(taken.env_steps, paused=True))
            asked = self._requests.popleft() if self._requests else None
        seconds = time.perf_counter() - began
        self._clock.leave_out(seconds)
        if asked == "continue":
            self._controls.say("running", taken.env_steps)
            event("continued", f"continued after {seconds:.1f} s")
        return str(asked)

    def end(self, *, is_held: bool) -> None:
        """The run is not trained any more; `is_held`: it will go on later."""
        self._fleet.waits.obey = lambda: None
        self._controls.say("ended", self._story.taken.env_steps)
        self._watch.close("ended", self._story.taken, self._clock.seconds, is_held=is_held)
