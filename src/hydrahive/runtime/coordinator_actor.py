"""The coordinator as the cluster's one detached actor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from hydrahive.core.errors import HydrahiveError
from hydrahive.runtime.coordinator import Coordinator

NAME, NAMESPACE = "hydrahive-coordinator", "hydrahive"


class CoordinatorActor(Coordinator):
    """`Coordinator` in a process of its own, its file in the Ray session's folder: it lives as long as the cluster."""

    def __init__(self) -> None:
        """Open the file, or find it again after a restart."""
        context = ray.get_runtime_context()
        session = Path(context.get_temp_dir()) / context.get_session_name()
        super().__init__(session / "hydrahive" / "coordinator.sqlite")


def coordinator() -> Any:
    """The cluster's coordinator, started on the head node if there is none yet."""
    heads = [node for node in ray.nodes() if node["Alive"] and "node:__internal_head__" in node["Resources"]]
    where = NodeAffinitySchedulingStrategy(heads[0]["NodeID"], soft=False) if heads else "DEFAULT"
    actor: Any = ray.remote(CoordinatorActor)
    return actor.options(
        name=NAME,
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        num_cpus=0,
        max_restarts=-1,
        max_task_retries=0,
        scheduling_strategy=where,
    ).remote()


def existing_coordinator() -> Any:
    """The cluster's coordinator.

    Raises:
        HydrahiveError: If there is none: nothing was trained on this cluster.
    """
    try:
        return ray.get_actor(NAME, namespace=NAMESPACE)
    except ValueError:
        raise HydrahiveError("no run was ever trained on this cluster: it has no coordinator") from None
