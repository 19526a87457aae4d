"""`hydrahive gateway`: bring the gateway up on a cluster, and take it down again."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from hydrahive.core.errors import HydrahiveError, UsageError
from hydrahive.core.interrupts import Interrupts
from hydrahive.runtime.cluster.address import is_embedded
from hydrahive.runtime.cluster.connecting import connected, is_client
from hydrahive.runtime.coordinator.actor import on_the_head
from hydrahive.serving.gateway.actor import gateway_actor

LOOK_SECONDS = 1.0
"""Time between two looks at whether it still lives."""

START_SECONDS = 120.0
"""Longest wait for it to listen."""


def run_gateway(
    address: str | None, place: tuple[str, int], tls: tuple[Path, Path] | None, say: Callable[[str], None]
) -> None:
    """Serve volunteers until interrupted.

    Args:
        address: Of a cluster.
        place: Host and port to listen at.
        tls: Files of a certificate and of its key; None for plain HTTP.
        say: Takes lines for people.

    Raises:
        HydrahiveError: If there is no cluster, it has a gateway, or the port is taken.
        Interrupted: After Ctrl-C or SIGTERM.
    """
    if is_embedded(address):
        raise UsageError("--address is missing: a gateway needs a cluster (or RAY_ADDRESS); `make hive` starts both")
    interrupts = Interrupts()
    with connected(address), interrupts.installed():
        actor = _hired()
        try:
            files = tuple(str(path.absolute()) for path in tls) if tls else (None, None)
            where = _answer(actor.serve.remote(*place, *files))
            say(f"volunteers may join: hydrahive volunteer {where}")
            while True:
                time.sleep(LOOK_SECONDS)
                _answer(actor.figures.remote())
        finally:
            ray.kill(actor)


def _hired() -> Any:
    """The gateway's actor: where this command runs, for there its certificate lies; from outside, on the head."""
    node = "" if is_client() else ray.get_runtime_context().get_node_id()
    try:
        return gateway_actor(NodeAffinitySchedulingStrategy(node, soft=False) if node else on_the_head())
    except ValueError:
        raise HydrahiveError("this cluster has a gateway already; one serves all its runs") from None


def _answer(call: Any) -> Any:
    try:
        return ray.get(call, timeout=START_SECONDS)
    except RayTaskError as error:
        raise (error.cause if isinstance(error.cause, HydrahiveError) else error) from None
    except RayError as error:
        raise HydrahiveError(f"the gateway is gone ({type(error).__name__})") from None
