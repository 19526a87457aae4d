"""The run's objects as Ray actors. Object references pass between them; this process holds references, not data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal

import ray
from ray.exceptions import RayError, RayTaskError

from hydrahive.core.errors import (
    HydrahiveError,
    LearnerLostError,
    LostError,
    OutOfStepError,
    RefusedWorkError,
    WorkerFailedError,
    first_line,
)
from hydrahive.core.sink import Sink
from hydrahive.core.state import State
from hydrahive.core.watched import Wish
from hydrahive.ledger.audit_rules import Standings
from hydrahive.ledger.posting import WorkerFacts
from hydrahive.runtime.cluster.lending.calls import LendingCalls
from hydrahive.runtime.cluster.member import RunOnCluster, fetched, is_an_env_workers_own
from hydrahive.runtime.cluster.members import Members
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.coordinator.actor import CoordinatorLine, coordinator
from hydrahive.runtime.coordinator.metrics import metrics_sink
from hydrahive.runtime.fleet.ledger_line import LedgerLine
from hydrahive.runtime.fleet.refs import Listener, Ref, Stock
from hydrahive.runtime.roles.auditor import AuditJob
from hydrahive.runtime.roles.intake import Leased, positions
from hydrahive.runtime.roles.slices import Helped
from hydrahive.runtime.runs.run_user import run_user
from hydrahive.runtime.runs.watch_feed import Shown, Watched

LAST_SHOW_SECONDS = 10.0
"""Longest wait for the coordinator to take what a run came to."""

LOOK_SECONDS = 1.0
"""Time after which a wait is interrupted to look after the members."""


class RayFleet(LendingCalls):
    """A learner actor and env-worker actors on the Ray cluster that this process is connected to."""

    def __init__(self, config: RunConfig, run: RunOnCluster) -> None:
        """Start the actors, as many of the asked workers as there are CPUs for; HydrahiveError if one is not built."""
        self._config, self._run = config, run
        self.run_id, self.segment = run.run_id, 0
        self._refused: list[tuple[WorkerFacts, RefusedWorkError]] = []
        self.wishes: tuple[Wish, ...] = ()
        self._members = Members(config, run)
        self._lenders = self._members.lenders
        self.waits = self._members.crew.waits
        self.waits.obey = partial(run.obey, self._members.hearing.request)
        self._showing: Any = None
        try:
            self._members.hiring.assemble()
            self._members.slicers.gather()
        except BaseException:
            self.close()
            raise
        self.waits.tend = self._members.look_after

    @property
    def worker_count(self) -> int:
        """Env workers that are there."""
        return len(self._members.crew.workers)

    @property
    def listener(self) -> Listener:
        """Who is told what happens to the members."""
        return self._members.crew.listener

    @listener.setter
    def listener(self, listener: Listener) -> None:
        self._members.crew.listener = listener

    def machine_class(self) -> str:
        """The learner's machine class, which every worker had to show before it joined."""
        return self._members.crew.learner.about.machine_class

    def fingerprint(self) -> Mapping[str, str]:
        """The learner's, which every worker had to show before it joined."""
        return self._members.crew.learner.about.fingerprint

    def workers(self) -> list[int]:
        """The workers that have joined and are not leaving."""
        return self._members.crew.staying()

    def adopt(self, worker: int, shard: int, state: State | Ref | None) -> None:
        """Have a worker take over a shard."""
        self._members.crew.actor(worker).adopt.remote(shard, state, self.segment)

    def release(self, worker: int, shard: int) -> None:
        """Have a worker forget a shard."""
        self._members.crew.actor(worker).release.remote(shard)

    def dismiss(self, worker: int, why: str) -> None:
        """Do without a worker."""
        self._members.ending.bury(worker, why)

    def refuse(self, worker: int, refused: RefusedWorkError) -> None:
        """Do without a worker, and without its node if that works for another account."""
        if self.lends(worker):  # it is one's own, whomever it lends to
            return self._members.ending.bury(worker, refused.what)
        if not refused.of_the_policy:  # which may be the run's own fault
            self._refused.append((self._members.crew.facts[worker], refused))
        return self._members.ending.refuse(worker, refused)

    def take_refused(self) -> list[tuple[WorkerFacts, RefusedWorkError]]:
        """Whose work was refused since the last call."""
        refused, self._refused = [*self._refused, *self._lenders.take_caught()], []
        return refused

    def restore_learner(self, state: State, *, weights_only: bool = False) -> None:
        """Give the learner a state."""
        learner = self._members.crew.learner.actor
        self.get(Ref((learner.load_weights if weights_only else learner.restore).remote(state)))

    def oversee(self, secret: bytes, standings: Standings) -> None:
        """Audit slice workers as env workers are; without audits, only the run's user's own help."""
        self._members.slicers.oversee(secret, self.audits, standings.share)
        self._lenders.oversee(standings)

    def note_helped(self, helped: Sequence[Helped]) -> None:
        """Do without those who are gone; who is an env worker, too, is missed there."""
        for one in (one for one in helped if one.is_lost):
            self._members.ending.bury_slicer(one.worker, "its process died")

    def follow(self, config: RunConfig) -> None:
        """Have the learner follow, and those that come after it."""
        self._config = self._members.crew.config = config
        self._members.crew.learner.actor.follow.remote(config)

    def renew(self, *, everything: bool) -> None:
        """New generations of the learner, wherever there is room, and of the replay; and at least one worker."""
        self._members.hiring.renew(everything=everything)
        self._members.hiring.await_worker()

    def restore_replay(self, state: State | None, blocks: Sequence[State]) -> None:
        """Give the replay a state."""
        self.get(Ref(self._members.crew.replay.actor.restore.remote(state, blocks)))

    def sample(self) -> Ref:
        """What the replay gives with the next update."""
        return Ref(self._members.crew.replay.actor.sample.remote())

    def take(
        self,
        round_: int,
        fragments: Sequence[Ref],
        summaries: Sequence[Ref],
        leased: Sequence[Sequence[Leased]],
        judged: Ref | None,
    ) -> tuple[Ref, Ref]:
        """Have the replay take a round."""
        replay = self._members.crew.replay.actor
        sample, told = replay.take.remote(round_, judged, *fragments, *summaries, leased=leased)
        return sample, told

    def replay_state(self, since: int) -> Ref:
        """The replay's state."""
        return Ref(self._members.crew.replay.actor.state.remote(since))

    def weights(self) -> Ref:
        """The learner's current weights."""
        return Ref(self._members.crew.learner.actor.weights.remote())

    def put(self, value: Any) -> Ref:
        """A reference to a value of this process."""
        return Ref(ray.put(value))

    def simulate(self, worker: int, shards: Sequence[int], round_: int, version: int, weights: Ref) -> tuple[Ref, Ref]:
        """Have fragments computed by the worker that holds their shards.

        One call and two objects for a worker's whole share of a round: Ray's cost goes with their number.
        """
        actor = self._members.crew.actor(worker)
        self._lenders.foretell(worker, shards, round_, version, weights)
        fragments, summaries = actor.simulate.remote(shards, round_, version, weights, self.wishes)
        return fragments, summaries

    def judged(self) -> Ref:
        """What the last update found of replayed rows."""
        return Ref(self._members.crew.learner.actor.judged.remote())

    def update(
        self,
        version: int,
        parts: Sequence[Ref],
        leased: Sequence[Sequence[Leased]],
        sample: Ref | None,
        *,
        keep_actions: Sequence[bool],
    ) -> tuple[Ref, Ref, Ref]:
        """Have a round learned."""
        learner = self._members.crew.learner.actor
        weights, learned, judged = learner.update.remote(version, keep_actions, sample, *parts, leased=leased)
        return weights, learned, judged

    def facts(self, worker: int) -> WorkerFacts:
        """A worker as its receipts name it."""
        return self._members.crew.facts[worker]

    @property
    def may_audit(self) -> bool:
        """Where everyone is audited, or others than the run's user may join."""
        wanted = self._config.audit.workers
        on_cluster = self._config.schedule == "fixed-lag" and not self._run.embedded
        return wanted == "all" or (wanted == "others" and on_cluster)

    def audits(self, worker: WorkerFacts) -> bool:
        """By the config: everyone, or who works for another account."""
        return self.may_audit and (self._config.audit.workers == "all" or worker.owner != run_user())

    def audit(self, job: AuditJob, weights: Sequence[Ref]) -> Ref:
        """Have a shard's rounds computed again in a process beside the learner, on a node that is trusted."""
        return Ref(self._members.beside.one("auditor").audit.remote(job, *weights))

    def forget_auditor(self) -> None:
        """Start a new auditor at the next audit."""
        self._members.beside.forget("auditor")

    def forget_evaluator(self) -> None:
        """Likewise."""
        self._members.beside.forget("evaluator")

    def quarantine(self, worker: WorkerFacts, why: str) -> None:
        """Do without the worker's node.

        Raises:
            HydrahiveError: If that is the only one there will ever be.
        """
        if self._run.embedded:
            raise HydrahiveError(f"this machine does not compute the same twice ({why}); its work cannot be used")
        self._members.ending.quarantine(worker.node, why)

    def ledger_line(self, path: Path | None) -> LedgerLine:
        """The coordinator's."""
        return CoordinatorLine(path, embedded=self._run.embedded)

    def metrics_sink(self, run: str) -> Sink | None:
        """Ray's metrics, unless the cluster is this process's own."""
        return None if self._run.embedded else metrics_sink(coordinator(), run, self._config, self.machine_class())

    def watched(self) -> Watched | None:
        """What the coordinator last said; of an embedded cluster nobody else knows."""
        return None if self._run.embedded else self._members.hearing.watched

    def way_to_watchers(self) -> Literal["free", "busy", "lost"]:
        """Whether the coordinator has taken what was shown last."""
        if self._showing is None:
            return "free"
        if not ray.wait([self._showing], timeout=0, fetch_local=False)[0]:
            return "busy"
        call, self._showing = self._showing, None
        try:
            ray.get(call)
        except RayError:
            return "lost"
        return "free"

    def show(self, shown: Shown, *, last: bool = False) -> None:
        """Have the coordinator show it."""
        if self._run.embedded:
            return
        with suppress(RayError):  # whoever watches sees that nothing comes
            self._showing = self._members.crew.coordinator.show.remote(self._run.run_id, shown, last=last)
            if last:  # this process may end now
                ray.wait([self._showing], timeout=LAST_SHOW_SECONDS, fetch_local=False)

    def conditions(self) -> Mapping[str, str]:
        """What the members are known to be."""
        return {**self._members.crew.conditions(), **self._lenders.conditions()}

    def snapshot(self, worker: int, shard: int) -> Ref:
        """The shard's state after all calls made so far."""
        return Ref(self._members.crew.actor(worker).snapshot.remote(shard))

    def snapshots(self, worker: int, shards: Sequence[int]) -> list[Ref]:
        """Likewise of several shards, in one call."""
        if len(shards) == 1:
            return [self.snapshot(worker, shards[0])]
        call = self._members.crew.actor(worker).snapshots.options(num_returns=len(shards))
        return [Ref(state) for state in call.remote(list(shards))]

    def learner_state(self) -> Ref:
        """The learner's state after all calls made so far."""
        return Ref(self._members.crew.learner.actor.state.remote())

    def evaluate(self, weights: Ref) -> Ref:
        """Have the greedy policy evaluated in a process of its own, started at the first call or when it is gone."""
        return Ref(self._members.beside.one("evaluator").evaluate.remote(weights))

    def validate(self, weights: Ref) -> Ref:
        """Likewise for the run's pilot."""
        return Ref(self._members.beside.one("evaluator").validate.remote(weights))

    def picture(self, weights: Ref) -> Ref:
        """Have the greedy policy played in that process."""
        return Ref(self._members.beside.one("evaluator").picture.remote(weights))

    def ready(self, refs: Sequence[Ref], timeout_s: float | None) -> bool:
        """Wait until all are ready, wherever they lie; the members are looked after meanwhile."""
        wait, most_s = self.waits.begin(), float("inf") if timeout_s is None else timeout_s
        while True:
            left = min(max(0.0, most_s - wait.waited_s), LOOK_SECONDS)
            done, _ = ray.wait(list(refs), num_returns=len(refs), timeout=left, fetch_local=False)
            if len(done) == len(refs):
                return True
            if timeout_s != 0:
                wait.look()
            if wait.waited_s >= most_s:
                return False

    def first_ready(self, refs: Sequence[Ref]) -> int:
        """Wait until at least one is ready and give its place among them; a client's references come back as others."""
        wait = self.waits.begin()
        while not (done := ray.wait(list(refs), num_returns=1, timeout=LOOK_SECONDS, fetch_local=False)[0]):
            wait.look()
        return list(refs).index(done[0])

    def get(self, ref: Ref) -> Any:
        """Fetch a value, or a list of them; the house's own errors come through as they were raised.

        Raises:
            LostError: If an actor or an object is gone.
            HydrahiveError: If making the value failed.
        """
        try:
            return fetched(ref, LOOK_SECONDS, self.waits.begin().look)
        except RayTaskError as error:
            cause: Any = error
            while isinstance(cause, RayTaskError):
                cause = cause.cause
            if isinstance(cause, LostError) and not isinstance(cause, OutOfStepError):
                raise HydrahiveError(first_line(cause)) from None  # what is lost, Ray says
            if isinstance(cause, HydrahiveError):
                raise cause from None
            if isinstance(cause, RayError):
                raise LostError(first_line(cause)) from None
            if is_an_env_workers_own(error):
                raise WorkerFailedError(f"{type(cause).__name__} in an env worker: {first_line(cause)}") from None
            raise HydrahiveError(f"{type(cause).__name__} in an actor of the run: {cause}") from error
        except RayError as error:
            raise LostError(first_line(error)) from None

    def stock(self) -> Stock:
        """Wait for all calls made so far, bury who does not answer, and see what there is.

        Raises:
            LearnerLostError: If the learner or the replay is gone.
        """
        asked = {worker: self._members.crew.actor(worker).positions.remote() for worker in self._members.crew.workers}
        held: dict[int, Mapping[int, int]] = {}
        for worker, ref in asked.items():
            try:
                with self.waits.of("stock", f"env worker {worker} to say what it holds"):
                    held[worker] = positions(self.get(Ref(ref)), self._config.shards)
            except HydrahiveError as error:  # also what a worker says of itself that makes no sense
                self._members.ending.bury(worker, str(error))
        try:
            version = self.get(Ref(self._members.crew.learner.actor.position.remote()))
        except LostError as error:
            self._members.ending.learner_lost(str(error))
            raise LearnerLostError(f"the learner is gone: {error}") from None
        taken = None
        if self._config.replay:
            try:
                taken = self.get(Ref(self._members.crew.replay.actor.position.remote()))
            except LostError as error:
                self._members.ending.replay_lost(str(error))
                raise LearnerLostError(f"the replay is gone: {error}") from None
        self._members.hiring.await_worker()
        return Stock(version, held, self._members.hearing.suspects(), taken)

    def tend(self, env_steps: int, *, paused: bool = False) -> str | None:
        """Look after the members; what was asked of the run."""
        self._members.crew.env_steps, self._members.crew.paused = env_steps, paused
        self._members.look_after()
        return self._members.hearing.request()

    def request(self) -> str | None:
        """What was asked of the run, once."""
        return self._members.hearing.request()

    def note_homes(self, homes: Mapping[int, int], round_: int) -> None:
        """Write the leases down, and see those off who leave and hold nothing any more."""
        self._members.ending.note_homes(homes, round_)

    def close(self) -> None:
        """End all actors."""
        self._members.end()
