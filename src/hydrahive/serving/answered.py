"""Answers that were paid for, kept for a while: who asks again under the same name is given the same one."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

KEPT_SECONDS = 600.0
"""How long an answer is kept."""

KEPT_BYTES = 64 * 2**20
"""How much is kept, of all answers together."""

Name = tuple[str, str, str, str]
"""Whose question it is, what it asks, its digest, and the name that it was given."""


class Answered:
    """The newest answers by name, bounded in time and size."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """None yet; `clock` gives monotonic seconds."""
        self._clock = clock
        self._kept: OrderedDict[Name, tuple[float, int, Any]] = OrderedDict()
        self._bytes = 0

    def keep(self, name: Name, answer: Any, size: int) -> None:
        """Keep an answer of about so many bytes; the oldest make room."""
        self._forget(name)
        if size > KEPT_BYTES:
            return
        self._kept[name] = self._clock(), size, answer
        self._bytes += size
        while self._bytes > KEPT_BYTES or self._clock() - next(iter(self._kept.values()))[0] > KEPT_SECONDS:
            self._forget(next(iter(self._kept)))

    def found(self, name: Name) -> Any | None:
        """The answer, if it is still kept."""
        at, _, answer = self._kept.get(name, (0.0, 0, None))
        if answer is not None and self._clock() - at > KEPT_SECONDS:
            self._forget(name)
            return None
        return answer

    def _forget(self, name: Name) -> None:
        if name in self._kept:
            self._bytes -= self._kept.pop(name)[1]
