"""The Ray that a single command starts for itself: what actors need, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray._private.node as ray_node

from hydrahive.runtime import embedded_worker


class EmbeddedNode(ray_node.Node):  # type: ignore[misc]  # Ray's has no types
    """A head node without the processes that only serve people who look at a cluster.

    Left out are the dashboard's server (which `include_dashboard=False` starts all the same), the autoscaler's
    monitor and the log monitor: two CPU-seconds and as many of waiting at each start. The agent beside the raylet
    takes any free port; at its fixed one a second Ray on the machine keeps everybody waiting three seconds before it
    gives up. Its workers begin with our script (`embedded_worker`).
    """

    def __init__(self, ray_params: Any, **options: Any) -> None:
        """As Ray's."""
        ray_params.dashboard_agent_listen_port = 0
        ray_params.setup_worker_path = str(Path(embedded_worker.__file__).resolve())
        super().__init__(ray_params, **options)

    def start_api_server(self, **_: object) -> None:
        """No dashboard."""

    def start_monitor(self) -> None:
        """No autoscaler."""

    def start_log_monitor(self) -> None:
        """No log monitor: nothing is sent to the driver."""


@contextmanager
def embedded_node() -> Iterator[None]:
    """What `ray.init` starts during the block is an `EmbeddedNode`; Ray itself offers no choice of processes."""
    whole = ray_node.Node
    ray_node.Node = EmbeddedNode
    try:
        yield
    finally:
        ray_node.Node = whole
