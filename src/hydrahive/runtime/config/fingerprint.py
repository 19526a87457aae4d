"""Which code computes a run's bytes: the arithmetic of our own, and the versions of the packages that it calls."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import metadata

from hydrahive.core.config import EnvConfig

NUMERICS = 5
"""Raised by the commit that changes a byte of any run's result, which says why in CHANGELOG.md.

Golden digests (`tests/golden/`) are kept for each; a run is not continued under another one by itself.
"""

PACKAGES = ("torch", "numpy", "numba", "gymnasium")
"""What every run computes with."""

OURS = "hydrahive"

BESIDE = {"pygame", "matplotlib", "seaborn", "pillow", "imageio", "moviepy", "typing_extensions", "typing-extensions"}
"""Packages that environments import for pictures and types; no byte of a run comes from them."""

Fingerprint = Mapping[str, str]
"""Versions by package, and `numerics`."""


def fingerprint_of(env: EnvConfig) -> dict[str, str]:
    """What a run of this environment is computed with in this process."""
    names = {*PACKAGES, *_distributions(env.modules())}
    return {"numerics": str(NUMERICS), **{name: version_of(name) for name in sorted(names)}}


def version_of(package: str) -> str:
    """A package's version; where the module that is loaded says another one than what was installed, both."""
    try:
        installed = metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"
    loaded = getattr(sys.modules.get(package.replace("-", "_")), "__version__", installed)
    same = str(loaded).partition("+")[0] == installed.partition("+")[0]
    return installed if same else f"{installed} ({loaded} is loaded)"


def difference_in_words(before: Fingerprint, now: Fingerprint, of_before: str, of_now: str) -> str:
    """How two fingerprints differ; empty where they do not.

    Args:
        before: One.
        now: The other.
        of_before: What is said before the one's versions, as `the run was computed with`.
        of_now: What is said before the other's, as `here is`.
    """
    apart = [name for name in dict.fromkeys([*before, *now]) if before.get(name) != now.get(name)]
    if not apart:
        return ""
    theirs, ours = (", ".join(f"{name} {one.get(name, 'none')}" for name in apart) for one in (before, now))
    return f"{of_before} {theirs}; {of_now} {ours}"


def _distributions(modules: Iterable[str]) -> set[str]:
    """The installed packages that modules come from, those of Python and our own left out."""
    roots = {module.partition(".")[0] for module in modules} - sys.stdlib_module_names - {OURS, "__main__"}
    return {package for root in roots if (package := _distribution(root)) is not None} - BESIDE


@cache
def _distribution(root: str) -> str | None:
    """The package that a module's first name comes from; None for a module that no package brought."""
    try:
        return metadata.distribution(root.replace("_", "-")).metadata["Name"].lower()
    except metadata.PackageNotFoundError:
        brought = metadata.packages_distributions().get(root)
        return brought[0].lower() if brought else None
