"""The Ray that a single command starts for itself: what actors need, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray._private.node as ray_node


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
