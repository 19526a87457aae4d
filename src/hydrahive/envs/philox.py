"""Counter-based random bits for kernels."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def philox(key: int, counter: int) -> int:
    """32 random bits: Philox-4x32-10 (Salmon et al. 2011) of a 64-bit key and a 64-bit counter."""
    c0, c1 = np.uint32(counter & 0xFFFFFFFF), np.uint32(counter >> np.uint64(32))
    c2, c3 = np.uint32(0), np.uint32(0)
    k0, k1 = np.uint32(key & 0xFFFFFFFF), np.uint32(key >> np.uint64(32))
    for _ in range(10):
        product0 = np.uint64(0xD2511F53) * np.uint64(c0)
        product1 = np.uint64(0xCD9E8D57) * np.uint64(c2)
        c0, c1, c2, c3 = (
            np.uint32(np.uint32(product1 >> np.uint64(32)) ^ c1 ^ k0),
            np.uint32(product1 & np.uint64(0xFFFFFFFF)),
            np.uint32(np.uint32(product0 >> np.uint64(32)) ^ c3 ^ k1),
            np.uint32(product0 & np.uint64(0xFFFFFFFF)),
        )
        k0 = np.uint32(k0 + np.uint32(0x9E3779B9))
        k1 = np.uint32(k1 + np.uint32(0xBB67AE85))
    return int(c0)
