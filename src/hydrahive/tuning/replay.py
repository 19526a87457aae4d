"""Training a sweep's winner again from scratch, by its schedule."""

from __future__ import annotations

import dataclasses
import shutil

import torch

from hydrahive.core.errors import HydrahiveError, MachineClassError, VersionsError
from hydrahive.runtime.config.fingerprint import difference_in_words, fingerprint_of
from hydrahive.runtime.config.machine_class import chosen_device, is_same_class, machine_class
from hydrahive.runtime.runs.run_folder import RunFolder
from hydrahive.runtime.training.request import Request
from hydrahive.runtime.training.train import train
from hydrahive.tuning.folder import SweepFolder, trial_name
from hydrahive.tuning.winner import winner_of


def replay_winner(folder: SweepFolder) -> tuple[str, str]:
    """Train the winner's config, with the changes that were bred, in one run: the trial's digest, and this run's.

    Whatever it copied, the trial's config holds: that of the first of its line, and all changes since. So one run that
    makes the same changes at the same updates must end with the same bytes.

    Raises:
        HydrahiveError: If there is no winner yet, or the run fails.
        MachineClassError: If the trial was trained on another class of machine than this one, or other versions.
    """
    winner = winner_of(folder)
    trial = folder.run(trial_name(winner.trial))
    config = trial.config(trusted=None)
    device = chosen_device(config.learner.device, offered=torch.cuda.is_available())
    theirs, ours = trial.identity().machine_class, machine_class(config, device)
    if not is_same_class(theirs, ours):
        raise MachineClassError(f"{trial.name} was trained on machine class {theirs}, this is {ours}")
    made_with, here = trial.identity().fingerprint, fingerprint_of(config.env)
    difference = difference_in_words(made_with or here, here, f"{trial.name} was computed with", "here is")
    if difference:
        raise VersionsError(difference)
    run = RunFolder(folder.path / "replay")
    if run.exists():
        shutil.rmtree(run.path)
    config = dataclasses.replace(config, workers=0)
    outcome = train(Request(config, run, runs=folder.path.parent, title=f"{folder.name}/replay"))
    if outcome.summary is None:
        raise HydrahiveError("the replay was asked to stop before its end")
    return winner.digest, outcome.summary["digest"]
