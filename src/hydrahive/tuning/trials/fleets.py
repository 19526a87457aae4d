"""Fleets inside a process of Ray's: a trial computes where Tune has put it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray
import torch

from hydrahive.core.errors import HydrahiveError
from hydrahive.core.sink import Sink
from hydrahive.ledger.posting import WorkerFacts
from hydrahive.runtime.cluster.capacity import owner_label
from hydrahive.runtime.cluster.member import RunOnCluster
from hydrahive.runtime.cluster.ray_fleet import RayFleet
from hydrahive.runtime.cluster.rllib.fleet import RllibFleet
from hydrahive.runtime.cluster.welcoming import PROOF_SECONDS
from hydrahive.runtime.config.machine_class import chosen_device
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.coordinator.actor import CoordinatorLine, coordinator
from hydrahive.runtime.coordinator.metrics import metrics_sink
from hydrahive.runtime.fleet.inline import InlineFleet
from hydrahive.runtime.fleet.interface import Fleet
from hydrahive.runtime.fleet.ledger_line import LedgerLine
from hydrahive.runtime.runs.run_user import run_user


class NodeFleet(InlineFleet):
    """An inline fleet on a node of a cluster: it works for the node's owner, and its accounts are the cluster's."""

    def __init__(self, config: RunConfig, run_id: str, device: str, *, embedded: bool) -> None:
        """Build it.

        Raises:
            HydrahiveError: If the node says that it works for somebody, and has not shown the account's key.
        """
        super().__init__(config, run_id, device)
        self._embedded = embedded
        node = ray.get_runtime_context().get_node_id()
        self._facts = WorkerFacts(f"inline-{uuid.uuid4().hex[:6]}", _owner_of(node), node)

    def metrics_sink(self, run: str) -> Sink | None:
        """Ray's metrics, unless the cluster is the sweep's own."""
        if self._embedded:
            return None
        return metrics_sink(coordinator(), run, self._config, self.machine_class())

    def ledger_line(self, path: Path | None) -> LedgerLine:
        """The coordinator's."""
        return CoordinatorLine(path, embedded=self._embedded)


def _owner_of(node: str) -> str:
    """Whom a node works for: its label's account once that is proven, by default the run's user."""
    label = owner_label(node)
    if label in (None, run_user()):
        return label or run_user()
    deadline = time.monotonic() + PROOF_SECONDS
    while True:
        known = {row["node_id"]: row for row in ray.get(coordinator().nodes.remote())}.get(node, {})
        if known.get("quarantined"):
            raise HydrahiveError(f"this node of {label}'s is quarantined: {known['quarantined']}")
        if known.get("owner") == label:
            return str(label)
        if time.monotonic() > deadline:
            raise HydrahiveError(f"this node is labelled as {label}'s, and has not shown the account's key")
        time.sleep(0.5)


@contextmanager
def trial_fleet(config: RunConfig, run_id: str, name: str, *, embedded: bool) -> Iterator[Fleet]:
    """A fleet in this process of Ray's: inline for `workers: 0`, else actors in the trial's placement group."""
    device = chosen_device(config.learner.device, offered=torch.cuda.is_available())
    if config.workers == 0 and config.schedule != "rllib":
        yield NodeFleet(config, run_id, device, embedded=embedded)
        return
    workers = config.workers if isinstance(config.workers, int) else None
    kind = RllibFleet if config.schedule == "rllib" else RayFleet
    fleet = kind(config, RunOnCluster(run_id, name, device, workers, embedded))
    try:
        yield fleet
    finally:
        fleet.close()
