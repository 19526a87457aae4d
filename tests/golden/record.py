"""Writes the golden digests of this machine class: `make golden`.

    python tests/golden/record.py [--readme] [--portable]

`--readme` trains the README's runs, too (a minute); `--portable` takes down those of the portable class.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from hydrahive.runtime.config.portable import ensure_pinned

if __name__ == "__main__" and "--portable" in sys.argv:
    ensure_pinned(*sys.argv)  # before torch is imported

from golden.recording import Golden, as_text, came_to, golden_path, read_golden, recorded
from golden.runs import OTHER_SEED, README_TABLE, README_TRAIN, config_of, portable_runs, runs
from hydrahive.runtime.config.fingerprint import NUMERICS

FOLDER = Path(__file__).parent / f"numerics-{NUMERICS}"


def portable() -> dict[str, Golden]:
    """The recordings of the portable machine class, if this process is pinned to it."""
    return {name: recorded(config_of(*given)) for name, given in portable_runs().items()}


def readme() -> dict[str, Golden]:
    """What the README shows."""
    config, options = README_TABLE
    return {
        "table": came_to(config_of(*README_TABLE)),
        "table, another seed": came_to(config_of(config, [*options, "--seed", OTHER_SEED])),
        "train": came_to(config_of(*README_TRAIN)),
    }


def _write(parts: dict[str, dict[str, Golden]]) -> None:
    first = next(iter(next(iter(parts.values())).values()))
    path = golden_path(FOLDER, first["machine_class"])
    FOLDER.mkdir(exist_ok=True)
    path.write_text(as_text({**(read_golden(path) or {}), **parts}))
    print(f"wrote {path}")


def main() -> None:
    """Record and write."""
    if "--portable" in sys.argv:
        _write({"runs": portable()})
        return
    taken = {}
    for name, given in runs().items():
        print(f"{name} ...", flush=True)
        taken[name] = recorded(config_of(*given))
    _write({"runs": taken, **({"readme": readme()} if "--readme" in sys.argv else {})})


if __name__ == "__main__":
    main()
