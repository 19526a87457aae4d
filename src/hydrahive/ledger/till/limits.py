"""How fast each account may ask: a bucket that fills with time. Kept in memory; nothing of it is money."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hydrahive.ledger.till.queries import Admitted, Queries, Query, Refused

BURST_SECONDS = 2.0
"""An account may ask as much at once as it may in so many seconds."""


@dataclass(frozen=True)
class TooFast:
    """A query that came too soon, and the seconds after which to ask again."""

    seconds: float


class Limits:
    """One bucket for each account that has asked."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Nobody has asked yet; `clock` gives monotonic seconds."""
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}
        assert BURST_SECONDS > 0, "somebody may ask"
        assert clock() <= clock(), "time goes on"

    def admit(self, queries: Queries, asked: Sequence[Query], per_second: int) -> list[Admitted | Refused | TooFast]:
        """For each query, in order, whether it may be answered; one that comes too soon is not looked at further."""
        assert per_second >= 1, "somebody may ask"
        waits = [self._wait_of(queries.account_of(query.key), per_second) for query in asked]
        admitted = iter(queries.admit([query for query, wait in zip(asked, waits, strict=True) if not wait]))
        answers = [TooFast(wait) if wait else next(admitted) for wait in waits]
        assert len(answers) == len(asked), "one each"
        return answers

    def _wait_of(self, account: str | None, per_second: int) -> float:
        """Take one query out of an account's bucket; the seconds to wait if there is none, when nothing is taken."""
        if account is None:
            return 0.0
        now, most = self._clock(), per_second * BURST_SECONDS
        left, at = self._buckets.get(account, (most, now))
        assert now >= at, "time goes on"
        left = min(most, left + (now - at) * per_second)
        enough = left >= 1
        self._buckets[account] = (left - 1 if enough else left, now)
        assert self._buckets[account][0] >= 0, "no bucket is more than empty"
        return 0.0 if enough else (1 - left) / per_second
