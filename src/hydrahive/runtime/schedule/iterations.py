"""The other named exception: RLlib decides who computes what, and an update is one of its iterations."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
from blake3 import blake3

from hydrahive.core.fragment import FragmentId
from hydrahive.core.receipt import Consumed
from hydrahive.core.state import nested
from hydrahive.runtime.config.changes import algorithm_at, algorithms
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.runs.boundary import Boundary, Progress
from hydrahive.runtime.schedule.dataflow import Replayed
from hydrahive.runtime.schedule.updates import Episodes, Update, Work


class Iterations:
    """Updates as RLlib makes them; env runners' tallies stand for fragments."""

    def __init__(self, fleet: Any, config: RunConfig, start: Boundary | None, replayed: Replayed) -> None:
        """Begin at `start`, which the fleet has, or with nothing.

        `fleet`: a `hydrahive.runtime.cluster.rllib.fleet.RllibFleet`, which this room cannot name: Ray is below it.
        """
        self._fleet, self._config = fleet, config
        self.progress = start.progress if start else Progress()
        self._algorithms = algorithms(config)
        self._holds = algorithm_at(self._algorithms, self.progress.updates) if start else config.algorithm
        self._since: dict[int, int] = {}

    def updates(self) -> Generator[Update, None, None]:
        """Train; one item for each iteration, until the run's stop is reached."""
        stop = self._config.stop
        while True:
            wanted = algorithm_at(self._algorithms, self.progress.updates)
            if wanted != self._holds:
                self._fleet.change(wanted)
                self._holds = wanted
            update = self._update()
            yield update
            over = self.progress.env_steps >= stop.env_steps
            if over or (stop.updates is not None and self.progress.updates >= stop.updates):
                return

    def _update(self) -> Update:
        done, round_, stop = self._fleet.iterate(), self.progress.updates, self._config.stop
        found = [(*self._fleet.runner(counted), counted.tally) for counted in done.counted]
        by_shard: dict[int, tuple[Any, Any]] = {}
        for shard, worker, tally in found:
            if shard in by_shard:
                by_shard[shard][1].add(tally)
            else:
                by_shard[shard] = (worker, tally)
            self._since.setdefault(shard, round_)
        shards = sorted(by_shard)
        summaries = [by_shard[shard][1].summary(shard) for shard in shards]
        self.progress = self.progress.after(summaries)
        last = self.progress.env_steps >= stop.env_steps or self.progress.updates == stop.updates
        consumed = tuple(
            Consumed(
                FragmentId(self._fleet.run_id, self._fleet.segment, round_, one.shard), one.env_steps, _seen(one), ""
            )
            for one in summaries
        )
        workers = tuple(by_shard[shard][0] for shard in shards)
        since = {shard: self._since[shard] for shard in shards}
        weights = self._fleet.weights()
        work = Work((consumed,), (workers,), (since,), round_, weights, {})
        boundary = None
        if last or self.progress.updates % self._config.boundary_every == 0:
            boundary = Boundary(nested("learner", self._fleet.save()), self.progress, resumable=True)
        # IMPALA and APPO begin with iterations in which nothing has come yet.
        episodes = Episodes.of(summaries) if summaries else Episodes([], [], [], {})
        return Update(done.figures, self.progress, weights, work, episodes, boundary=boundary)


def _seen(summary: Any) -> str:
    """What an env runner reported, as a digest: nothing else of its work is known here."""
    told = np.concatenate([[summary.env_steps], summary.scores, summary.lengths]).astype(np.float64)
    return blake3(told.tobytes()).hexdigest()
