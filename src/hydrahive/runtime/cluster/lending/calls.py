"""What a fleet says of its workers that lend their acting."""

from __future__ import annotations

from collections.abc import Mapping

from hydrahive.ledger.posting import WorkerFacts
from hydrahive.runtime.cluster.lending.crowd import Lenders
from hydrahive.runtime.runs.run_user import run_user


class LendingCalls:
    """The part of `hydrahive.runtime.fleet.interface.EnvWorkerCalls` that is about lending."""

    _lenders: Lenders

    def lends(self, worker: int) -> bool:
        """By how it was hired."""
        return self._lenders.lends(worker)

    def own(self, worker: int) -> WorkerFacts:
        """The process itself."""
        return self._lenders.own(worker)

    def is_own(self, worker: int) -> bool:
        """By the account that its node has proven to work for; whoever lends is one's own."""
        return self._lenders.own(worker).owner == run_user()

    def giver(self, worker: int) -> WorkerFacts:
        """The process, or the volunteer where he gives a part of a state."""
        return self._lenders.giver(worker)

    def most_shards(self) -> Mapping[int, int]:
        """By who has earned trust."""
        return self._lenders.most_shards()
