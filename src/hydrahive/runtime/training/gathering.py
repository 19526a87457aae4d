"""Gathers the fleet that a run is trained on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

from hydrahive.core.errors import UsageError, first_line
from hydrahive.core.interrupts import Interrupts
from hydrahive.core.machine import memory_bytes
from hydrahive.runtime.cluster.address import is_embedded
from hydrahive.runtime.config.machine_class import chosen_device
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.fleet.inline import InlineFleet
from hydrahive.runtime.fleet.interface import Fleet
from hydrahive.runtime.runs.run_folder import RunFolder
from hydrahive.runtime.training.clock import StartTimes
from hydrahive.runtime.training.memory_plan import MemoryPlan, memory_plan, weights_bytes
from hydrahive.runtime.training.request import say

THROUGH_A_CLIENT = (
    "through a client port (ray://) fragments pass the head's object store, and the run ends with the connection; "
    "a job (cluster/submit.sh) does without both"
)


@contextmanager
def gathered_fleet(
    config: RunConfig,
    run_id: str,
    name: str,
    address: str | None,
    claim: Callable[[], AbstractContextManager[None]] = nullcontext,
    times: StartTimes | None = None,
    interrupts: Interrupts | None = None,
    obey: Callable[[Callable[[], str | None]], None] | None = None,
    plan: MemoryPlan | None = None,
    place: str = "",
) -> Iterator[Fleet]:
    """A fleet for a run: inline for `workers: 0`, else actors on the cluster at `address` or an embedded one.

    Args:
        config: The run's.
        run_id: Its id.
        name: Its name.
        address: As `ray.init` takes it, or None.
        claim: Is entered on the cluster before anybody is hired.
        times: Is told when the cluster is connected to, and when everybody is there.
        interrupts: What Ray's start must not be cut short by, and must not stop from hearing.
        obey: Does what people ask meanwhile; is given what gives the cluster's next request.
        plan: What the run keeps in flight; None to find out.
        place: Its folder.

    Raises:
        HydrahiveError: If the config does not fit the cluster, or that cannot be reached.
    """
    plan = plan or memory_plan(config, weights_bytes(config))
    if config.workers == 0 and config.schedule != "rllib":
        plan.refuse_inline_above(memory_bytes())
        inline = InlineFleet(config, run_id, chosen_device(config.learner.device, offered=torch.cuda.is_available()))
        with closed(inline.close):
            yield inline
        return
    from hydrahive.runtime.cluster.connecting import connect, disconnect, is_client
    from hydrahive.runtime.cluster.member import RunOnCluster, obey_nobody

    times = times or StartTimes()
    interrupts = interrupts or Interrupts()
    # Ray's core may be brought down by a signal while it starts, and puts handlers of its own there.
    cluster = interrupts.held_back_in(lambda: connect(address, _cpus_for(config)))
    times.note("connected")
    if is_client():
        say("through_a_client", THROUGH_A_CLIENT)
    with closed(disconnect):
        wanted = config.learner.device
        if wanted == "cuda" and not cluster.gpus:
            raise UsageError("learner.device: 'cuda' was asked for, but the cluster offers no GPU")
        device = chosen_device(wanted, offered=bool(cluster.gpus))
        plan.refuse_above(cluster.object_store_bytes)
        count = config.workers if isinstance(config.workers, int) else None
        run = RunOnCluster(run_id, name, device, count, is_embedded(address), say, place, obey or obey_nobody)
        with claim():
            fleet = _fleet_of(config)(config, run)
            times.note("gathered")
            with closed(fleet.close):
                yield fleet


def _cpus_for(config: RunConfig) -> int:
    """CPUs that all of a run's processes reserve."""
    if config.schedule != "rllib":
        return config.worker_count() + config.learner.cpus
    from hydrahive.runtime.cluster.rllib.host import bundles_of

    return math.ceil(sum(bundle.get("CPU", 0) for bundle in bundles_of(config, config.worker_count())))


def _fleet_of(config: RunConfig) -> Any:
    """The kind of fleet that trains a run on Ray."""
    if config.schedule == "rllib":
        from hydrahive.runtime.cluster.rllib.fleet import RllibFleet

        return RllibFleet
    from hydrahive.runtime.cluster.ray_fleet import RayFleet

    return RayFleet


@contextmanager
def closed(close: Callable[[], object]) -> Iterator[None]:
    """Close something behind the block, whatever happened in it; that closing fails is told, and hides nothing."""
    try:
        yield
    finally:
        try:
            close()
        except Exception as error:
            say("closing_failed", f"not everything could be closed: {type(error).__name__}: {first_line(error)}")


@contextmanager
def claimed_by(folder: RunFolder, config: RunConfig) -> Iterator[None]:
    """The claim on a run in a storage, where the lock in its folder says nothing to other machines."""
    if folder.stored is None or config.workers == 0:
        yield
        return
    from hydrahive.runtime.cluster.claim import claimed_on_cluster

    stored = folder.stored
    with claimed_on_cluster(f"{stored.storage.uri}/{folder.name}", folder.claim_refusal) as see:
        stored.see_claim = see
        try:
            yield
        finally:
            stored.see_claim = lambda: None
