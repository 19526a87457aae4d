"""The named exception: fragments are learned as they come, with whatever lag that gives."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

from hydrahive.core.errors import RefusedWorkError
from hydrahive.core.fragment import FragmentSummary
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.fleet.interface import Fleet
from hydrahive.runtime.runs.boundary import Boundary
from hydrahive.runtime.schedule.dataflow import Cut, Part, Replayed, Schedule, in_order
from hydrahive.runtime.schedule.placement import groups
from hydrahive.runtime.schedule.updates import Update


class FreeRunning(Schedule):
    """Every worker always acts with the newest weights, and fragments are learned as they come.

    Not reproducible; the lag is measured instead of decided. Here to show what reproducibility costs.
    Whatever is lost, the run goes back to its last boundary; its shards stay where they are, whoever joins.
    """

    AHEAD = 2
    """Rounds of a worker under way, and updates under way: enough that nobody waits for a message."""

    def __init__(self, fleet: Fleet, config: RunConfig, start: Boundary | None, replayed: Replayed) -> None:
        """Begin at `start` or at version 0."""
        super().__init__(fleet, config, start, replayed)
        self._acting = self.progress.updates
        self._groups = groups(self.homes)
        first = {shard: int(start.shard(shard)["round"][0]) if start else 0 for shard in range(config.shards)}
        # After a loss the shards of one worker may stand at different rounds: each goes on from its own.
        self._next_round = first
        self._under_way: list[Part] = []

    def updates(self) -> Generator[Update, None, None]:
        """Train; one item for each update, in order, until `stop.env_steps` is reached."""
        try:
            yield from self._updates()
        except RefusedWorkError as refused:
            self.refuse(refused)
            raise

    def _updates(self) -> Generator[Update, None, None]:
        for worker, shards in self._groups.items():
            together = len({self._next_round[shard] for shard in shards}) == 1
            for group in [shards] if together else [(shard,) for shard in shards]:
                for _ in range(self.AHEAD):
                    self._submit(worker, group)
        last = False
        while not last:
            parts, opened = self._about_a_round()
            version = self.progress.updates
            self.progress = self.progress.after(in_order(opened))
            last = self.is_over()
            pending = self.submitted_update(version, parts, self._acting, self.weights[self._acting], opened)
            self.weights[version + 1] = pending.weights
            cut = self._cut() if last or self.is_boundary(version + 1) else None
            self.pending.append(replace(pending, cut=cut))
            while self.pending and (last or len(self.pending) > self.AHEAD):
                yield self.settled(self.pending.popleft())

    def _about_a_round(self) -> tuple[list[Part], list[list[FragmentSummary]]]:
        """At least as many fragments as a round has, whichever come first, and what is said of them, by part."""
        parts: list[Part] = []
        opened: list[list[FragmentSummary]] = []
        while sum(map(len, opened)) < self.config.shards:
            for pending in self.pending:
                if self.fleet.ready([pending.learned], 0):
                    self._acting = pending.progress.updates
            self.weights = {version: ref for version, ref in self.weights.items() if version >= self._acting}
            part = self._under_way.pop(self.fleet.first_ready([part.summaries for part in self._under_way]))
            parts.append(part)
            opened.append(self.opened(part))
            self._submit(part.worker, part.shards)
        return parts, opened

    def _submit(self, worker: int, group: tuple[int, ...]) -> None:
        weights = self.weights[self._acting]
        self._under_way.append(self.part(worker, group, self._next_round[group[0]], self._acting, weights))
        for shard in group:
            self._next_round[shard] += 1

    def _cut(self) -> Cut:
        version = self.progress.updates
        return Cut(self.fleet.learner_state(), self.snapshot_shards(), {version: self.weights[version]}, True)
