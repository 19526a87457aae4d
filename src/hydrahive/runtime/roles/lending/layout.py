"""What a volunteer gives back of a fragment, as bytes: what only acting makes. All else the lender makes itself.

Observations, rewards, ends and scores follow from the actions by stepping the environments, which the lender does
again; so nobody can make them up, and they do not travel. No byte is read before its length is known.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from hydrahive.core.state import State
from hydrahive.policies.distributions import distribution_of
from hydrahive.policies.exploration import DETOUR_COUNTS
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.roles.carried import Shapes, carry_shapes
from hydrahive.runtime.roles.env_worker import shown_by

HEAD = struct.Struct("<I")
"""How many memories it holds."""


class RefusedLentError(ValueError):
    """What came is not what was lent for; says what is wrong with it."""


@dataclass(frozen=True)
class Lent:
    """What acting makes of a fragment.

    Attributes:
        actions: `[T, B]` int64, or `[T, B, D]` float32, as a fragment's.
        behaviour: `[T, B, P]` float32, likewise.
        states: `[S, M]` float32, likewise.
        carried: What the agent carries into the next fragment, `[B, ...]` each; parts that hold nothing are left out.
        counts: What is to be told of acting, int64; empty where nothing is.
    """

    actions: np.ndarray
    behaviour: np.ndarray
    states: np.ndarray
    carried: State
    counts: np.ndarray

    def arrays(self) -> list[np.ndarray]:
        """All of it, in order."""
        return [self.actions, self.behaviour, self.counts, *(self.carried[name] for name in sorted(self.carried))]

    def equals(self, other: Lent) -> bool:
        """Whether both are the same, byte for byte."""
        mine, theirs = [*self.arrays(), self.states], [*other.arrays(), other.states]
        return len(mine) == len(theirs) and all(
            a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in zip(mine, theirs, strict=True)
        )


class Layout:
    """Packs and unpacks what is given back of one shard's fragment of a run.

    Attributes:
        least: Bytes of one without memories.
        most: Bytes of one that holds as many as there can be.
    """

    def __init__(self, config: RunConfig) -> None:
        """Know types and shapes from the config."""
        _, space, _, _ = shown_by(config.env)
        self._distribution = distribution = distribution_of(space)
        rows = config.fragment_length, config.envs_per_shard
        narrow = distribution.action_dtype == np.int64 and 0 < distribution.choices <= 256
        action_dtype = np.dtype(np.uint8) if narrow else np.dtype(distribution.action_dtype)
        counts = len(DETOUR_COUNTS) if config.algorithm.avoids_fatal_actions else 0
        self._parts: Shapes = {
            "actions": (action_dtype, (*rows, *distribution.action_shape)),
            "behaviour": (np.dtype(np.float32), (*rows, distribution.parameters)),
            "counts": (np.dtype(np.int64), (counts,)),
        }
        carried = carry_shapes(config, distribution.action_shape)
        self._carried = {name: carried[name] for name in sorted(carried) if 0 not in carried[name][1]}
        self._memory = config.policy.memory_size
        self.least = HEAD.size + sum(_bytes(*part) for part in (*self._parts.values(), *self._carried.values()))
        self.most = self.least + 4 * self._memory * rows[0] * rows[1]

    def packed(self, lent: Lent) -> bytes:
        """As bytes."""
        shapes = [*self._parts.values(), *self._carried.values()]
        body = [HEAD.pack(len(lent.states))]
        for array, (dtype, shape) in zip(lent.arrays(), shapes, strict=True):
            assert array.shape == shape, "it is of this run"
            body.append(np.ascontiguousarray(array, dtype).tobytes())
        return b"".join([*body, np.ascontiguousarray(lent.states, np.float32).tobytes()])

    def unpacked(self, body: bytes | memoryview) -> Lent:
        """The inverse of `packed`, of what somebody sends who is not believed.

        Raises:
            RefusedLentError: If it has another length, or values that no acting gives.
        """
        if not self.least <= len(body) <= self.most:
            raise RefusedLentError(f"it has {len(body):,} bytes; expected {self.least:,} to {self.most:,}")
        (states,) = HEAD.unpack_from(body)
        if states and not self._memory:
            raise RefusedLentError(f"it has {states:,} memories, and its policy has none")
        wanted = self.least + 4 * self._memory * states
        if len(body) != wanted:
            raise RefusedLentError(f"it has {len(body):,} bytes; with {states:,} memories it would have {wanted:,}")
        at, found = HEAD.size, {}
        for name, (dtype, shape) in {**self._parts, **self._carried}.items():
            size = _bytes(dtype, shape)
            found[name] = np.frombuffer(body, dtype, size // dtype.itemsize, at).reshape(shape).copy()
            at += size
        memories = np.frombuffer(body, np.float32, states * self._memory, at).reshape(states, self._memory).copy()
        actions = found["actions"].astype(self._distribution.action_dtype)
        carried = {name: found[name] for name in self._carried}
        lent = Lent(actions, found["behaviour"], memories, carried, found["counts"])
        self._refuse_nonsense(lent)
        return lent

    def _refuse_nonsense(self, lent: Lent) -> None:
        if not self._distribution.takes(lent.actions):
            raise RefusedLentError("its actions are none of the environment's")
        if not (np.isfinite(lent.behaviour) | (lent.behaviour == -np.inf)).all():
            raise RefusedLentError("what its policy says is not finite")
        for name, array in {**lent.carried, "states": lent.states}.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise RefusedLentError(f"its {name} is not finite")
        if lent.counts.size and int(lent.counts.min()) < 0:
            raise RefusedLentError("its counts are below zero")


def _bytes(dtype: np.dtype[Any], shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
