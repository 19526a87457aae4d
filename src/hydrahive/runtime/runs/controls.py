"""What people ask of a run that is being trained: pause, continue, stop; through files in its folder.

A run on a cluster also hears what was asked of the coordinator, which works from machines that do not see the folder.
"""

from __future__ import annotations

import fcntl
import json
import secrets
import time
from pathlib import Path
from typing import Any, Literal, get_args

from hydrahive.core.durable import read_json, write_whole
from hydrahive.core.errors import HydrahiveError

Request = Literal["pause", "continue", "stop"]
"""What people may ask of a live run."""

REQUESTS: tuple[str, ...] = get_args(Request)

BEGAN_NS = time.time_ns()
"""When this process began: what was asked before that was asked of another one, which was killed."""

MOST_ANSWERS = 50
"""Answered requests that are remembered."""


class FolderControls:
    """Both ends of the files: a command writes `request-*.json` and reads `state.json`, the Trainer the other way.

    Each request is a file of its own, so that none replaces another; they are taken in the order in which they were
    made, and the state names those that were.
    """

    def __init__(self, folder: Path) -> None:
        """The files in a run's folder."""
        self._folder, self._state, self._lock = folder, folder / "state.json", folder / "lock"
        self._said: tuple[str, int] = ("running", 0)
        self._answered: list[str] = []

    def forget(self) -> None:
        """Drop what was asked of a process that was killed before it took it."""
        for path in self._requests():
            if _asked_at(path) < BEGAN_NS:
                path.unlink(missing_ok=True)

    def take(self) -> str | None:
        """What was asked first of what was not taken yet; whoever asked reads in the state that it was."""
        for path in self._requests():
            request = (read_json(path) or {}).get("request")
            path.unlink(missing_ok=True)
            self._answered = [*self._answered[-MOST_ANSWERS:], path.stem]
            self.say(*self._said)
            if request in REQUESTS:
                return str(request)
        return None

    def say(self, state: str, env_steps: int) -> None:
        """Show how the run is: `running`, `paused` or `ended`; an end is the answer to all that is still asked."""
        self._said = state, env_steps
        left = self._requests() if state == "ended" else []
        answered = [*self._answered, *(path.stem for path in left)]
        told = {"state": state, "env_steps": env_steps, "answered": answered}
        write_whole(self._state, json.dumps(told).encode())
        for path in left:
            path.unlink(missing_ok=True)

    def ask(self, request: Request) -> str:
        """Ask something of the run; the name under which it is answered.

        Raises:
            HydrahiveError: If no process is training it.
        """
        if not self.is_live():
            raise HydrahiveError(f"run {self._folder.name!r} is not being trained now; nothing to {request}")
        name = f"request-{time.time_ns():020}-{secrets.token_hex(4)}"
        write_whole(self._folder / f"{name}.json", json.dumps({"request": request}).encode())
        return name

    def state(self) -> dict[str, Any]:
        """How the run last said it was, and which requests it has answered."""
        told = read_json(self._state) or {}
        answered = told.get("answered")
        return {
            "state": told.get("state", "running"),
            "env_steps": told.get("env_steps", 0),
            "answered": answered if isinstance(answered, list) else [],
        }

    def is_live(self) -> bool:
        """Whether a process holds the run's lock."""
        if not self._lock.is_file():
            return False
        with self._lock.open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            except OSError:  # no locks there: what the run said last is all that is known
                return (read_json(self._state) or {}).get("state") in ("running", "paused")
        return False

    def _requests(self) -> list[Path]:
        """In the order in which they were made."""
        return sorted(self._folder.glob("request-*.json"))


def _asked_at(path: Path) -> int:
    """When a request was made, in nanoseconds."""
    text = path.stem.split("-")[1]
    return int(text) if text.isdigit() else 0
