"""The schedule that makes a run reproducible: which fragment is computed when, with which weights, and learned where.

It never depends on who computes a fragment, how often, or when: what is lost is made again with the same bytes.
"""

from __future__ import annotations

from collections.abc import Generator

from hydrahive.core.errors import FragmentError, LearnerLostError, LostError
from hydrahive.core.fragment import FragmentSummary
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.fleet.interface import Fleet
from hydrahive.runtime.runs.boundary import Boundary
from hydrahive.runtime.schedule.dataflow import Replayed, in_order
from hydrahive.runtime.schedule.hedging import Hedging
from hydrahive.runtime.schedule.in_flight import InFlight
from hydrahive.runtime.schedule.recovering import Recovery
from hydrahive.runtime.schedule.spreading import spread
from hydrahive.runtime.schedule.updates import Update

LOOK_SECONDS = 0.5
"""Time after which a wait for a round is interrupted to look for stragglers."""


class FixedLag:
    """Round r acts with version max(0, r - lag) and is learned in update r, whoever computes it and when.

    Fragments are submitted as soon as their weights have a reference. An update is submitted only when its whole
    round is ready; until then a fragment's reference may be replaced by another that holds the same bytes.

    When something is lost, everything under way is waited for, and what is missing is made again: shards that
    still stand where they should go on, the others are restored from the last boundary and replayed with the
    versions that acted since. The learner never steps back.
    """

    def __init__(self, fleet: Fleet, config: RunConfig, start: Boundary | None, replayed: Replayed) -> None:
        """Begin at `start` or at round 0."""
        self._fleet, self._config = fleet, config
        self._flight = InFlight(fleet, config, start, replayed)
        self._hedging = Hedging(self._flight)
        self._recovery = Recovery(self._flight, self._hedging)

    def updates(self) -> Generator[Update, None, None]:
        """Train; one item for each update, in order, until `stop.env_steps` is reached.

        Raises:
            LearnerLostError: If the learner is gone; a new schedule must begin at the last boundary.
            HydrahiveError: If a fragment failed too often.
        """
        flight = self._flight
        # A round that is ready had its weights, so all updates but the newest lag + 1 are done: no waiting.
        # Inline, every update is done when the call returns.
        while not flight.is_over() or flight.pending:
            try:
                if not flight.is_over():
                    spread(flight)
                    flight.submit_rounds()
                    flight.submit_update(self._whole_round(flight.progress.updates))
                under_way = self._config.lag + 1 if self._fleet.worker_count else 0
                while flight.pending and (flight.is_over() or len(flight.pending) > under_way):
                    update = flight.oldest_update()
                    self._recovery.note_update()
                    yield update
            except LearnerLostError:
                raise
            except (LostError, FragmentError) as trouble:
                self._recovery.recover_from(trouble)

    def _whole_round(self, round_: int) -> list[list[FragmentSummary]]:
        """Wait until every fragment of a round is ready, wherever it lies; what is said of them, by part."""
        flight = self._flight
        with self._fleet.waits.of("round", lambda: f"round {round_}: {flight.late_in_words(round_)}"):
            wait = self._fleet.waits.begin()
        while not self._fleet.ready([ref for part in flight.rounds[round_] for ref in part.refs], LOOK_SECONDS):
            wait.look()
            self._hedging.look(round_, wait.waited_s)
        self._hedging.drop()
        opened = [flight.opened(part) for part in flight.rounds[round_]]
        said = in_order(opened)
        self._hedging.note_round(flight.rounds[round_], sum(summary.seconds for summary in said) / len(said))
        assert [summary.shard for summary in said] == list(range(self._config.shards)), "not one of each shard"
        return opened
