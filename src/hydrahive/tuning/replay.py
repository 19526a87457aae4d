"""Training a sweep's winner again from scratch, by its schedule."""

from __future__ import annotations

import dataclasses
import shutil

from hydrahive.core.errors import HydrahiveError
from hydrahive.runtime.request import Request
from hydrahive.runtime.run_folder import RunFolder
from hydrahive.runtime.training import train
from hydrahive.tuning.folder import SweepFolder, trial_name
from hydrahive.tuning.sweep import winner_of


def replay_winner(folder: SweepFolder) -> tuple[str, str]:
    """Train the winner's config, with the changes that were bred, in one run: the trial's digest, and this run's.

    Whatever it copied, the trial's config holds: that of the first of its line, and all changes since. So one run that
    makes the same changes at the same updates must end with the same bytes.

    Raises:
        HydrahiveError: If there is no winner yet, or the run fails.
    """
    winner = winner_of(folder)
    config = folder.run(trial_name(winner.trial)).config()
    run = RunFolder(folder.path / "replay")
    if run.exists():
        shutil.rmtree(run.path)
    config = dataclasses.replace(config, workers=0)
    outcome = train(Request(config, run, runs=folder.path.parent, title=f"{folder.name}/replay"))
    if outcome.summary is None:
        raise HydrahiveError("the replay was asked to stop before its end")
    return winner.digest, outcome.summary["digest"]
