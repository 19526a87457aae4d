"""`hydrahive serve`: bring the application up on a cluster, or on this machine alone, and take it down again."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import ray
from ray import serve
from ray.serve.config import HTTPOptions
from ray.serve.schema import LoggingConfig

from hydrahive.core.errors import HydrahiveError, first_line
from hydrahive.core.interrupts import Interrupts
from hydrahive.ledger.ledger import ledger_path
from hydrahive.runtime.cluster.address import is_embedded
from hydrahive.runtime.cluster.claim import claimed_on_cluster
from hydrahive.runtime.cluster.connecting import connect
from hydrahive.runtime.config.named_code import is_code_trusted
from hydrahive.runtime.coordinator.actor import CoordinatorLine
from hydrahive.runtime.runs.storage import is_uri
from hydrahive.serving.config import ServingConfig
from hydrahive.serving.proxy import BODY_BYTES, CALLBACK

APPLICATION = "hydrahive"
LOOK_SECONDS = 0.5

REQUEST_SECONDS = 900.0
"""Longest time that a request may take in all: an episode waits for those before it."""


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
        HydrahiveError: If the cluster cannot be reached, serves already, or the port is taken.
        Interrupted: After Ctrl-C or SIGTERM.
    """
    os.environ.setdefault(*CALLBACK)  # for the Ray that is started here; a cluster's head has it in its environment
    os.environ.setdefault(BODY_BYTES, str(config.body_bytes))
    connect(address, 1 + config.replicas)
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    alone, interrupts = is_embedded(address), Interrupts()
    refusal = "another `hydrahive serve` uses this cluster; one server can serve several runs"
    try:
        with interrupts.installed(), nullcontext() if alone else claimed_on_cluster(APPLICATION, refusal):
            if not alone:
                _make_way()
            try:
                ledger = ledger_path(None, None if is_uri(runs) else Path(runs))
                line = CoordinatorLine(ledger, embedded=alone)
                _start(runs, names, config, place)
                host, port = place
                say(f"serving {', '.join(names)} at http://{host}:{port}; accounts pay into {line.place}")
                while True:
                    time.sleep(LOOK_SECONDS)
            finally:
                serve.shutdown()
    finally:
        ray.shutdown()


def _make_way() -> None:
    """End what a killed `hydrahive serve` has left on this cluster, for it may listen elsewhere.

    Raises:
        HydrahiveError: If Ray Serve runs others' applications there.
    """
    others = set(serve.status().applications) - {APPLICATION}
    if others:
        raise HydrahiveError(f"Ray Serve runs {', '.join(sorted(others))} on this cluster; serve on another")
    serve.shutdown()


def _start(runs: str, names: Sequence[str], config: ServingConfig, place: tuple[str, int]) -> None:
    from hydrahive.serving.gate import build

    host, port = place
    quiet = LoggingConfig(log_level="ERROR", enable_access_log=False)
    application = build({"runs": runs, "names": list(names), "trust_code": is_code_trusted(), **asdict(config)})
    try:
        http = HTTPOptions(host=host, port=port, request_timeout_s=REQUEST_SECONDS)
        # Customers' keys pass through a proxy: there is one, on the head.
        serve.start(proxy_location="HeadOnly", http_options=http, logging_config=quiet)
        serve.run(application, name=APPLICATION, route_prefix="/", logging_config=quiet)
    except (RuntimeError, ValueError, OSError) as error:
        raise HydrahiveError(f"cannot serve at {host}:{port}: {first_line(error)}") from None
