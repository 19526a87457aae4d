"""Which Ray a command is for; known without importing Ray."""

from __future__ import annotations

import os


def cluster_address(given: str | None) -> str | None:
    """The address that was given, else `RAY_ADDRESS`."""
    return given or os.environ.get("RAY_ADDRESS")


def is_embedded(given: str | None) -> bool:
    """Whether no running cluster is meant, but a Ray inside the command's own process."""
    return cluster_address(given) in (None, "local")
