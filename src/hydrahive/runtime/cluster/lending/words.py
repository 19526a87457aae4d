"""What a run and the gateway say to each other."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import ray

NAME, NAMESPACE = "hydrahive-gateway", "hydrahive"


@dataclass(frozen=True)
class Wanted:
    """What a run wants of volunteers, and what is to be shown of it.

    Attributes:
        run_id: Its id.
        name: Its name.
        config: Its config as plain data, without what concerns nobody else.
        machine_class: What its bytes are relative to.
        fingerprint: Likewise.
        portable: Whether its processors' instructions are pinned.
        known: Digests of known fragments, by what they are drawn from.
        env_steps: How far it is.
        place: Its folder, as the driver sees it.
    """

    run_id: str
    name: str
    config: Mapping[str, Any]
    machine_class: str
    fingerprint: Mapping[str, str]
    portable: bool
    known: Mapping[int, str]
    env_steps: int
    place: str


@dataclass(frozen=True)
class Session:
    """A volunteer's process that has proven to be of a run's machine class.

    Attributes:
        id: Names it.
        account: Whom it earns for.
    """

    id: str
    account: str


@dataclass(frozen=True)
class Accused:
    """A volunteer that gave something else than an honest machine gives.

    Attributes:
        session: His.
        account: Whom it is held against.
        shard: Of the fragment that it was about.
        round: Likewise.
        why: What he gave, in words.
    """

    session: str
    account: str
    shard: int
    round: int
    why: str


@dataclass(frozen=True)
class Crowd:
    """What the gateway answers.

    Attributes:
        sessions: Who is there for the run, in the order in which they are to be given work.
        accused: Who was caught since the run asked last.
        gateway: Names the gateway's process: another one knows of nobody.
    """

    sessions: tuple[Session, ...] = ()
    accused: tuple[Accused, ...] = ()
    gateway: str = ""


@dataclass(frozen=True)
class Offer:
    """A lease as the gateway is told of it.

    Attributes:
        session: To whom.
        id: The lease's name.
        run_id: The run.
        round: Its round.
        version: The weights version that is to act.
        states: By shard; bytes of a state that the volunteer's copy is to be given, or none where it stands there.
        least: Bytes of an answer for one shard, at least.
        most: Likewise at most.
        seconds: For which it may be waited for.
    """

    session: str
    id: str
    run_id: str
    round: int
    version: int
    states: Mapping[int, bytes]
    least: int
    most: int
    seconds: float
    weights: Any = field(repr=False, default=None)
    """A list of one reference, to the flat weights."""


def gateway() -> Any:
    """The cluster's gateway; None if there is none."""
    with suppress(ValueError):
        return ray.get_actor(NAME, namespace=NAMESPACE)
    return None
