"""One driver at a time for a run that lies where no file can be locked: a name that only one actor can have."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import RayError

from hydrahive.core.errors import HydrahiveError, UsageError, first_line
from hydrahive.runtime.cluster.actors import NEVER_AGAIN
from hydrahive.runtime.cluster.connecting import is_client
from hydrahive.runtime.coordinator.actor import NAMESPACE, on_the_head

PATIENCE_SECONDS = 20.0
"""How long a name is waited for: Ray frees a killed driver's names once it has noticed its death."""

CLIENT_PATIENCE_SECONDS = 45.0
"""Likewise, where it may have been a client's: Ray keeps what those hold for 30 s, for they may connect again."""

LOOK_SECONDS = 1.0
"""Time between two attempts."""


class ClaimActor:
    """Holds its name for as long as its driver lives."""

    def hold(self) -> None:
        """Answer, which shows that it does."""


@contextmanager
def claimed_on_cluster(what: str, refusal: str) -> Iterator[Callable[[], None]]:
    """Hold the claim on something, such as a run's place, among all drivers of this cluster.

    Yields:
        What sees that it is still held, and claims again if its holder was lost.

    Raises:
        UsageError: With this refusal, if another driver holds it; from the call as well.
    """
    patience = CLIENT_PATIENCE_SECONDS if is_client() else PATIENCE_SECONDS
    holder = [_claimed(what, refusal, patience)]

    def see() -> None:
        try:
            ray.get(holder[0].hold.remote())
        except RayError:  # its node is gone; the name may stay taken by the dead for a moment
            holder[0] = _claimed(what, refusal, PATIENCE_SECONDS)

    try:
        yield see
    finally:
        ray.kill(holder[0])


def _claimed(what: str, refusal: str, patience_s: float) -> Any:
    name = f"hydrahive-claim-{hashlib.sha256(what.encode()).hexdigest()[:16]}"
    actor = ray.remote(num_cpus=0, **NEVER_AGAIN)(ClaimActor)
    deadline = time.monotonic() + patience_s
    while True:
        try:
            holder = actor.options(name=name, namespace=NAMESPACE, scheduling_strategy=on_the_head()).remote()
            ray.get(holder.hold.remote())  # a client learns only now whether it has the name
            return holder
        except ValueError:  # somebody has the name
            if time.monotonic() >= deadline:
                raise UsageError(refusal) from None
        except RayError as error:  # which says nothing of others
            if time.monotonic() >= deadline:
                if "already" in str(error):  # as a client hears that the name is taken
                    raise UsageError(refusal) from None
                raise HydrahiveError(f"the run cannot be claimed on the cluster: {first_line(error)}") from None
        time.sleep(LOOK_SECONDS)
