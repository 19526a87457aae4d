"""Connecting to Ray: a running cluster where there is one, else one inside this process."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import ray
import ray._private.node as ray_node

from hydrahive.core.errors import HydrahiveError, UsageError
from hydrahive.core.machine import LONGEST_TEMPORARY, own_temporary
from hydrahive.core.machine import cpus as own_cpus
from hydrahive.runtime.cluster.address import await_answer, cluster_address, is_embedded, refusal

VOLUNTEER_LABEL, VOLUNTEER = "hydrahive.volunteer", "yes"
"""The Ray node label of machines that work for somebody's account, whoever that is."""

OWNER_LABEL = "hydrahive.owner"
"""The Ray node label that says which account a node works for."""

END_SECONDS = 1.0
"""Time that an embedded Ray's processes have to end by themselves."""

SPOT_LABEL = "hydrahive.spot"
"""The Ray node label of nodes that may be taken away at any time."""


@dataclass(frozen=True)
class Cluster:
    """What the cluster offers.

    Attributes:
        gpus: GPUs on nodes that are not somebody else's: the learner is believed, and goes nowhere else.
        object_store_bytes: Memory of the smallest object store on a node where the learner may be: a round comes there.
    """

    gpus: int
    object_store_bytes: int


class EmbeddedNode(ray_node.Node):  # type: ignore[misc]  # Ray's has no types
    """A head node without the processes that only serve people who look at a cluster.

    Left out are the dashboard's server (which `include_dashboard=False` starts all the same), the autoscaler's
    monitor and the log monitor: two CPU-seconds and as many of waiting at each start. The agent beside the raylet
    takes any free port; at its fixed one a second Ray on the machine keeps everybody waiting three seconds before it
    gives up.
    """

    def __init__(self, ray_params: Any, **options: Any) -> None:
        """As Ray's."""
        ray_params.no_monitor = True
        ray_params.include_log_monitor = False
        ray_params.dashboard_agent_listen_port = 0
        super().__init__(ray_params, **options)

    def start_api_server(self, **_: object) -> None:
        """No dashboard."""


@contextmanager
def embedded_node() -> Iterator[None]:
    """What `ray.init` starts during the block is an `EmbeddedNode`; it offers no choice of processes itself."""
    whole = ray_node.Node
    ray_node.Node = EmbeddedNode
    try:
        yield
    finally:
        ray_node.Node = whole


def connect(address: str | None, cpus_needed: int, environment: Mapping[str, str] | None = None) -> Cluster:
    """Connect to the cluster at `address` or `RAY_ADDRESS`, else start an embedded one.

    Args:
        address: As `ray.init` takes it, or None.
        cpus_needed: CPUs an embedded cluster must offer, even if the machine has fewer: actors that wait cost none.
        environment: Variables that all processes of this job get.

    Raises:
        HydrahiveError: If the cluster cannot be reached.
    """
    embedded = is_embedded(address)
    address = cluster_address(address)
    # A call on an actor that has died fails; whoever opens its result deals with it and tells it in one line.
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
    if not sys.stderr.isatty():
        os.environ.setdefault("RAY_COLOR_PREFIX", "0")  # what Ray itself says goes into a log
    _as_task.cache_clear()  # what was sent to another cluster
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if environment:
        quiet["runtime_env"] = {"env_vars": dict(environment)}
    try:
        if embedded:
            # "local" is immune to a stale address file that an earlier cluster left behind.
            cpus = max(own_cpus(), cpus_needed)
            _yield_politely()
            with embedded_node():
                ray.init(address="local", num_cpus=cpus, include_dashboard=False, **_temporary(), **quiet)
        else:
            assert address is not None, "not embedded"
            await_answer(address)
            with _without_words():
                ray.init(address=address, namespace="hydrahive", **quiet)
    except HydrahiveError:
        raise
    except Exception as error:  # Ray raises many kinds here, bare ones among them
        where = "an embedded Ray" if embedded else f"the Ray cluster at {address}"
        raise HydrahiveError(f"cannot connect to {where}: {refusal(str(error))}") from None
    return Cluster(
        gpus=sum(int(node["Resources"].get("GPU", 0)) for node in ray.nodes() if OWNER_LABEL not in node["Labels"]),
        object_store_bytes=min(map(_store, _own_nodes()), default=0),
    )


def _own_nodes() -> list[dict[str, Any]]:
    """Nodes that are alive, not somebody else's, and have CPUs for somebody; the head where no other has."""
    own = [node for node in ray.nodes() if node["Alive"] and OWNER_LABEL not in node["Labels"]]
    return [node for node in own if node["Resources"].get("CPU", 0) >= 1] or own


def _store(node: dict[str, Any]) -> int:
    return int(node["Resources"].get("object_store_memory", 0))


def disconnect() -> None:
    """Leave the cluster; an embedded one ends, with all its processes."""
    left = _processes_of_an_embedded_one()
    ray.shutdown()
    # A raylet that is ended while it begins leaves its agents, which look for it in vain.
    _, alive = psutil.wait_procs(left, timeout=END_SECONDS)
    for process in alive:
        with suppress(psutil.Error):
            process.kill()


def _processes_of_an_embedded_one() -> list[psutil.Process]:
    node = ray._private.worker._global_node
    if node is None or not node.head:
        return []
    found: list[psutil.Process] = []
    for started in [one for kind in node.all_processes.values() for one in kind]:
        with suppress(psutil.Error):
            process = psutil.Process(started.process.pid)
            found += [process, *process.children(recursive=True)]
    return found


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Be connected to a running cluster during the block; errors as `connect`."""
    connect(address, 0)
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _without_words() -> Iterator[None]:
    """Nothing reaches standard error: Ray's core writes a line there for each attempt that fails, whatever is asked."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def place_of(actor: Any) -> tuple[str, str, int]:
    """Where Ray has put an actor: its node's id and address, and its process there; never what the actor says."""
    place: tuple[str, str, int] = _asked_of_a_node(_place, actor._actor_id.hex())
    return place


def draining_nodes() -> set[str]:
    """Nodes that are about to go."""
    found: set[str] = set(_asked_of_a_node(_draining))
    return found


def free_by_node() -> dict[str, dict[str, float]]:
    """What each node has free."""
    found: dict[str, dict[str, float]] = _asked_of_a_node(_free)
    return found


def is_client() -> bool:
    """Whether this process is no node's, and is connected through a client port (`ray://`)."""
    return bool(ray.util.client.ray.is_connected())


def _asked_of_a_node(question: Callable[..., Any], *about: str) -> Any:
    """The answer to a question that only a process on a node can ask; a client has one asked."""
    return ray.get(_as_task(question).remote(*about)) if is_client() else question(*about)


@cache
def _as_task(question: Callable[..., Any]) -> Any:
    """A task of Ray's: each that is made is sent to the cluster and kept there, so one is made for each question."""
    return ray.remote(num_cpus=0)(question)


def _place(actor_id: str) -> tuple[str, str, int]:
    row = ray._private.state.actors(actor_id)
    address = row.get("Address", {})
    return address.get("NodeID", ""), address.get("IPAddress", ""), int(row.get("Pid", 0))


def _draining() -> list[str]:
    return list(ray._private.state.state.get_draining_nodes())


def _free() -> dict[str, dict[str, float]]:
    return {str(node): dict(found) for node, found in ray._private.state.available_resources_per_node().items()}


def _temporary() -> dict[str, str]:
    """Where an embedded Ray keeps its sockets and logs: where it would, or in a folder of this user's own.

    Raises:
        UsageError: If `RAY_TMPDIR` names a folder in which it cannot.
    """
    named = os.environ.get("RAY_TMPDIR")
    place = Path(named or tempfile.gettempdir())
    ray_s = place / "ray"
    is_ours = os.access(ray_s if ray_s.exists() else place, os.W_OK)
    if len(str(place)) <= LONGEST_TEMPORARY and is_ours:
        return {}
    if named:
        why = f"has more than {LONGEST_TEMPORARY} letters" if is_ours else f"has a {ray_s} of somebody else's"
        raise UsageError(f"RAY_TMPDIR: {named!r} {why}, where Ray cannot keep its sockets; expected another folder")
    try:
        return {"_temp_dir": str(own_temporary("ray"))}
    except OSError as error:
        what = f"{error.filename}: {error.strerror}"
        raise UsageError(f"RAY_TMPDIR: Ray cannot keep its sockets in {place} ({what}); name a short folder") from None


def _yield_politely() -> None:
    """Run this process, and the Ray that it starts, as batch work: who wakes up waits for a core to be free.

    Otherwise each of Ray's many short wake-ups preempts the learner, which costs a twentieth of the speed where
    every core is busy.
    """
    if hasattr(os, "SCHED_BATCH"):
        with suppress(OSError):  # a sandbox may refuse it; then it costs that speed
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
