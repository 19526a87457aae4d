"""An actor of a run on a cluster, and what is known of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from hydrahive.core.errors import HydrahiveError
from hydrahive.runtime.cluster.actors import About, EnvWorkerActor
from hydrahive.runtime.cluster.connecting import place_of
from hydrahive.runtime.fleet.refs import Listener, nobody

Role = Literal["env-worker", "learner", "replay", "evaluator", "auditor", "slice-worker"]

BUILD_SECONDS = 600.0
"""Time after which an actor that is still being built is taken to hang."""


def obey_nobody(request: Callable[[], str | None]) -> None:
    """Do nothing that is asked."""


@dataclass(frozen=True)
class RunOnCluster:
    """A run as its actors know it.

    Attributes:
        run_id: Its id.
        name: Its name.
        device: The learner's, `cpu` or `cuda`.
        workers: How many env workers are wanted; None for as many as the cluster has room for.
        embedded: Whether the cluster is this process's own, which nobody else can join.
        listener: Is told what happens before the Trainer listens.
        place: Its folder, as the driver sees it.
        obey: Does what people ask before the Trainer does; is given what gives the next request.
    """

    run_id: str
    name: str
    device: str
    workers: int | None
    embedded: bool = True
    listener: Listener = nobody
    place: str = ""
    obey: Callable[[Callable[[], str | None]], None] = obey_nobody


@dataclass
class Actor:
    """One actor: its handle, what it says of its process once it is built, and where Ray says that this is."""

    name: str
    role: Role
    actor: Any
    asked: Any
    node: str | None = None
    node_id: str = ""
    node_ip: str = ""
    pid: int = 0
    slot: int = -1
    _about: About | None = None
    is_late: bool = False
    shows_life: bool = False
    asked_at: float = field(default_factory=time.monotonic)

    @property
    def has_joined(self) -> bool:
        """Whether it has said who it is."""
        return self._about is not None

    @property
    def about(self) -> About:
        """What it said; it must have joined."""
        assert self._about is not None, f"{self.name} has not joined yet"
        return self._about

    def hear(self) -> None:
        """Take its answer, for which it must be ready.

        Raises:
            RayError: If it is gone, or could not be built.
            ValueError: If what it says is no answer.
        """
        self.node_id, self.node_ip, self.pid = place_of(self.actor)
        about = ray.get(self.asked)
        plain = [about.machine_class, *about.fingerprint.items()] if type(about) is About else [None]
        if not all(isinstance(part, str) for row in plain for part in (row if isinstance(row, tuple) else (row,))):
            raise ValueError("it does not say what its bytes are relative to")
        self._about = about

    def __str__(self) -> str:
        """As people know it."""
        if self._about is None:
            return self.name
        return f"{self.name} (node {self.node_ip}, process {self.pid})"


def fetched(ref: Any, look_s: float, look: Callable[[], None]) -> Any:
    """Wait for a value, and fetch it; who waits looks up meanwhile, each `look_s` seconds.

    Each `ray.get` with a timeout begins to fetch anew, so that what travels for longer than that never arrives.

    Raises:
        RayError: As `ray.get` does.
    """
    while not ray.wait([ref], timeout=look_s, fetch_local=False)[0]:
        look()
    try:
        return ray.get(ref, timeout=look_s)
    except GetTimeoutError:
        fetching = ref.future()
    while True:
        try:
            return fetching.result(timeout=look_s)
        except TimeoutError:
            look()


def is_ready(ref: Any) -> bool:
    """Whether a call has been answered, or has failed."""
    return bool(ray.wait([ref], timeout=0, fetch_local=False)[0])


def build_error(member: Actor, error: RayActorError) -> HydrahiveError:
    """Why an actor could not be built, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return HydrahiveError(f"{member.name} could not be built: {lines[-1] if lines else error}")


def is_an_env_workers_own(error: RayTaskError) -> bool:
    """Whether an env worker's call raised it, by Ray's own first lines, rather than what the call had waited for."""
    first, second, *_ = [*str(error).splitlines(), "", ""]
    return f"ray::{EnvWorkerActor.__name__}." in first and "input arguments for this task" not in second
