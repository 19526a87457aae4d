"""What is in flight of a run under a fixed lag: rounds, snapshots and weights; how a shard is walked along them."""

from __future__ import annotations

from dataclasses import replace

from hydrahive.core.fragment import FragmentSummary
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.fleet.interface import Fleet
from hydrahive.runtime.runs.boundary import Boundary
from hydrahive.runtime.schedule.dataflow import Cut, Part, Replayed, Schedule, Taken, in_order
from hydrahive.runtime.schedule.placement import groups
from hydrahive.runtime.schedule.updates import Update


class InFlight(Schedule):
    """Rounds and updates under way from a boundary on; never depends on who computes a fragment, how often, or when.

    Attributes:
        boundary: The newest one that the run can be continued from; None before the first.
        settled_progress: The run's after the last update that is done.
        next_round: The first round that is not submitted.
        rounds: The parts of each round that is under way.
        snapshots: Each shard's state before a round at which the run is cut.
        replayed_steps: Env steps that the recovery under way has simulated again.
    """

    def __init__(self, fleet: Fleet, config: RunConfig, start: Boundary | None, replayed: Replayed) -> None:
        """Begin at `start` or at round 0."""
        super().__init__(fleet, config, start, replayed)
        self.boundary = start
        self.settled_progress = self.progress
        self.next_round = self.progress.updates
        self.rounds: dict[int, list[Part]] = {}
        self.snapshots: dict[int, list[Taken]] = {}
        self.replayed_steps = 0

    def submit_rounds(self) -> None:
        """Submit every round whose weights have a reference."""
        stop = self.config.stop.updates
        while self.next_round <= self.progress.updates + self.config.lag and self.next_round != stop:
            self._snapshot_if_due()
            round_ = self.next_round
            self.rounds[round_] = []
            for worker, shards in groups(self.homes).items():
                self.rounds[round_].append(self.simulated(worker, shards, round_))
            self.next_round += 1

    def simulated(self, worker: int, shards: tuple[int, ...], round_: int) -> Part:
        """Have a worker compute its shards' fragments of a round with the version that acts in it."""
        acting = max(0, round_ - self.config.lag)
        return self.part(worker, shards, round_, acting, self.weights[acting])

    def _snapshot_if_due(self) -> None:
        """Take the shards between the last round submitted and the next, if the run is cut or may end there."""
        ahead = self.next_round - self.progress.updates
        most = self.progress.env_steps + ahead * self.config.max_steps_per_round
        may_end = most >= self.config.stop.env_steps
        if ahead and (may_end or self.is_boundary(self.next_round)):
            self.snapshots[self.next_round] = self.snapshot_shards()

    def submit_update(self, opened: list[list[FragmentSummary]]) -> None:
        """Submit the next update; `opened` is what was said of its round, which is whole, by part."""
        version = self.progress.updates
        progress = self.progress.after(in_order(opened))
        is_due = self.is_over(progress) or self.is_boundary(version + 1)
        if is_due and version + 1 not in self.snapshots:
            assert self.next_round == version + 1, "a later round has begun and nobody took the shards before it"
            self.snapshots[version + 1] = self.snapshot_shards()
        acting = max(0, version - self.config.lag)
        pending = self.submitted_update(version, self.rounds[version], acting, self.weights[acting], opened)
        self.progress, self.weights[version + 1] = progress, pending.weights
        self.pending.append(replace(pending, progress=progress, cut=self._cut() if is_due else None))

    def _cut(self) -> Cut:
        """The cut behind the update that was just submitted."""
        version = self.progress.updates
        kept = range(max(0, version - self.config.lag), version + 1)
        versions = {v: self.weights[v] for v in kept}
        learner, is_boundary = self.fleet.learner_state(), self.is_boundary(version)
        return Cut(learner, self.snapshots[version], versions, is_boundary, self.replay_state())

    def late_in_words(self, round_: int) -> str:
        """Whose part of a round is not there yet."""
        late = [part for part in self.rounds[round_] if not self.fleet.ready(part.refs, 0)]
        return ", ".join(f"env worker {part.worker} (shards {', '.join(map(str, part.shards))})" for part in late)

    def oldest_update(self) -> Update:
        """Wait for the oldest update under way; what only it needed is forgotten."""
        update = self.settled(self.pending[0])
        self.pending.popleft()
        update.metrics["rounds_in_flight"] = self.next_round - update.progress.updates
        self.settled_progress = update.progress
        updates = update.progress.updates
        self.rounds.pop(updates - 1, None)
        self.snapshots = {at: refs for at, refs in self.snapshots.items() if at > updates}
        if update.boundary and update.boundary.resumable:
            self.boundary = update.boundary
            first_kept = updates - self.config.lag
            self.weights = {version: ref for version, ref in self.weights.items() if version >= first_kept}
        return update

    def held_by(self, worker: int) -> tuple[int, ...]:
        """The shards of a worker."""
        return tuple(shard for shard, home in self.homes.items() if home == worker)

    def base_round(self) -> int:
        """The round that shards are restored at: behind the last boundary."""
        return self.boundary.updates if self.boundary else 0

    def restored(self, shard: int, worker: int) -> int:
        """Restore a shard from the last boundary on a worker, to be walked from there; the round it stands at."""
        self.lease(worker, shard, self.boundary.shard(shard) if self.boundary else None, self.base_round())
        self.replayed_steps += (self.next_round - self.base_round()) * self.config.max_steps_per_fragment
        return self.base_round()

    def walk(
        self,
        shard: int,
        worker: int,
        position: int,
        needed: set[int],
        snapshots: set[int],
        rounds: dict[int, list[Part]],
        taken: dict[int, dict[int, Taken]],
    ) -> None:
        """Simulate a shard from `position` to the next round; keep the rounds and snapshots that are needed."""
        for round_ in range(position, self.next_round + 1):
            if round_ in snapshots:
                taken.setdefault(round_, {})[shard] = Taken(worker, self.fleet.snapshot(worker, shard))
            if round_ < self.next_round:
                part = self.simulated(worker, (shard,), round_)
                if round_ in needed:
                    rounds.setdefault(round_, []).append(part)

    def forget_behind(self, done: int) -> None:
        """Go back to what the learner has done: later updates failed, and with them all that needed their weights."""
        while self.pending and self.pending[-1].progress.updates > done:
            self.pending.pop()
        self.progress = self.pending[-1].progress if self.pending else self.settled_progress
        assert self.progress.updates == done, "the learner is where nobody sent it"
        self.next_round = min(self.next_round, done + self.config.lag + 1)
        self.weights = {version: ref for version, ref in self.weights.items() if version <= done}
        self.snapshots = {at: refs for at, refs in self.snapshots.items() if at <= self.next_round}
