"""Ctrl-C, SIGTERM and SIGHUP as one exception, held back where a thought must be finished."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What ends a run."""

AGAIN_SECONDS = 1.0
"""A signal that comes so long after the first is meant: what was held back is not waited for any more."""


class Interrupted(BaseException):
    """The run was asked to end; `exit_code` is 130 for Ctrl-C, 143 for SIGTERM and 129 for SIGHUP.

    Attributes:
        told: Whether somebody has told it already, with what is kept.
    """

    def __init__(self, signum: int) -> None:
        """Remember which signal it was."""
        super().__init__(signal.Signals(signum).name)
        self.exit_code = 128 + signum
        self.told = False


_EARLY: list[tuple[int, float]] = []
"""Signals that came before anybody listened, and when."""


def listen_early() -> None:
    """From the first moment of a process on: take down signals, for `look_early` and whoever listens later.

    Nothing is raised inside of imports, some of which swallow it, and others of which break by it; but a second one,
    later, is meant.
    """
    for signum in _heard():
        signal.signal(signum, _heard_early)


def _heard() -> list[signal.Signals]:
    """All, but for a hang-up that `nohup` has ignored; Ctrl-C is ignored for whatever a script starts with `&`."""
    return [one for one in SIGNALS if one != signal.SIGHUP or signal.getsignal(one) is not signal.SIG_IGN]


def look_early() -> None:
    """Raise what came before anybody listened.

    Raises:
        Interrupted: If something did.
    """
    if _EARLY:
        raise Interrupted(_EARLY[0][0])


def _heard_early(signum: int, _frame: FrameType | None) -> None:
    now = time.monotonic()
    _EARLY.append((signum, now))
    if now - _EARLY[0][1] > AGAIN_SECONDS:
        raise Interrupted(_EARLY[0][0])


@contextmanager
def _unreplaced() -> Iterator[None]:
    """Handlers of what ends a run stay during the block, whatever Python code asks for.

    One that raises `SystemExit` is no good for an instant: Python drops what is raised inside of a lock's release.
    """
    real = signal.signal

    def others(signum: int, handler: Any) -> Any:
        return signal.getsignal(signum) if signum in SIGNALS else real(signum, handler)

    signal.signal = others  # type: ignore[assignment]
    try:
        yield
    finally:
        signal.signal = real


class Interrupts:
    """Turns the first signal into `Interrupted` in the main thread; an impatient second one ends what holds it back.

    Whatever replaces the handlers meanwhile, as `ray.init` does, `again` puts them back.
    """

    def __init__(self) -> None:
        """Listen to nothing yet."""
        self._held_back = 0
        self._signum: int | None = None
        self._heard_at = 0.0
        self._listens = False

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Listen during the block; outside of the main thread, to nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = [signal.getsignal(signum) for signum in SIGNALS]
        self._listens = True
        self.again()
        look_early()
        try:
            with self.recognised():
                yield
        finally:
            self._listens = False
            for signum, handler in zip(SIGNALS, before, strict=True):
                signal.signal(signum, handler)

    def again(self) -> None:
        """Listen on, after something that may have put other handlers there."""
        if self._listens:
            for signum in _heard():
                signal.signal(signum, self._on_signal)

    @contextmanager
    def recognised(self) -> Iterator[None]:
        """Raise as `Interrupted` what others make of it.

        A SystemError, where a signal comes while Ray waits; a SystemExit of Ray's own handler; a KeyboardInterrupt of
        Python's.
        """
        try:
            yield
        except KeyboardInterrupt:
            raise Interrupted(signal.SIGINT) from None
        except SystemExit as left:
            if left.code in SIGNALS:
                raise Interrupted(int(left.code)) from None
            raise
        except Exception as error:
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, Interrupted):
                cause = cause.__cause__
            if cause is None:
                raise
            raise cause from None

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """Raise only at the end of the block, so that what is being written is written whole."""
        self._held_back += 1
        try:
            yield
        finally:
            self._held_back -= 1
        self.look()

    def held_back_in(self, call: Callable[[], Any]) -> Any:
        """What a call gives that would put other handlers there, as Ray does, and must not be cut short."""
        with self.held_back():
            try:
                with self.recognised(), _unreplaced():
                    return call()
            finally:
                self.again()

    def look(self) -> None:
        """Raise what came before, where others' code caught it: an environment may swallow all exceptions.

        Raises:
            Interrupted: If a signal has come.
        """
        if self._signum is not None and not self._held_back:
            raise Interrupted(self._signum)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._signum is None:
            self._signum, self._heard_at = signum, now
            if not self._held_back:
                raise Interrupted(signum)
        elif now - self._heard_at > AGAIN_SECONDS:
            self._heard_at = now
            raise Interrupted(self._signum)
