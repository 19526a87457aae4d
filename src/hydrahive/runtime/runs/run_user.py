"""Whom a run works for where nobody else is named."""

from __future__ import annotations

import getpass
import os
import re

from hydrahive.ledger.entries import NAME

_acting_for: list[str] = []


def act_for(user: str) -> None:
    """Work for this account from now on: for whom a process was started by, whose own user may be another's."""
    _acting_for[:] = [user]


def run_user() -> str:
    """The account of this process's user: its login name, with what no account's name may hold replaced by dashes."""
    if _acting_for:
        return _acting_for[0]
    try:
        login = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        login = f"uid-{os.getuid()}"
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", login).strip("_.-")[:63].rstrip("_.-")
    return name if NAME.fullmatch(name) else f"uid-{os.getuid()}"
