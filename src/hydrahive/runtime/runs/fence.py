"""One driver at a time for a run, also where no lock says so: who began last trains it, and whoever did before ends."""

from __future__ import annotations

import json
import os
import secrets
import socket
from pathlib import Path

from hydrahive.core.durable import read_json, write_whole
from hydrahive.core.errors import HydrahiveError, SupersededError
from hydrahive.runtime.runs.stored import StoredRun

NAME = "driver.json"
"""Who trains the run, in its folder and in its storage."""


class Fence:
    """A driver's own mark in a run's folder, and in its storage, that another driver's replaces."""

    def __init__(self, folder: Path, stored: StoredRun | None) -> None:
        """Of a run; nothing is marked yet."""
        self._path, self._stored, self._mine = folder / NAME, stored, ""

    def put_up(self) -> None:
        """Mark the run as this driver's.

        Raises:
            OSError: If it cannot be marked.
        """
        self._mine = secrets.token_hex(16)
        mark = {"nonce": self._mine, "host": socket.gethostname(), "pid": os.getpid()}
        data = json.dumps(mark).encode()
        write_whole(self._path, data)
        if self._stored:
            self._stored.write(NAME, data)

    def see(self) -> None:
        """See that the mark still is this driver's; before anything is written that others read.

        Raises:
            SupersededError: If it is another's, or gone with the folder.
        """
        if not self._mine:
            return
        self._compare(read_json(self._path), self._path.parent.name)

    def see_stored(self) -> None:
        """Likewise of the mark in the storage; errors as `see`."""
        if not self._mine or not self._stored:
            return
        try:
            data = self._stored.storage.read(self._stored.path_of(NAME))
        except HydrahiveError:
            return  # a storage that is away says nothing of others; writing to it will tell
        self._compare(_parsed(data), self._stored.path_of(NAME))

    def _compare(self, there: dict[str, object] | None, name: str) -> None:
        if there is None:
            raise SupersededError(
                f"run {name!r} is gone from where it lay, or was begun anew by somebody; this process ends, and writes "
                "nothing more of it"
            )
        if there.get("nonce") != self._mine:
            who = f"process {there.get('pid')} on {there.get('host')}"
            raise SupersededError(f"run {name!r} is trained by {who} now; this process ends, and writes nothing more")


def _parsed(data: bytes | None) -> dict[str, object] | None:
    try:
        plain = json.loads(data) if data is not None else None
    except ValueError:
        return {}
    return plain if isinstance(plain, dict) else None
