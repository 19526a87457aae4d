"""A run's objects in this process, each call carried out at once; no Ray."""

from __future__ import annotations

import platform
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from hydrahive.core.errors import HydrahiveError, RefusedWorkError
from hydrahive.core.sink import Sink
from hydrahive.core.state import State
from hydrahive.core.watched import Wish
from hydrahive.ledger.audit_rules import Standings
from hydrahive.ledger.ledger import Ledger
from hydrahive.ledger.posting import WorkerFacts
from hydrahive.runtime.config.machine_class import prepare_torch
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.fleet.ledger_line import DirectLine, LedgerLine
from hydrahive.runtime.fleet.refs import Listener, Ref, Stock, nobody
from hydrahive.runtime.fleet.waiting import Waits
from hydrahive.runtime.roles.auditor import AuditJob, Auditor
from hydrahive.runtime.roles.env_worker import WORKER_THREADS, EnvWorker
from hydrahive.runtime.roles.evaluation import evaluate_weights, validate_weights
from hydrahive.runtime.roles.intake import Leased
from hydrahive.runtime.roles.learner import Learner
from hydrahive.runtime.roles.pictures import clip_of
from hydrahive.runtime.roles.replay import Replay
from hydrahive.runtime.roles.slices import Helped
from hydrahive.runtime.runs.run_user import run_user
from hydrahive.runtime.runs.watch_feed import Shown, Watched


class InlineFleet:
    """The same objects in this process, each call carried out at once; no Ray."""

    worker_count = 0
    segment = 0
    wishes: tuple[Wish, ...] = ()

    def __init__(self, config: RunConfig, run_id: str, device: str) -> None:
        """Build the learner and one worker."""
        self._config, self.run_id, self._device = config, run_id, device
        self._facts = WorkerFacts(f"inline-{uuid.uuid4().hex[:6]}", run_user(), platform.node() or "here")
        self._auditor: Auditor | None = None
        self.listener: Listener = nobody
        self.waits = Waits()  # nothing is ever waited for
        prepare_torch(config, config.learner.threads)  # also the initial weights depend on it
        self._learner = Learner(config, device)
        self._replay = Replay(config) if config.replay else None
        self._worker = EnvWorker(config, run_id)

    def machine_class(self) -> str:
        """The machine class of this process."""
        return self._learner.machine_class()

    def fingerprint(self) -> Mapping[str, str]:
        """Which code this process computes with."""
        return self._learner.fingerprint()

    def workers(self) -> list[int]:
        """The one worker."""
        return [0]

    def adopt(self, worker: int, shard: int, state: State | Ref | None) -> None:
        """Hand a shard to the one worker."""
        taken: Any = state
        self._worker.adopt(shard, taken, self.segment)

    def release(self, worker: int, shard: int) -> None:
        """Forget a shard."""
        self._worker.release(shard)

    def dismiss(self, worker: int, why: str) -> None:
        """Never asked for: there is no other worker."""
        raise AssertionError(why)

    def is_own(self, worker: int) -> bool:
        """This process works for its user."""
        return True

    def refuse(self, worker: int, refused: RefusedWorkError) -> None:
        """There is nobody else to do the work; the schedule sees how often it fails."""

    def take_refused(self) -> list[tuple[WorkerFacts, RefusedWorkError]]:
        """This process works for its user."""
        return []

    def restore_learner(self, state: State, *, weights_only: bool = False) -> None:
        """Give the learner a state."""
        (self._learner.load_weights if weights_only else self._learner.restore)(state)

    def oversee(self, secret: bytes, standings: Standings) -> None:
        """There is nobody else."""

    def note_helped(self, helped: Sequence[Helped]) -> None:
        """Nobody helps."""

    def follow(self, config: RunConfig) -> None:
        """Have the learner follow."""
        self._config = config
        self._learner.follow(config)

    def renew(self, *, everything: bool) -> None:
        """A fresh learner; the replay begins anew when it is restored."""
        prepare_torch(self._config, self._config.learner.threads)
        self._learner = Learner(self._config, self._device)

    def restore_replay(self, state: State | None, blocks: Sequence[State]) -> None:
        """Give the replay a state."""
        self._there_is_replay.restore(state, blocks)

    def sample(self) -> Ref:
        """What the replay gives with the next update."""
        return Ref(self._there_is_replay.sample())

    def take(
        self,
        round_: int,
        fragments: Sequence[Ref],
        summaries: Sequence[Ref],
        leased: Sequence[Sequence[Leased]],
        judged: Ref | None,
    ) -> tuple[Ref, Ref]:
        """Have the replay take a round."""
        found = None if judged is None else self.get(judged)
        parts = map(self.get, (*fragments, *summaries))
        sample, told = self._there_is_replay.take(round_, found, *parts, leased=leased)
        return Ref(sample), Ref(told)

    def replay_state(self, since: int) -> Ref:
        """The replay's state."""
        return Ref(self._there_is_replay.state(since))

    @property
    def _there_is_replay(self) -> Replay:
        assert self._replay is not None, "the run has a replay"
        return self._replay

    def weights(self) -> Ref:
        """The learner's current weights."""
        return Ref(self._learner.weights())

    def put(self, value: Any) -> Ref:
        """The value itself."""
        return Ref(value)

    def simulate(self, worker: int, shards: Sequence[int], round_: int, version: int, weights: Ref) -> tuple[Ref, Ref]:
        """Compute fragments."""
        prepare_torch(self._config, WORKER_THREADS)
        fragments, summaries = self._worker.simulate(shards, round_, version, self.get(weights), self.wishes)
        return Ref(fragments), Ref(summaries)

    def judged(self) -> Ref:
        """What the last update found of replayed rows."""
        return Ref(self._learner.judged())

    def update(
        self,
        version: int,
        parts: Sequence[Ref],
        leased: Sequence[Sequence[Leased]],
        sample: Ref | None,
        *,
        keep_actions: Sequence[bool],
    ) -> tuple[Ref, Ref, Ref]:
        """Learn a round."""
        prepare_torch(self._config, self._config.learner.threads)
        drawn, given = None if sample is None else self.get(sample), map(self.get, parts)
        weights, learned, judged = self._learner.update(version, keep_actions, drawn, *given, leased=leased)
        return Ref(weights), Ref(learned), Ref(judged)

    def lends(self, worker: int) -> bool:
        """Nobody else is here."""
        return False

    def own(self, worker: int) -> WorkerFacts:
        """This process."""
        return self._facts

    def hands_over(self, worker: int) -> bool:
        """This process does."""
        return True

    def most_shards(self) -> Mapping[int, int]:
        """It holds all."""
        return {}

    def facts(self, worker: int) -> WorkerFacts:
        """This process, which works for its user."""
        return self._facts

    @property
    def may_audit(self) -> bool:
        """Only where everyone is audited: this process works for the run's own user."""
        return self._config.audit.workers == "all"

    def audits(self, worker: WorkerFacts) -> bool:
        """Only where everyone is."""
        return self.may_audit

    def audit(self, job: AuditJob, weights: Sequence[Ref]) -> Ref:
        """Compute a shard's rounds again."""
        prepare_torch(self._config, WORKER_THREADS)
        self._auditor = self._auditor or Auditor(self._config, self.run_id)
        return Ref(self._auditor.audit(job, *(self.get(ref) for ref in weights)))

    def forget_auditor(self) -> None:
        """Make a new one at the next audit."""
        self._auditor = None

    def quarantine(self, worker: WorkerFacts, why: str) -> None:
        """There is nobody else.

        Raises:
            HydrahiveError: Always.
        """
        raise HydrahiveError(f"this machine does not compute the same twice ({why}); its work cannot be used")

    def ledger_line(self, path: Path | None) -> LedgerLine:
        """The ledger itself, opened here."""
        assert path is not None, "an inline run has a folder of runs"
        return DirectLine(Ledger(path))

    def metrics_sink(self, run: str) -> Sink | None:
        """There is no cluster."""
        return None

    def watched(self) -> Watched | None:
        """Whoever watches does so through the run's folder."""
        return None

    def way_to_watchers(self) -> Literal["free", "busy", "lost"]:
        """There is none."""
        return "busy"

    def show(self, shown: Shown, *, last: bool = False) -> None:
        """Nobody to show it to."""

    def conditions(self) -> Mapping[str, str]:
        """This process lives."""
        return {self._facts.name: "alive"}

    def snapshot(self, worker: int, shard: int) -> Ref:
        """The shard's state."""
        return Ref(self._worker.snapshot(shard))

    def snapshots(self, worker: int, shards: Sequence[int]) -> list[Ref]:
        """Likewise of several shards."""
        return [self.snapshot(worker, shard) for shard in shards]

    def learner_state(self) -> Ref:
        """The learner's state."""
        return Ref(self._learner.state())

    def evaluate(self, weights: Ref) -> Ref:
        """Evaluate the greedy policy; `get` tells of an environment that fails."""
        try:
            return Ref(evaluate_weights(self._config, self.get(weights), self._config.evaluate_episodes))
        except HydrahiveError as failed:
            return Ref(failed)

    def validate(self, weights: Ref) -> Ref:
        """Likewise for the run's pilot."""
        prepare_torch(self._config, WORKER_THREADS)
        try:
            return Ref(validate_weights(self._config, self.get(weights)))
        except HydrahiveError as failed:
            return Ref(failed)

    def picture(self, weights: Ref) -> Ref:
        """Play with the greedy policy."""
        return Ref(clip_of(self._config, self.get(weights)))

    def forget_evaluator(self) -> None:
        """There is none."""

    def ready(self, refs: Sequence[Ref], timeout_s: float | None) -> bool:
        """Always: every call is carried out at once."""
        return True

    def first_ready(self, refs: Sequence[Ref]) -> int:
        """The first: all of them are."""
        return 0

    def get(self, ref: Ref) -> Any:
        """The value, which the reference is; or raises it, if it is an error."""
        if isinstance(ref, HydrahiveError):
            raise ref
        return ref

    def stock(self) -> Stock:
        """What there is."""
        taken = self._replay.position() if self._replay else None
        return Stock(self._learner.position(), {0: self._worker.positions()}, replay_position=taken)

    def tend(self, env_steps: int, *, paused: bool = False) -> str | None:
        """Nobody to look after."""
        return None

    def request(self) -> str | None:
        """Nobody asks but through the folder."""
        return None

    def note_homes(self, homes: Mapping[int, int], round_: int) -> None:
        """All shards are here."""

    def close(self) -> None:
        """Close the environments."""
        self._worker.close()
