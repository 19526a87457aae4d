"""The one way in which a driver waits: for fragments, updates, evaluations, audits, for actors and room for them.

Whoever waits looks up again and again. Then the members are looked after, what people ask of the run is obeyed (`pause`
holds the wait, `stop` ends it), and what is waited for is told in words once that takes long.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from hydrahive.runtime.fleet.refs import Listener, nobody

TELL_SECONDS = 10.0
"""A wait that takes longer is told, and told again whenever it has taken six times as long."""

OBEY_SECONDS = 0.5
"""Least time between two looks for what people ask."""


class StopAsked(BaseException):
    """Somebody asked the run to stop; no error, so nobody who deals with losses takes it for one."""


def _nothing() -> None:
    """Nobody to look after, nothing to obey."""


class Waits:
    """How a fleet's driver waits.

    Attributes:
        tend: Looks after the members, in each look.
        obey: Does what people ask; raises `StopAsked`.
    """

    def __init__(self, listener: Callable[[], Listener] = lambda: nobody) -> None:
        """Wait for nothing yet; `listener` gives whoever is told at the time."""
        self._listener = listener
        self.tend: Callable[[], None] = _nothing
        self.obey: Callable[[], None] = _nothing
        self._obeyed_at = 0.0
        self._told: dict[str, float] = {}
        self._about: tuple[str, str | Callable[[], str]] = ("answer", "an answer of one of the run's actors")

    def of(self, kind: str, words: str | Callable[[], str]) -> AbstractContextManager[None]:
        """Waits that begin inside of the block are for this.

        Args:
            kind: Of one kind, only a wait that is much longer than those before is told.
            words: What is waited for.
        """
        return _Block(self, (kind, words))

    def begin(self, *, tend: Callable[[], None] | None = None) -> Wait:
        """A wait for what the block that this stands in says; `tend` in place of `Waits.tend`."""
        return Wait(self, *self._about, tend or self.tend)

    def obey_now_and_then(self) -> None:
        """Do what people ask; raises `StopAsked`."""
        now = time.monotonic()
        if now - self._obeyed_at >= OBEY_SECONDS:
            self._obeyed_at = now
            self.obey()

    def tell(self, kind: str, words: str, waited_s: float) -> None:
        """Tell what is waited for, unless a wait of the kind was told that took nearly as long."""
        if waited_s >= 6 * self._told.get(kind, 0.0):
            self._told[kind] = waited_s
            self._listener()("waiting", f"waiting for {words} since {waited_s:.0f} s")


class _Block:
    """A block whose waits are for something; entered for each part of a round, so it costs little."""

    __slots__ = ("_about", "_before", "_waits")

    def __init__(self, waits: Waits, about: tuple[str, str | Callable[[], str]]) -> None:
        self._waits, self._about, self._before = waits, about, about

    def __enter__(self) -> None:
        self._before, self._waits._about = self._waits._about, self._about

    def __exit__(self, *_: object) -> None:
        self._waits._about = self._before


class Wait:
    """One wait, from its beginning on.

    Attributes:
        waited_s: How long it has taken.
    """

    def __init__(self, waits: Waits, kind: str, words: str | Callable[[], str], tend: Callable[[], None]) -> None:
        """Begin now."""
        self._waits, self._kind, self._words, self._tend = waits, kind, words, tend
        self._began, self._tell_at = time.monotonic(), TELL_SECONDS

    @property
    def waited_s(self) -> float:
        """How long it has taken."""
        return time.monotonic() - self._began

    def look(self) -> None:
        """Look up; to be called at least once a second.

        Raises:
            StopAsked: If somebody asked for it.
        """
        self._tend()
        self._waits.obey_now_and_then()
        if self.waited_s > self._tell_at:
            self._tell_at = 6 * self.waited_s
            words = self._words if isinstance(self._words, str) else self._words()
            self._waits.tell(self._kind, words, self.waited_s)
