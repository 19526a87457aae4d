"""`hydrahive serve`: bring the application up on a cluster, or on this machine alone, and take it down again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import ray
from ray import serve
from ray.serve.config import HTTPOptions
from ray.serve.schema import LoggingConfig

from hydrahive.core.errors import HydrahiveError
from hydrahive.ledger.ledger import ledger_path
from hydrahive.runtime.coordinator_actor import CoordinatorLine
from hydrahive.runtime.interrupts import Interrupts
from hydrahive.runtime.ray_address import is_embedded
from hydrahive.runtime.ray_cluster import connect
from hydrahive.runtime.storage import is_uri
from hydrahive.serving.config import ServingConfig

APPLICATION = "hydrahive"
LOOK_SECONDS = 0.5


def serve_runs(
    runs: str,
    names: Sequence[str],
    config: ServingConfig,
    address: str | None,
    place: tuple[str, int],
    say: Callable[[str], None],
) -> None:
    """Serve until interrupted.

    Args:
        runs: Folder or URI of the runs, as the cluster's nodes see it.
        names: The runs.
        config: Prices and limits.
        address: Of a cluster; None for this machine alone.
        place: Host and port to listen at.
        say: Takes lines for people.

    Raises:
        HydrahiveError: If the cluster cannot be reached, or the port is taken.
        Interrupted: After Ctrl-C or SIGTERM.
    """
    from hydrahive.serving.gate import build

    connect(address, 1 + config.replicas)
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    interrupts = Interrupts()
    try:
        with interrupts.installed():
            ledger = ledger_path(None, None if is_uri(runs) else Path(runs))
            line = CoordinatorLine(ledger, embedded=is_embedded(address))
            host, port = place
            quiet = LoggingConfig(log_level="ERROR", enable_access_log=False)
            try:
                serve.start(http_options=HTTPOptions(host=host, port=port), logging_config=quiet)
                serve.run(
                    build({"runs": runs, "names": list(names), **asdict(config)}),
                    name=APPLICATION,
                    route_prefix="/",
                    logging_config=quiet,
                )
            except (RuntimeError, ValueError, OSError) as error:
                raise HydrahiveError(f"cannot serve at {host}:{port}: {str(error).splitlines()[0]}") from None
            say(f"serving {', '.join(names)} at http://{host}:{port}; accounts pay into {line.place}")
            while True:
                time.sleep(LOOK_SECONDS)
    finally:
        serve.shutdown()
        ray.shutdown()
