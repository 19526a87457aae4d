"""What is shipped: experiments and sweeps by their names, and the file that a CONFIG argument means."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from hydrahive.core.errors import UsageError


def experiment_folders() -> list[Path]:
    """Where shipped experiments may lie: inside an installed package, or in the checkout it runs from."""
    package = Path(__file__).parents[2]
    return [folder for folder in (package / "experiments", package.parents[1] / "experiments") if folder.is_dir()]


SWEEPS = "sweeps/"
"""What the names of shipped sweeps begin with."""


def _shipped() -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder in experiment_folders():
        for path in sorted(folder.rglob("*.yaml")):
            found.setdefault(path.relative_to(folder).with_suffix("").as_posix(), path)
    return found


def shipped_experiments() -> dict[str, Path]:
    """The shipped experiments' files by name, as in `snake/vtrace`."""
    return {name: path for name, path in _shipped().items() if not name.startswith(SWEEPS)}


def shipped_sweeps() -> dict[str, Path]:
    """The shipped sweeps' files by name, as in `sweeps/snake-pbt`."""
    return {name: path for name, path in _shipped().items() if name.startswith(SWEEPS)}


def default_name(experiment: str, seed: int, *, is_runs_own: bool) -> str:
    """The name of a run that was given none, fit for a folder; a run's own `config.yaml` keeps its folder's."""
    fit = re.sub(r"[^A-Za-z0-9._+=-]+", "-", experiment).strip("-.") or "run"
    return fit if is_runs_own else f"{fit[:90]}-s{seed}"


def find_config(given: str, among: dict[str, Path] | None = None, what: str = "CONFIG") -> tuple[Path, str]:
    """The file that an argument names, and the name of the experiment or sweep in it.

    Args:
        given: A file, or what is shipped.
        among: What is shipped; experiments by default.
        what: The argument, for errors.

    Raises:
        UsageError: If it is neither a file nor a shipped experiment.
    """
    path, shipped = Path(given), shipped_experiments() if among is None else among
    if path.is_file():
        return path, path.resolve().parent.name if path.name == "config.yaml" else path.stem
    if given in shipped:
        return shipped[given], given.removeprefix(SWEEPS).replace("/", "-")
    near = difflib.get_close_matches(given, list(shipped), n=3, cutoff=0.3) or list(shipped)
    kind = "experiment" if among is None else "sweep"
    raise UsageError(f"{what}: {given!r} is neither a file nor a shipped {kind}; nearest: {', '.join(near)}")
