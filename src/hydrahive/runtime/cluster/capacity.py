"""Where on a cluster a run's actors go: nodes with room, and those that are not wanted."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from hydrahive.runtime.cluster.connecting import (
    OWNER_LABEL,
    SPOT_LABEL,
    VOLUNTEER,
    VOLUNTEER_LABEL,
    draining_nodes,
    free_by_node,
)
from hydrahive.runtime.cluster.member import RunOnCluster, is_ready
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.runs.run_user import run_user

AUTOSCALED = "HYDRAHIVE_AUTOSCALED"
"""The variable by which a cluster says that its nodes follow demand."""


class Room:
    """The nodes of a cluster as one run sees them.

    Attributes:
        refused: Nodes that it wants no work from: of another machine class, unproven, caught, or where a
            worker could not be built.
    """

    def __init__(self, config: RunConfig, run: RunOnCluster) -> None:
        """Refuse no node yet."""
        self._config, self._run = config, run
        self.refused: set[str] = set()

    def wanted_workers(self) -> int:
        """How many env workers the run wants of the cluster as it is now."""
        if self._run.workers is not None:
            return self._run.workers
        return self._config.worker_count(int(ray.cluster_resources().get("CPU", 0)))

    def for_workers(self) -> int:
        """How many env workers there is room for beside the learner."""
        if reserved():
            return self.wanted_workers()
        return int(ray.available_resources().get("CPU", 0)) - self._config.learner.cpus

    @property
    def follows_demand(self) -> bool:
        """Whether workers may wait unplaced: that is the demand from which an autoscaler makes nodes."""
        return self._run.workers is not None and not self._run.embedded and AUTOSCALED in os.environ

    def free_node(
        self, cpus: int, *, gpus: int = 0, trusted: bool = False, near: Mapping[str, int] | None = None
    ) -> str | None:
        """A node with so many free CPUs that is neither being drained nor refused; `trusted`: nor somebody else's.

        Of several the one first that has most of what is to be `near`.

        Who is trusted goes to a spot node only if no other has room: it is what a run can least do without.
        """
        unfit = self.refused | draining_nodes()
        labels = labels_by_node() if trusted else {}
        spot = {node for node, found in labels.items() if SPOT_LABEL in found}
        there = near or {}
        order = sorted(free_by_node().items(), key=lambda item: (item[0] in spot, -there.get(item[0], 0), item[0]))
        for node, resources in order:
            if node in unfit or resources.get("CPU", 0) < cpus or resources.get("GPU", 0) < gpus:
                continue
            if not trusted or _is_own(labels.get(node, {})):
                return node
        return None

    @staticmethod
    def own_nodes() -> set[str]:
        """Those that say of nobody but the run's user that they work for them."""
        return {node for node, labels in labels_by_node().items() if _is_own(labels)}

    def places_for_workers(self, most: int) -> list[str]:
        """Nodes with a free CPU for up to so many workers, each named as often as it has one; taken in turns."""
        unfit = self.refused | draining_nodes()
        free = {node: int(there.get("CPU", 0)) for node, there in sorted(free_by_node().items()) if node not in unfit}
        rounds = range(max(free.values(), default=0))
        turns = (node for turn in rounds for node, count in free.items() if turn < count)
        return list(itertools.islice(turns, max(0, most)))

    def demand(self, cpus: int, gpus: int) -> Demand | None:
        """What shows that so much is wanted, where nodes follow demand."""
        return Demand({"CPU": cpus, **({"GPU": gpus} if gpus else {})}) if self.follows_demand else None

    def worker_options(self, node: str | None, slot: int) -> dict[str, Any]:
        """Ray's options for a worker: on this node if it still has room, else wherever is not refused.

        `slot`: its number among those that are there at once, where each has a place of its own.
        """
        if group := reserved(slot):
            return {"scheduling_strategy": group}
        if node:
            return {"scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=True)}
        if self.refused:
            return {"label_selector": {"ray.io/node-id": f"!in({','.join(sorted(self.refused))})"}}
        return {}

    @staticmethod
    def trusted(node: str) -> NodeAffinitySchedulingStrategy:
        """On this node; if somebody else's are in the cluster, on no other."""
        others = any({OWNER_LABEL, VOLUNTEER_LABEL} & set(found["Labels"]) for found in ray.nodes())
        return NodeAffinitySchedulingStrategy(node, soft=not others)

    def report(self) -> str:
        """How much is free, and how many nodes are refused, in words."""
        free, total = (found.get("CPU", 0) for found in (ray.available_resources(), ray.cluster_resources()))
        refused = f"; nodes refused: {len(self.refused)}" if self.refused else ""
        return f"{free:.0f} of the cluster's {total:.0f} CPUs are free{refused}"


class Demand:
    """Shows an autoscaler that something is wanted: a placement group that is given up as soon as it is met."""

    def __init__(self, wanted: dict[str, float]) -> None:
        """Want nothing yet."""
        self._wanted = wanted
        self._group: Any = None
        self._met: Any = None

    def show(self) -> None:
        """Ask, unless that was asked and is still waited for."""
        if self._group is None:
            self._group = ray.util.placement_group([self._wanted])
            self._met = self._group.ready()
        elif is_ready(self._met):
            self.end()  # there is room now, which whoever looks for it will find

    def end(self) -> None:
        """Want it no more."""
        if self._group is not None:
            ray.util.remove_placement_group(self._group)
        self._group = None


def reserved(worker: int | None = None) -> PlacementGroupSchedulingStrategy | None:
    """Where actors go if this process is itself in a placement group, as a trial of Tune's is: into its bundles.

    The first is the trial's, the second the learner's; both are on nodes of the run's user. The others are the env
    workers': `worker` counts from 0 those that are there at once. Each takes its own, so that none takes the learner's.
    """
    group = ray.util.get_current_placement_group()
    if group is None:
        return None
    own = 1 if worker is None else 2 + worker
    return PlacementGroupSchedulingStrategy(group, own if own < group.bundle_count else -1)


def trusted_selector() -> dict[str, str]:
    """Ray's label selector of nodes that work for nobody but the run's user, also of those that join later."""
    labels = {node["Labels"].get(OWNER_LABEL) for node in ray.nodes()}
    others = sorted(str(owner) for owner in labels - {None, run_user()})
    named = {OWNER_LABEL: f"!in({','.join(others)})"} if others else {}
    return {VOLUNTEER_LABEL: f"!{VOLUNTEER}", **named}


def labels_by_node() -> dict[str, dict[str, str]]:
    """The labels of all nodes."""
    return {node["NodeID"]: node["Labels"] for node in ray.nodes()}


def owner_label(node_id: str) -> str | None:
    """The account that a node is labelled with."""
    return labels_by_node().get(node_id, {}).get(OWNER_LABEL)


def is_own(node_id: str) -> bool:
    """Whether a node says of nobody but the run's user that it works for them."""
    return _is_own(labels_by_node().get(node_id, {}))


def _is_own(labels: Mapping[str, str]) -> bool:
    owner = labels.get(OWNER_LABEL)
    return owner == run_user() or (owner is None and labels.get(VOLUNTEER_LABEL) != VOLUNTEER)
