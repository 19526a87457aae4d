"""One driver at a time for a run that lies where no file can be locked: a name that only one actor can have."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from hydrahive.core.errors import UsageError
from hydrahive.runtime.coordinator_actor import NAMESPACE
from hydrahive.runtime.ray_actors import NEVER_AGAIN

PATIENCE_SECONDS = 20.0
"""How long a name is waited for: Ray frees a killed driver's names once it has noticed its death."""

LOOK_SECONDS = 1.0
"""Time between two attempts."""


class ClaimActor:
    """Holds its name for as long as its driver lives."""


@contextmanager
def claimed_on_cluster(what: str, refusal: str) -> Iterator[None]:
    """Hold the claim on something, such as a run's place, among all drivers of this cluster.

    Raises:
        UsageError: With this refusal, if another driver holds it.
    """
    name = f"hydrahive-claim-{hashlib.sha256(what.encode()).hexdigest()[:16]}"
    actor = ray.remote(num_cpus=0, **NEVER_AGAIN)(ClaimActor)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            holder = actor.options(name=name, namespace=NAMESPACE).remote()
            break
        except ValueError:
            if time.monotonic() >= deadline:
                raise UsageError(refusal) from None
            time.sleep(LOOK_SECONDS)
    try:
        yield
    finally:
        ray.kill(holder)
