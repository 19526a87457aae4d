"""What a fleet says of its workers that lend their acting."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from hydrahive.ledger.posting import WorkerFacts
from hydrahive.runtime.cluster.lending.crowd import Lenders
from hydrahive.runtime.runs.run_user import run_user


class LendingCalls(ABC):
    """The part of `hydrahive.runtime.fleet.interface.EnvWorkerCalls` that is about lending."""

    _lenders: Lenders

    @abstractmethod
    def facts(self, worker: int) -> WorkerFacts:
        """As the fleet's."""

    @abstractmethod
    def audits(self, worker: WorkerFacts) -> bool:
        """As the fleet's."""

    def lends(self, worker: int) -> bool:
        """By how it was hired."""
        return self._lenders.lends(worker)

    def own(self, worker: int) -> WorkerFacts:
        """The process itself."""
        return self._lenders.own(worker)

    def is_own(self, worker: int) -> bool:
        """By the account that its node has proven to work for; whoever lends is one's own."""
        return self._lenders.own(worker).owner == run_user()

    def hands_over(self, worker: int) -> bool:
        """Who is not audited, and who lends, unless the volunteer gives a part of the state."""
        return not self.audits(self.facts(worker)) or self._lenders.hands_over(worker)

    def most_shards(self) -> Mapping[int, int]:
        """By who has earned trust."""
        return self._lenders.most_shards()
