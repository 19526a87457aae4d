"""What the auditor does: computes a shard's rounds again, and compares them with what the learner consumed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from hydrahive.core.errors import OutOfStepError
from hydrahive.core.receipt import Consumed, acted_digest, seen_digest, told_digest
from hydrahive.core.state import State, digest_of_state
from hydrahive.envs.vector import pulse
from hydrahive.policies.flat_weights import FlatWeights
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.roles.env_worker import build_network
from hydrahive.runtime.roles.shard import CARRY, Shard


@dataclass(frozen=True)
class AuditJob:
    """A shard between two cuts of the run, as the Trainer knows it.

    Attributes:
        shard: The shard.
        start: Its state at the first cut, which is believed: verified, or given by somebody who is trusted; None for
            a fresh one.
        first_round: The round it stands at there.
        consumed: What the learner said of its fragments, in the order of the rounds.
        told: Digests of what the workers said of them besides their bytes.
        acting: The weights version of each round.
        in_full: Act again as well; else only step the environments, with the actions that were consumed.
        end_digest: Digest of the shard's state that was given at the second cut.
    """

    shard: int
    start: State | None
    first_round: int
    consumed: tuple[Consumed, ...]
    told: tuple[str, ...]
    acting: tuple[int, ...]
    in_full: bool
    end_digest: str


@dataclass(frozen=True)
class Finding:
    """What came of an audit.

    Attributes:
        env_steps: Computed again.
        wrong: What differed, in words; None if nothing did.
        round: Where; None if it is the state at the end that differs.
    """

    env_steps: int
    wrong: str | None = None
    round: int | None = None


def shard_digest(state: State, *, in_full: bool) -> str:
    """The digest of a shard's state; if not in full, of what stepping the environments alone leads to."""
    return digest_of_state(
        {name: array for name, array in state.items() if in_full or not name.startswith(f"{CARRY}/")}
    )


class Auditor:
    """Computes what workers have computed, from a state that is believed on."""

    def __init__(self, config: RunConfig, run_id: str) -> None:
        """Make an auditor of this run."""
        self._config, self._run_id = config, run_id
        self._network = build_network(config, torch.Generator())
        self._weights = FlatWeights(self._network)

    def audit(self, job: AuditJob, *weights: np.ndarray) -> Finding:
        """Compute a shard's rounds again and say what differs first.

        Args:
            job: What to compute.
            *weights: Those that acted in each round, for an audit in full.
        """
        env = self._config.env.make_vector(self._config.envs_per_shard)
        env.still_alive = pulse
        try:
            return self._audit(Shard(self._config, self._run_id, job.shard, env), job, weights)
        finally:
            env.close()

    def _audit(self, shard: Shard, job: AuditJob, weights: Sequence[np.ndarray]) -> Finding:
        if job.start is not None:
            shard.restore(job.start)
        assert shard.round == job.first_round, "the state that is believed stands where the interval begins"
        env_steps = 0
        for consumed, wrong in self._rounds(shard, job, weights):
            env_steps += consumed.env_steps
            if wrong:
                return Finding(env_steps, wrong, consumed.id.round)
        if shard_digest(shard.snapshot(), in_full=job.in_full) != job.end_digest:
            return Finding(env_steps, "the state that was given at the end is not the one that follows")
        return Finding(env_steps)

    def _rounds(self, shard: Shard, job: AuditJob, weights: Sequence[np.ndarray]) -> Iterator[tuple[Consumed, str]]:
        """Each round's consumed fragment, and what is wrong with it."""
        for i, consumed in enumerate(job.consumed):
            try:
                yield consumed, self._wrong(shard, job, i, weights)
            except (OutOfStepError, ValueError, IndexError) as error:
                yield consumed, f"it cannot be computed again ({error})"

    def _wrong(self, shard: Shard, job: AuditJob, i: int, weights: Sequence[np.ndarray]) -> str:
        """What is wrong with the `i`-th round; empty if nothing is."""
        consumed = job.consumed[i]
        if job.in_full:
            self._weights.load(weights[i])
            fragment, summary = shard.simulate(consumed.id.round, job.acting[i], self._network)
            if acted_digest(fragment) != consumed.acted:
                return f"the policy of version {job.acting[i]} says something else"
        else:
            assert consumed.actions is not None, "the learner kept the actions of workers that are audited"
            fragment, summary = shard.replay(consumed.id.round, job.acting[i], consumed.actions)
        if seen_digest(fragment, whole=consumed.actions is not None) != consumed.seen:
            return "the environments show something else"
        return "" if told_digest(summary) == job.told[i] else "the episodes that ended are not those that were told"
