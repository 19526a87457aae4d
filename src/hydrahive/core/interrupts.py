"""Ctrl-C and SIGTERM as one exception, held back where a thought must be finished."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(BaseException):
    """The run was asked to end; `exit_code` is 130 for Ctrl-C and 143 for SIGTERM."""

    def __init__(self, signum: int) -> None:
        """Remember which signal it was."""
        super().__init__(signal.Signals(signum).name)
        self.exit_code = 128 + signum


class Interrupts:
    """Turns the first signal into `Interrupted` in the main thread; later ones change nothing.

    Install it after `ray.init`, which replaces earlier handlers.
    """

    def __init__(self) -> None:
        """Listen to nothing yet."""
        self._held_back = 0
        self._signum: int | None = None

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Listen during the block."""
        signals = (signal.SIGINT, signal.SIGTERM)
        before = [signal.signal(signum, self._on_signal) for signum in signals]
        try:
            with self.recognised():
                yield
        finally:
            for signum, handler in zip(signals, before, strict=True):
                signal.signal(signum, handler)

    @contextmanager
    def recognised(self) -> Iterator[None]:
        """Raise as `Interrupted` what Ray makes of it: a SystemError, where a signal comes while Ray waits."""
        try:
            yield
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
        if self._signum is not None and not self._held_back:
            raise Interrupted(self._signum)

    def look(self) -> None:
        """Raise what came before, where others' code caught it: an environment may swallow all exceptions.

        Raises:
            Interrupted: If a signal has come.
        """
        if self._signum is not None and not self._held_back:
            raise Interrupted(self._signum)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if self._signum is not None:
            return
        self._signum = signum
        if not self._held_back:
            raise Interrupted(signum)
