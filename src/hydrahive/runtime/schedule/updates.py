"""What a schedule gives: updates that are done, who computed what they learned from, and what finished in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from hydrahive.core.fragment import FragmentSummary
from hydrahive.core.receipt import Consumed
from hydrahive.core.watched import Frame
from hydrahive.ledger.posting import WorkerFacts
from hydrahive.runtime.fleet.refs import Ref
from hydrahive.runtime.roles.replay import ReplayTold
from hydrahive.runtime.roles.slices import Helped
from hydrahive.runtime.runs.boundary import Boundary, Progress


@dataclass(frozen=True)
class Work:
    """Who computed what an update learned from.

    Attributes:
        consumed: What the learner said of the fragments, by part; nothing where nobody asks.
        workers: For each part who acted in each of its fragments.
        leased_since: For each part the rounds from which on its worker had its shards, by shard.
        acting: The version that acted, under a fixed lag.
        weights: That version.
        told: Digests of what the workers said of the fragments besides their bytes, by shard, where they are audited.
        helped: Who found slices' gradients for the learner, and how many rows'.
        lent: Of fragments whose acting was lent by a process of one's own, who acted, by shard.
    """

    consumed: tuple[tuple[Consumed, ...], ...]
    workers: tuple[tuple[WorkerFacts, ...], ...]
    leased_since: tuple[dict[int, int], ...]
    acting: int
    weights: Ref
    told: Mapping[int, str]
    helped: tuple[tuple[WorkerFacts, Helped], ...] = ()
    lent: Mapping[int, str] = field(default_factory=dict)

    def by_fragment(self) -> Iterator[tuple[Consumed, WorkerFacts, int]]:
        """Each consumed fragment, its worker, and the round from which on that had the shard."""
        for part, workers, since in zip(self.consumed, self.workers, self.leased_since, strict=True):
            of_shard = dict(zip(since, workers, strict=True))
            for fragment in part:
                yield fragment, of_shard[fragment.id.shard], since[fragment.id.shard]

    def by_shard(self) -> dict[int, WorkerFacts]:
        """Who acted in each shard."""
        held = zip(self.leased_since, self.workers, strict=True)
        return {shard: worker for since, workers in held for shard, worker in zip(since, workers, strict=True)}


@dataclass(frozen=True)
class Episodes:
    """What finished in a round, in shard order.

    Attributes:
        scores: Of the episodes.
        lengths: Theirs, in env steps.
        detours: What careful exploration did, as `hydrahive.policies.exploration.DETOUR_COUNTS`; empty without.
        facts: What the environments tell of the episodes besides, by name.
        frames: Pictures of what is watched.
        env_steps: Of the round's fragments, each with its shard.
        remarks: What is odd about the environments.
    """

    scores: list[float]
    lengths: list[int]
    detours: list[int]
    facts: dict[str, list[float]]
    frames: tuple[Frame, ...] = ()
    env_steps: tuple[tuple[int, int], ...] = ()
    remarks: tuple[str, ...] = ()

    @staticmethod
    def of(summaries: Sequence[FragmentSummary]) -> Episodes:
        """What these fragments' summaries tell."""
        return Episodes(
            [score for summary in summaries for score in summary.scores.tolist()],
            [length for summary in summaries for length in summary.lengths.tolist()],
            np.sum([summary.detours for summary in summaries], axis=0).tolist(),
            {
                name: [value for summary in summaries for value in summary.facts.get(name, np.empty(0)).tolist()]
                for name in dict.fromkeys(name for summary in summaries for name in summary.facts)
            },
            tuple(frame for summary in summaries for frame in summary.frames),
            tuple((summary.shard, summary.env_steps) for summary in summaries),
            tuple(dict.fromkeys(text for summary in summaries for text in summary.remarks)),
        )


@dataclass(frozen=True)
class Update:
    """An update that is done.

    Attributes:
        metrics: The learner's figures.
        progress: The run's, after it.
        weights: The version it made.
        work: Who computed what it learned from.
        episodes: What finished in its round.
        replay: What the replay said after it; None without one.
        boundary: The cut behind it, where one is due.
        givers: At a cut, who gave each shard's state.
    """

    metrics: dict[str, float]
    progress: Progress
    weights: Ref
    work: Work
    episodes: Episodes
    replay: ReplayTold | None = None
    boundary: Boundary | None = None
    givers: tuple[WorkerFacts, ...] = ()
