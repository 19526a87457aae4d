"""`python -m hydrahive.runtime.coordinator.start`: the cluster's coordinator, started with its head, before any job."""

from __future__ import annotations

import argparse
import sys
import time

import ray
from ray.exceptions import RayError

from hydrahive.runtime.coordinator.actor import coordinator


def main() -> int:
    """Start it, or find that it runs; 1 if the cluster does not answer in time."""
    parser = argparse.ArgumentParser(description="Start the coordinator of the Ray cluster on this machine.")
    parser.add_argument("--seconds", type=float, default=120.0, help="longest wait for the cluster (default: 120)")
    deadline, reason = time.monotonic() + parser.parse_args().seconds, ""
    while time.monotonic() < deadline:
        try:
            ray.init(address="auto", namespace="hydrahive", logging_level="ERROR", log_to_driver=False)
            ray.get(coordinator().nodes.remote(), timeout=30)
        except (ConnectionError, RayError, RuntimeError) as error:
            reason = str(error)
            time.sleep(1)
        else:
            return 0
        finally:
            ray.shutdown()
    print(f"hydrahive: error: no coordinator: {' '.join(reason.split())[:200]}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
