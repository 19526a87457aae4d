"""The actors of a run: hired, heard, and buried."""

from __future__ import annotations

import time

from hydrahive.runtime.cluster.beside import Beside, Slicers
from hydrahive.runtime.cluster.crew import Crew
from hydrahive.runtime.cluster.ending import Ending
from hydrahive.runtime.cluster.hearing import Hearing
from hydrahive.runtime.cluster.hiring import Hiring
from hydrahive.runtime.cluster.lending.crowd import Lenders
from hydrahive.runtime.cluster.member import RunOnCluster
from hydrahive.runtime.cluster.welcoming import Welcoming
from hydrahive.runtime.config.run_config import RunConfig

CALL_SECONDS = 1.0
"""Time between two looks at the members."""


class Members:
    """The crew of a run, and those who look after it."""

    def __init__(self, config: RunConfig, run: RunOnCluster) -> None:
        """Hire nobody yet."""
        self.crew = Crew(config, run)
        self.ending = Ending(self.crew)
        self.hearing = Hearing(self.crew, self.ending)
        self.welcoming = Welcoming(self.crew, self.hearing)
        self.hiring = Hiring(self.crew, self.ending, self.hearing, self.welcoming)
        self.beside = Beside(self.crew, self.hiring, self.ending)
        self.slicers = Slicers(self.crew, self.hiring, self.ending, self.welcoming)
        self.lenders = Lenders(self.crew, self.hiring, self.welcoming)
        self._looked_at = 0.0

    def look_after(self) -> None:
        """At most once in `CALL_SECONDS`: hear the coordinator, act on silence, let join and leave."""
        now = time.monotonic()
        if now - self._looked_at < CALL_SECONDS:
            return
        self._looked_at = now
        self.hearing.hear()
        self.welcoming.welcome()
        self.beside.look_after()
        self.slicers.look_after()
        self.lenders.look_after()
        self.hiring.end_who_hangs()
        self.ending.see_who_must_leave()
        self.ending.see_off()
        self.hiring.hire_who_is_missing()

    def end(self) -> None:
        """End all actors."""
        for role in list(self.crew.beside):
            self.beside.forget(role)
        self.lenders.close()
        self.welcoming.note_who_waits()
        self.ending.end_all()
