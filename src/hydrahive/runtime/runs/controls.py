"""What people ask of a run that is being trained: pause, continue, stop; through files in its folder.

A run on a cluster also hears what was asked of the coordinator, which works from machines that do not see the folder.
"""

from __future__ import annotations

import fcntl
import json
from pathlib import Path
from typing import Any, Literal, get_args

from hydrahive.core.durable import read_json, write_whole
from hydrahive.core.errors import HydrahiveError

Request = Literal["pause", "continue", "stop"]
"""What people may ask of a live run."""

REQUESTS: tuple[str, ...] = get_args(Request)


class FolderControls:
    """Both ends of the files: a command writes `request.json` and reads `state.json`, the Trainer the other way."""

    def __init__(self, folder: Path) -> None:
        """The files in a run's folder."""
        self._request, self._state, self._lock = folder / "request.json", folder / "state.json", folder / "lock"

    def forget(self) -> None:
        """Drop what was asked before the run was started."""
        self._request.unlink(missing_ok=True)

    def take(self) -> str | None:
        """What was asked since the last call."""
        if not self._request.exists():
            return None
        request = (read_json(self._request) or {}).get("request")
        self._request.unlink()
        return request if request in REQUESTS else None

    def say(self, state: str, env_steps: int) -> None:
        """Show how the run is: `running`, `paused` or `ended`."""
        write_whole(self._state, json.dumps({"state": state, "env_steps": env_steps}).encode())

    def ask(self, request: Request) -> None:
        """Ask something of the run.

        Raises:
            HydrahiveError: If no process is training it.
        """
        if not self.is_live():
            raise HydrahiveError(f"run {self._lock.parent.name!r} is not being trained now; nothing to {request}")
        write_whole(self._request, json.dumps({"request": request}).encode())

    def state(self) -> dict[str, Any]:
        """How the run last said it was."""
        told = read_json(self._state) or {}
        return {"state": told.get("state", "running"), "env_steps": told.get("env_steps", 0)}

    def is_live(self) -> bool:
        """Whether a process holds the run's lock."""
        if not self._lock.is_file():
            return False
        with self._lock.open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False
