"""The coordinator in a process of its own, by pipes instead of Ray: it settles what is posted, and hears hearts beat.

It is the plain class (`hydrahive.runtime.coordinator.coordinator`), which needs no Ray. What Ray's calls themselves
take is not in it, nor what `CoordinatorActor` adds: metrics for Prometheus, and copies of the ledger.
"""

from __future__ import annotations

import itertools
import multiprocessing
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from hydrahive.core.errors import HydrahiveError, LedgerError
from hydrahive.ledger.posting import Sealed
from hydrahive.runtime.coordinator.coordinator import Coordinator
from hydrahive.runtime.coordinator.registry import Member
from hydrahive.runtime.fleet.ledger_line import Answer, RunAccount
from hydrahive.runtime.roles.heart import BEAT_SECONDS, Sign

NO_ANSWER = 0
"""The number of calls that nobody waits for."""

LONGEST_SECONDS = 600.0
"""Of one answer."""


class CoordinatorProcess:
    """The driver's end of the pipe."""

    def __init__(self, folder: Path) -> None:
        """Start the coordinator, with its file in this folder."""
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        heard, self._beats = context.Pipe(duplex=False)
        self._context = context
        self._processes = [context.Process(target=_coordinate, args=(folder, theirs, heard), daemon=True)]
        self._processes[0].start()
        theirs.close()
        heard.close()
        self._numbers = itertools.count(NO_ANSWER + 1)
        self._answers: dict[int, Any] = {}

    def tell(self, method: str, *arguments: Any) -> None:
        """Have a method of `Coordinator` called; nobody waits for it."""
        self._pipe.send((NO_ANSWER, method, arguments))

    def call(self, method: str, *arguments: Any) -> int:
        """Have a method called; the number of its answer."""
        number = next(self._numbers)
        self._pipe.send((number, method, arguments))
        return number

    def is_answered(self, number: int, timeout_s: float = 0.0) -> bool:
        """Whether an answer is there, or comes within so long."""
        until = time.monotonic() + timeout_s
        while number not in self._answers and self._pipe.poll(max(0.0, until - time.monotonic())):
            answered, value = self._pipe.recv()
            self._answers[answered] = value
        return number in self._answers

    def answer(self, number: int) -> Any:
        """The answer, which is there; raises what the method raised."""
        value = self._answers.pop(number)
        if isinstance(value, Exception):
            raise value
        return value

    def ask(self, method: str, *arguments: Any) -> Any:
        """Call a method and wait for its answer.

        Raises:
            HydrahiveError: If none comes.
        """
        number = self.call(method, *arguments)
        if not self.is_answered(number, LONGEST_SECONDS):
            raise HydrahiveError(f"bench scale: the coordinator has not answered for {LONGEST_SECONDS:.0f} s")
        return self.answer(number)

    def cpu_seconds(self) -> float:
        """CPU time of its process, after all calls made so far."""
        return float(self.ask("cpu_seconds"))

    def hire(self, members: Sequence[Member]) -> float:
        """Have members registered, whose hearts beat from now on; the seconds until all are."""
        began = time.perf_counter()
        for member in members:
            self.tell("register", member)
        self.cpu_seconds()
        seconds = time.perf_counter() - began
        names = [member.member for member in members]
        self._processes.append(self._context.Process(target=_beat, args=(names, self._beats), daemon=True))
        self._processes[-1].start()
        self._beats.close()
        return seconds

    def close(self) -> None:
        """End it."""
        self._pipe.close()
        for process in reversed(self._processes):
            process.terminate()
            process.join()


class PipedLine:
    """The ledger, through the coordinator's process."""

    def __init__(self, coordinator: CoordinatorProcess, path: Path) -> None:
        """Have the coordinator open the ledger at `path`."""
        self._coordinator, self._call = coordinator, NO_ANSWER
        self.place = str(coordinator.ask("use_ledger", path))

    def post(self, run: RunAccount, postings: Sequence[Sealed]) -> None:
        """Hand postings over."""
        self._call = self._coordinator.call("settle", run, tuple(postings))

    def answer(self, timeout_s: float) -> Answer | None:
        """The answer to the last call, if it is there.

        Raises:
            LedgerError: If it failed.
        """
        if not self._coordinator.is_answered(self._call, timeout_s):
            return None
        try:
            answer: Answer = self._coordinator.answer(self._call)
        except LedgerError:
            raise
        except Exception as error:
            raise LedgerError(f"{type(error).__name__}: {error}") from None
        return answer

    def close(self) -> None:
        """The coordinator stays."""


def _coordinate(folder: Path, calls: Connection, beats: Connection) -> None:
    """The coordinator's process: answer one call after the other, until the driver is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    coordinator = Coordinator(folder / "coordinator.sqlite")
    with suppress(EOFError, OSError):
        while True:
            for pipe in wait([calls, beats]):
                assert isinstance(pipe, Connection), "one of the two"
                number, method, arguments = pipe.recv()
                answer = _called(coordinator, method, arguments)
                if number != NO_ANSWER:
                    calls.send((number, answer))


def _called(coordinator: Coordinator, method: str, arguments: Sequence[Any]) -> Any:
    if method == "cpu_seconds":
        return time.process_time()
    try:
        return getattr(coordinator, method)(*arguments)
    except Exception as error:  # whoever asked hears it
        return error


def _beat(members: Sequence[str], beats: Connection) -> None:
    """The hearts' process: a sign of life of each member every `BEAT_SECONDS`, evenly spread."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    due = time.monotonic()
    with suppress(OSError):
        for member in itertools.cycle(members):
            time.sleep(max(0.0, due - time.monotonic()))
            beats.send((NO_ANSWER, "beat", (member, Sign(0, 0, 0.0))))
            due += BEAT_SECONDS / len(members)
