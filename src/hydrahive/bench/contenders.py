"""What can be raced: our trainer in its several ways. Each runs only inside its windows."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from hydrahive.core.errors import HydrahiveError
from hydrahive.ledger.audit_rules import Standings
from hydrahive.ledger.ledger import Ledger
from hydrahive.ledger.prices import price_of
from hydrahive.runtime.accounting.audits import Audits, Caught
from hydrahive.runtime.accounting.run_accounts import RunAccounts
from hydrahive.runtime.cluster.member import RunOnCluster
from hydrahive.runtime.cluster.ray_fleet import RayFleet
from hydrahive.runtime.config.run_config import RunConfig, StopConfig
from hydrahive.runtime.fleet.inline import InlineFleet
from hydrahive.runtime.fleet.interface import Fleet
from hydrahive.runtime.fleet.ledger_line import DirectLine, LedgerLine, RunAccount
from hydrahive.runtime.runs.boundary import Progress
from hydrahive.runtime.schedule.schedules import schedule_of
from hydrahive.runtime.training.memory_plan import MOST_WAITING

NEVER = StopConfig(env_steps=10**15)


def settling(seconds: float) -> float:
    """Time before a window of so many seconds that is not counted: pipelines fill, others' last work drains.

    That may be a fragment of a second and more, where steps are dear.
    """
    return max(1.0, seconds / 4)


class Contender(Protocol):
    """Something that trains in windows of time."""

    name: str

    def window(self, seconds: float) -> float:
        """Train for about so long and give the trained env steps/s."""

    def close(self) -> None:
        """End it."""


class Hydrahive:
    """Our own trainer: its schedule over a fleet, with its books, without sinks or checkpoints."""

    def __init__(self, name: str, config: RunConfig, fleet: Fleet, *, embedded: bool = True) -> None:
        """Begin a run that never stops by itself; its ledger is a file of its own that goes with it."""
        self.name = name
        self._fleet = fleet
        self._config = config = dataclasses.replace(config, stop=NEVER)
        self._folder = tempfile.TemporaryDirectory(prefix="hydrahive-bench-")
        path = Path(self._folder.name) / "ledger.sqlite"
        self._line: LedgerLine | None = None
        if config.ledger.enabled:
            # A race earns nothing: the ledger of a cluster that others use is left alone.
            self._line = fleet.ledger_line(path) if embedded else DirectLine(Ledger(path))
        account, price = RunAccount(name, name, "bench", bytes(32)), price_of(config.ledger, config.env.step_weight)
        self._accounts = RunAccounts(account, price, 0, Progress(), self._line)
        standings = Standings(config.audit)
        self._audits = Audits(fleet, standings, bytes(32), 0, None, MOST_WAITING)
        fleet.oversee(bytes(32), standings)
        self._updates = schedule_of(config, fleet, None).updates()

    def window(self, seconds: float) -> float:
        """Train; updates are counted when the learner has done them."""
        self._train(settling(seconds))
        return self._train(seconds)

    def _train(self, seconds: float) -> float:
        first = self._update()
        started = time.perf_counter()
        steps = first
        while time.perf_counter() - started < seconds:
            steps = self._update()
        return (steps - first) / (time.perf_counter() - started)

    def _update(self) -> int:
        """One update, and what the books want of it; the env steps after it."""
        update = next(self._updates)
        self._accounts.take(update)
        self._audits.take(update)
        for passed in self._audits.passed(wait=False):
            assert not isinstance(passed, Caught), passed.verdict.text
            if passed.updates // self._config.boundary_every % self._config.checkpoint.every_boundaries == 0:
                self._accounts.judge(self._audits.take_verdicts())
                self._accounts.seal(passed.progress)
                self._accounts.post(_complain)
        self._accounts.tend(_complain)
        return update.progress.env_steps

    def close(self) -> None:
        """End the fleet."""
        self._updates.close()
        self._fleet.close()
        if self._line:
            self._line.close()
        self._folder.cleanup()


def _complain(kind: str, text: str, **fields: object) -> None:
    """Nothing may go wrong with the books in a race: it would be measured as speed.

    Raises:
        HydrahiveError: Always.
    """
    raise HydrahiveError(f"bench: {text}")


def ours(name: str, config: RunConfig, workers: int, device: str, *, embedded: bool = True) -> Hydrahive:
    """Our trainer inline (`workers` 0) or with so many env workers on the connected Ray cluster."""
    if workers == 0:
        return Hydrahive(name, config, InlineFleet(config, name, device))
    fleet = RayFleet(config, RunOnCluster(name, f"bench-{name}", device, workers, embedded))
    return Hydrahive(name, config, fleet, embedded=embedded)


def close_all(contenders: list[Contender]) -> None:
    """End all contenders, whatever any of them raises."""
    with ExitStack() as stack:
        for contender in contenders:
            stack.callback(contender.close)
