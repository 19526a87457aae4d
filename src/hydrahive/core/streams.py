"""Counter-based random streams: what is drawn depends on what it is for, never on who draws it."""

from __future__ import annotations

import hashlib

import numpy as np


def stream_key(seed: int, purpose: str, *indices: int) -> np.ndarray:
    """The 128-bit Philox key of one purpose, as `uint64[2]`.

    Args:
        seed: The run's master seed.
        purpose: What the draws are for, for example `"act"`.
        indices: Where they are used, for example shard and round.
    """
    text = "/".join([str(seed), purpose, *map(str, indices)])
    digest = hashlib.blake2b(text.encode(), digest_size=16, person=b"hydrahive-stream").digest()
    return np.frombuffer(digest, dtype="<u8").astype(np.uint64)


def stream(seed: int, purpose: str, *indices: int) -> np.random.Generator:
    """A fresh generator whose whole output is fixed by its arguments (Salmon et al. 2011, Philox)."""
    return np.random.Generator(np.random.Philox(key=stream_key(seed, purpose, *indices)))


def derived_seed(seed: int, purpose: str, *indices: int) -> int:
    """A 31-bit seed for code that takes an integer seed, such as `Env.reset`."""
    return int(stream_key(seed, purpose, *indices)[0] >> np.uint64(33))
