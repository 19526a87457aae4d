"""The env worker that lends its acting, as a Ray actor, and its line to the gateway."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import RayError
from safetensors.numpy import save

from hydrahive.core.state import State
from hydrahive.runtime.cluster.actors import Process
from hydrahive.runtime.cluster.lending.words import Offer
from hydrahive.runtime.config.machine_class import prepare_torch
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.roles.env_worker import WORKER_THREADS
from hydrahive.runtime.roles.lending.known import known_digest
from hydrahive.runtime.roles.lending.worker import Lease, LendingWorker

AHEAD = "ahead"
"""The concurrency group of what must not wait for the round that is being computed."""


class GatewayLine:
    """`hydrahive.runtime.roles.lending.worker.Line` through the gateway's actor; no call is waited for."""

    def __init__(self, gateway: Any, session: str, run_id: str, seconds: float) -> None:
        """To one volunteer's process."""
        self._gateway, self._session, self._run_id, self._seconds = gateway, session, run_id, seconds
        self._me: Any = None

    def offer(self, lease: Lease, weights: Any) -> None:
        """Send it."""
        self._me = self._me or ray.get_runtime_context().current_actor
        states = {shard: _packed(lease.states.get(shard)) for shard in lease.shards}
        offer = Offer(
            self._session,
            lease.id,
            self._run_id,
            lease.round,
            lease.version,
            states,
            lease.least,
            lease.most,
            self._seconds,
            weights,
        )
        self._say("offer", offer, self._me)

    def withdraw(self, lease: str) -> None:
        """Send it."""
        self._say("withdraw", lease)

    def accuse(self, shard: int, round_: int, why: str) -> None:
        """Send it."""
        self._say("accuse", self._session, shard, round_, why)

    def let_go(self, why: str) -> None:
        """Send it."""
        self._say("let_go", self._session, why)

    def _say(self, what: str, *about: Any) -> None:
        with suppress(RayError):  # a gateway that is gone is seen by who looks after the volunteers
            getattr(self._gateway, what).remote(*about)


def _packed(state: State | None) -> bytes:
    return save({name: array.copy(order="C") for name, array in state.items()}) if state else b""


class LendingWorkerActor(Process, LendingWorker):
    """`LendingWorker` in a process of its own, on a node of the run's user's."""

    def __init__(self, config: RunConfig, run_id: str, session: str, gateway: Any) -> None:
        """Fix the threads before anything is computed."""
        prepare_torch(config, WORKER_THREADS)
        line = GatewayLine(gateway, session, run_id, config.remote.deadline_seconds)
        super().__init__(config, run_id, line)

    @ray.method(num_returns=2)
    def simulate(self, *arguments: Any) -> Any:
        """As `LendingWorker.simulate`, its two results as two objects."""
        return super().simulate(*arguments)

    @ray.method(concurrency_group=AHEAD)
    def foretell(self, shards: Sequence[int], round_: int, version: int, weights: Any) -> None:
        """As `LendingWorker.foretell`."""
        super().foretell(shards, round_, version, weights)

    @ray.method(concurrency_group=AHEAD)
    def answer(self, lease: str, shard: int, body: bytes) -> bool:
        """As `LendingWorker.answer`."""
        return super().answer(lease, shard, body)

    @ray.method(concurrency_group=AHEAD)
    def trust(self, is_trusted: bool) -> None:
        """As `LendingWorker.trust`."""
        super().trust(is_trusted)

    @ray.method(concurrency_group=AHEAD)
    def gone(self) -> None:
        """As `LendingWorker.gone`."""
        super().gone()


def known_fragments(config: RunConfig, nonces: Sequence[int]) -> dict[int, str]:
    """Digests of known fragments, computed as a worker of this run computes."""
    prepare_torch(config, WORKER_THREADS)
    return {nonce: known_digest(config, nonce) for nonce in nonces}


GROUPS = {AHEAD: 2}
"""Threads of the concurrency groups beside the one that computes."""
