"""An actor of a run on a cluster, and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import ray
from ray.exceptions import RayActorError

from hydrahive.core.errors import HydrahiveError
from hydrahive.runtime.cluster.actors import About
from hydrahive.runtime.fleet.refs import Listener, nobody


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
    """

    run_id: str
    name: str
    device: str
    workers: int | None
    embedded: bool = True
    listener: Listener = nobody


@dataclass
class Actor:
    """One actor: its handle, and what it says of its process once it is built."""

    name: str
    role: Literal["env-worker", "learner", "replay"]
    actor: Any
    asked: Any
    node: str | None = None
    _about: About | None = None
    is_late: bool = False
    shows_life: bool = False

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
        """
        self._about = ray.get(self.asked)

    def __str__(self) -> str:
        """As people know it."""
        if self._about is None:
            return self.name
        return f"{self.name} (node {self._about.node_ip}, process {self._about.pid})"


def is_ready(ref: Any) -> bool:
    """Whether a call has been answered, or has failed."""
    return bool(ray.wait([ref], timeout=0, fetch_local=False)[0])


def build_error(member: Actor, error: RayActorError) -> HydrahiveError:
    """Why an actor could not be built, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return HydrahiveError(f"{member.name} could not be built: {lines[-1] if lines else error}")
