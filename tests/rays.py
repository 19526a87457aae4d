"""A Ray inside of the test's own process, that leaves nothing behind for those that come after it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ray_inside(cpus: int) -> Iterator[None]:
    """A Ray of so many CPUs; what it puts into the environment, as how it is authenticated, goes with it."""
    import ray

    before = dict(os.environ)
    ray.init(address="local", num_cpus=cpus, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    try:
        yield
    finally:
        ray.shutdown()
        os.environ.clear()
        os.environ.update(before)
