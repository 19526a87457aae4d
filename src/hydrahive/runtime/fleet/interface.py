"""The run's objects and how they are called: inline in this process, or as Ray actors.

A fleet hands out references; a reference may be passed on to another call before it is ready. The schedule says
who computes what, the fleet only carries out, so both fleets run the very same dataflow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from hydrahive.core.errors import RefusedWorkError
from hydrahive.core.sink import Sink
from hydrahive.core.state import State
from hydrahive.core.watched import Wish
from hydrahive.ledger.audit_rules import Standings
from hydrahive.ledger.posting import WorkerFacts
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.fleet.ledger_line import LedgerLine
from hydrahive.runtime.fleet.refs import Listener, Ref, Stock
from hydrahive.runtime.fleet.waiting import Waits
from hydrahive.runtime.roles.auditor import AuditJob
from hydrahive.runtime.roles.intake import Leased
from hydrahive.runtime.roles.slices import Helped
from hydrahive.runtime.runs.watch_feed import Shown, Watched


class EnvWorkerCalls(Protocol):
    """Env workers, named by numbers, that the shards of a run lie on."""

    wishes: tuple[Wish, ...]
    """What is watched: the workers show it with their next fragments."""

    def workers(self) -> list[int]:
        """The workers that shards may lie on now."""

    def adopt(self, worker: int, shard: int, state: State | Ref | None) -> None:
        """Have a worker take over a shard, from its first round or from a snapshot."""

    def release(self, worker: int, shard: int) -> None:
        """Have a worker forget a shard."""

    def simulate(self, worker: int, shards: Sequence[int], round_: int, version: int, weights: Ref) -> tuple[Ref, Ref]:
        """Have a worker compute fragments of a round: references to the lists of fragments and of summaries."""

    def snapshot(self, worker: int, shard: int) -> Ref:
        """The shard's state after all calls made so far."""

    def snapshots(self, worker: int, shards: Sequence[int]) -> list[Ref]:
        """Likewise of several shards on one worker."""

    def facts(self, worker: int) -> WorkerFacts:
        """A worker as its receipts name it, also once it is gone."""

    def dismiss(self, worker: int, why: str) -> None:
        """Do without a worker from now on; it is ended at once."""

    def lends(self, worker: int) -> bool:
        """Whether a worker is a process of one's own that lends acting: its summaries say who acted."""

    def own(self, worker: int) -> WorkerFacts:
        """Whoever holds a worker's shards: it itself, where it lends acting to somebody else."""

    def hands_over(self, worker: int) -> bool:
        """Whether a state that a worker gives between two boundaries is believed."""

    def most_shards(self) -> Mapping[int, int]:
        """How many shards a worker may hold, where it may not hold any number."""

    def is_own(self, worker: int) -> bool:
        """Whether a worker earns for the run's user."""

    def refuse(self, worker: int, refused: RefusedWorkError) -> None:
        """Do without a worker that gave something else than was asked for; without its node if it is another's."""

    def take_refused(self) -> list[tuple[WorkerFacts, RefusedWorkError]]:
        """Whose work was refused since the last call."""

    def note_homes(self, homes: Mapping[int, int], round_: int) -> None:
        """Write down which worker holds which shard from a round on."""


class LearnerCalls(Protocol):
    """The learner."""

    def machine_class(self) -> str:
        """The machine class that all members share."""

    def fingerprint(self) -> Mapping[str, str]:
        """Which code all members compute with."""

    def restore_learner(self, state: State, *, weights_only: bool = False) -> None:
        """Give the learner a state; `weights_only` keeps its fresh optimizer and counters."""

    def oversee(self, secret: bytes, standings: Standings) -> None:
        """Have it drawn by the run's secret which slices' gradients of a node that is audited are found again.

        `standings`: of a node's updates, how many; and which accounts are relied on.
        """

    def note_helped(self, helped: Sequence[Helped]) -> None:
        """Do without slice workers that are gone, or that gave something else than was asked for."""

    def follow(self, config: RunConfig) -> None:
        """Go on with a config that differs in what can change inside a run only; not waited for."""

    def weights(self) -> Ref:
        """The learner's current weights, `Ref` of a flat vector."""

    def update(
        self,
        version: int,
        parts: Sequence[Ref],
        leased: Sequence[Sequence[Leased]],
        sample: Ref | None,
        *,
        keep_actions: Sequence[bool],
    ) -> tuple[Ref, Ref, Ref]:
        """Have a round learned, if it is what was asked for.

        Gives references to the next version's weights, to what the learner says (`Learned`), and to what it `judged`.

        `leased`: what was asked for, by part. `sample`: what the replay gives with it. `keep_actions`: by part,
        whether somebody may audit it.
        """

    def judged(self) -> Ref:
        """What the last update found of replayed rows: `Ref` of a `Judgement` or None."""

    def learner_state(self) -> Ref:
        """The learner's state after all calls made so far."""


class ReplayCalls(Protocol):
    """The replay, where there is one."""

    def restore_replay(self, state: State | None, blocks: Sequence[State]) -> None:
        """Give the replay a state and its episodes; None to begin empty."""

    def sample(self) -> Ref:
        """What the replay gives with the next update: `Ref` of a `Sample`."""

    def take(
        self,
        round_: int,
        fragments: Sequence[Ref],
        summaries: Sequence[Ref],
        leased: Sequence[Sequence[Leased]],
        judged: Ref | None,
    ) -> tuple[Ref, Ref]:
        """Have the replay take a round, if it is what was asked for.

        Gives references to the `Sample` for the next update, and to its `ReplayTold`.

        `judged`: what the update before this one found.
        """

    def replay_state(self, since: int) -> Ref:
        """The replay's state after all calls made so far, with the episodes since the cut at round `since`."""


class AuditorCalls(Protocol):
    """The auditor, and whose work it looks at."""

    @property
    def may_audit(self) -> bool:
        """Whether there may be workers, now or later, whose work is computed again by the auditor."""

    def audits(self, worker: WorkerFacts) -> bool:
        """Whether a worker's work is computed again by the auditor."""

    def audit(self, job: AuditJob, weights: Sequence[Ref]) -> Ref:
        """Have a shard's rounds computed again by a process that is trusted: `Ref` of a `Finding`."""

    def forget_auditor(self) -> None:
        """Start a new auditor at the next audit."""

    def quarantine(self, worker: WorkerFacts, why: str) -> None:
        """Do without a worker, and without the node that it runs on, from now on.

        Raises:
            HydrahiveError: If it is this process itself.
        """


class EvaluatorCalls(Protocol):
    """The evaluator, which plays beside the training."""

    def evaluate(self, weights: Ref) -> Ref:
        """Have the greedy policy evaluated on held-out seeds: `Ref` of an `Evaluation`."""

    def validate(self, weights: Ref) -> Ref:
        """Have it validated for the run's pilot: `Ref` of an `Evaluation`."""

    def picture(self, weights: Ref) -> Ref:
        """Have the greedy policy played by the evaluator: `Ref` of a `Clip`."""

    def forget_evaluator(self) -> None:
        """Start a new evaluator at the next evaluation."""


class Members(Protocol):
    """Who is there: looked after, asked for, replaced and ended."""

    listener: Listener

    @property
    def worker_count(self) -> int:
        """Env workers that are there; 0 inline."""

    def stock(self) -> Stock:
        """Wait for all calls made so far, give up who is gone, and see what there is.

        At least one worker is there when it returns.

        Raises:
            LearnerLostError: If the learner or the replay is gone.
        """

    def renew(self, *, everything: bool) -> None:
        """Replace the learner and the replay by fresh ones where they are gone, or both; each must then be restored."""

    def tend(self, env_steps: int, *, paused: bool = False) -> str | None:
        """Look after the members: who is silent, who joins, who leaves. To be called often; costs little.

        Returns:
            What was asked of the run since the last call: `pause`, `continue`, `stop`, or nothing.
        """

    def request(self) -> str | None:
        """What was asked of the run, once, without looking after anybody."""

    def conditions(self) -> Mapping[str, str]:
        """How the workers that are there are, by name: `alive`, `late` or `leaving`."""

    def close(self) -> None:
        """End all members."""


class Watchers(Protocol):
    """Those who watch through the cluster."""

    def watched(self) -> Watched | None:
        """Who watches through the cluster's coordinator; None if nobody does, or there is none to watch through."""

    def way_to_watchers(self) -> Literal["free", "busy", "lost"]:
        """Whether what was shown last has arrived there, is on its way, or is lost."""

    def show(self, shown: Shown, *, last: bool = False) -> None:
        """Show how the run is to those; `last`: it is over, and kept for whoever comes later."""


class Opening(Protocol):
    """References: made, waited for and opened.

    Attributes:
        waits: How that is waited for.
    """

    waits: Waits

    def put(self, value: Any) -> Ref:
        """A reference to a value of this process."""

    def ready(self, refs: Sequence[Ref], timeout_s: float | None) -> bool:
        """Wait until all are ready, made or failed; False if that takes longer than `timeout_s`."""

    def first_ready(self, refs: Sequence[Ref]) -> int:
        """Wait until at least one is ready and give its place among them."""

    def get(self, ref: Ref) -> Any:
        """The value; raises what its making raised, and `LostError` if it or its maker is gone."""


class Outside(Protocol):
    """What lies outside of the run."""

    def ledger_line(self, path: Path | None) -> LedgerLine:
        """A line to the ledger: the one at `path`, or that of the cluster.

        Raises:
            LedgerError: If the ledger cannot be used.
        """

    def metrics_sink(self, run: str) -> Sink | None:
        """Where a run's figures are exported to whoever watches the cluster; None where nobody can."""


class Fleet(
    EnvWorkerCalls,
    LearnerCalls,
    ReplayCalls,
    AuditorCalls,
    EvaluatorCalls,
    Members,
    Watchers,
    Opening,
    Outside,
    Protocol,
):
    """All roles of a run and how they are called.

    A call on something that is gone does not raise; opening its result with `get` raises `LostError`.
    """

    run_id: str
    segment: int
    """The run and its segment, which the fragments are named by."""
