"""What volunteers fetch: weights and states, named by what they hold, so that a name never means anything else."""

from __future__ import annotations

from collections import OrderedDict

from blake3 import blake3

BYTES = 512 * 2**20
"""Of all that is kept; what was fetched longest ago goes first."""


class Blobs:
    """Bytes by their BLAKE3, in hex."""

    def __init__(self, most_bytes: int = BYTES) -> None:
        """Keep so many bytes at most, and the newest one whatever its size."""
        self._most, self._held = most_bytes, 0
        self._blobs: OrderedDict[str, bytes] = OrderedDict()

    def keep(self, content: bytes) -> str:
        """Keep it for a while; its name."""
        name = blake3(content).hexdigest()
        if name not in self._blobs:
            self._blobs[name] = content
            self._held += len(content)
        self._blobs.move_to_end(name)
        while self._held > self._most and len(self._blobs) > 1:
            self._held -= len(self._blobs.popitem(last=False)[1])
        return name

    def get(self, name: str) -> bytes | None:
        """It, if it is still there."""
        if name in self._blobs:
            self._blobs.move_to_end(name)
        return self._blobs.get(name)
