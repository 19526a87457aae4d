"""`hydrahive digest`."""

from __future__ import annotations

import json
from collections.abc import Sequence

from hydrahive.cli.arguments import add_run, command_parser
from hydrahive.core.errors import HydrahiveError


def run(arguments: Sequence[str]) -> int:
    """Print the digest of a run's newest checkpoint, computed from its bytes, and the machine class."""
    parser = command_parser("digest", "Print the digest and machine class of a run's newest checkpoint.")
    add_run(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object, with the state digest")
    given = parser.parse_args(arguments)

    from hydrahive.runtime.runs.newest import newest_checkpoint
    from hydrahive.runtime.runs.run_folder import find_run, runs_folder

    folder = find_run(runs_folder(given.runs), given.run)
    checkpoint = newest_checkpoint(folder)
    digest = checkpoint.boundary.digest()
    if digest != checkpoint.digest:
        raise HydrahiveError(
            f"checkpoint {checkpoint.path}: its digest is {digest}, its manifest says {checkpoint.digest}"
        )
    if given.json:
        facts = {
            "run": folder.name,
            "updates": checkpoint.boundary.updates,
            "env_steps": checkpoint.boundary.progress.env_steps,
            "digest": digest,
            "state_digest": checkpoint.boundary.state_digest(),
            "machine_class": checkpoint.machine_class,
        }
        print(json.dumps(facts))
        return 0
    print(f"{digest}  {checkpoint.machine_class}")
    return 0
