"""Reading what is appended to a file while somebody else writes it."""

from __future__ import annotations

import os
from pathlib import Path


class Follower:
    """Reads a file on from where it was read before; from its beginning where another one has taken its place."""

    def __init__(self, path: Path) -> None:
        """Follow `path`, which need not be there yet."""
        self._path = path
        self._inode: int | None = None
        self._offset = 0

    def read(self, limit: int = 2**22) -> tuple[bool, bytes]:
        """At most `limit` new bytes; and whether they are the first ones of another file than before."""
        try:
            with self._path.open("rb") as file:
                facts = os.fstat(file.fileno())
                anew = facts.st_ino != self._inode or facts.st_size < self._offset
                if anew:
                    self._inode, self._offset = facts.st_ino, 0
                file.seek(self._offset)
                data = file.read(limit)
        except FileNotFoundError:
            return False, b""
        self._offset += len(data)
        return anew, data
