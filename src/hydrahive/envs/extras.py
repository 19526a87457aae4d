"""Optional dependencies of environments, by what errors say of them."""

from __future__ import annotations

EXTRAS = {"box2d": "box2d", "minatar": "minatar", "minigrid": "minigrid", "mpe2": "mpe"}
"""Which of our extras brings what stands in an error."""


def told(error: Exception) -> str:
    """What an error that others raised says, in one line, and how to install what is missing."""
    missing = next((extra for named, extra in EXTRAS.items() if named in str(error).lower()), None)
    is_about_that = isinstance(error, ImportError) or "install" in str(error)
    hint = f"; pip install 'hydrahive[{missing}]'" if missing and is_about_that else ""
    return " ".join(f"{type(error).__name__}: {error}".split()) + hint
