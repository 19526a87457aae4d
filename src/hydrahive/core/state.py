"""State as named arrays: what snapshots, checkpoints and digests are made of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum

import numpy as np

State = dict[str, np.ndarray]
"""A flat mapping of names to arrays; nesting is written with slashes, as in `shards/0/env/snakes`."""


class SnapshotKind(StrEnum):
    """How an environment's state can be kept and given back."""

    EXACT = "exact"
    """`restore(snapshot())` continues identically."""

    REPLAYABLE = "replayable"
    """As exact, but a restore plays again what was played since a seeded beginning, which takes its time."""

    REBUILT = "rebuilt"
    """A restored environment continues like any other restored one, but not like the one that was never interrupted;
    so all are restored at each boundary."""

    RESTARTED = "restarted"
    """Nothing can be kept. Episodes are cut at each boundary, which enters no score, and all begin anew behind it."""

    @property
    def goes_on(self) -> bool:
        """Whether a restored environment continues exactly as the one whose state it was given."""
        return self in (SnapshotKind.EXACT, SnapshotKind.REPLAYABLE)


def nested(prefix: str, state: Mapping[str, np.ndarray]) -> State:
    """`state` with every name placed under `prefix/`."""
    return {f"{prefix}/{name}": array for name, array in state.items()}


def under(prefix: str, state: Mapping[str, np.ndarray]) -> State:
    """The part of `state` under `prefix/`, with the prefix taken off; the inverse of `nested`."""
    start = f"{prefix}/"
    return {name[len(start) :]: array for name, array in state.items() if name.startswith(start)}


def as_json_array(value: object) -> np.ndarray:
    """Plain data (numbers of any size, text, lists, dicts) as an array of its JSON bytes, `uint8[N]`."""
    return np.frombuffer(json.dumps(value, sort_keys=True).encode(), dtype=np.uint8).copy()


def from_json_array(array: np.ndarray) -> object:
    """The value that `as_json_array` packed."""
    return json.loads(array.tobytes().decode())


def digest(named_arrays: Iterable[tuple[str, np.ndarray]]) -> str:
    """SHA-256, in hex, over arrays in the order given: name, dtype, shape, little-endian C-order bytes."""
    sha = hashlib.sha256()
    for piece in hashed_bytes(named_arrays):
        sha.update(piece)
    return sha.hexdigest()


def hashed_bytes(named_arrays: Iterable[tuple[str, np.ndarray]]) -> Iterator[bytes | memoryview]:
    """What a digest of arrays is taken over, piece by piece: name, dtype, shape, little-endian C-order bytes."""
    for name, array in named_arrays:
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        yield f"{name}\0{little.dtype.str}\0{array.shape}\0".encode()
        yield little.reshape(-1).view(np.uint8).data  # the bytes themselves, not a copy of them


def digest_of_state(state: Mapping[str, np.ndarray]) -> str:
    """The digest of a state, its names sorted."""
    return digest((name, state[name]) for name in sorted(state))
