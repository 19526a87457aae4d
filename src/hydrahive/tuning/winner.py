"""Who won a sweep, and why; written down as configs that can be trained."""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hydrahive.core.durable import read_json, write_whole
from hydrahive.core.errors import HydrahiveError
from hydrahive.runtime.config.changes import in_force
from hydrahive.runtime.config.plain import dump
from hydrahive.runtime.config.run_config import CheckpointConfig
from hydrahive.tuning.config import SweepConfig
from hydrahive.tuning.folder import SweepFolder, again_name, trial_name
from hydrahive.tuning.plans import Search
from hydrahive.tuning.search.breeding import ranked


@dataclass(frozen=True)
class Winner:
    """Who won, and why.

    Attributes:
        trial: Its number.
        score: What it was chosen for.
        scores_again: Of its runs with other seeds; empty where there were none.
        digest: Of the trial's own run.
        values: Its values at the end.
    """

    trial: int
    score: float
    scores_again: list[float]
    digest: str
    values: dict[str, Any]


def name_winner(config: SweepConfig, folder: SweepFolder, search: Search, top: list[int]) -> Winner:
    """Who won: by the mean of the runs with other seeds, where there are any; written down."""
    scores, most = search.scores(), config.mode == "max"
    again = {number: scores_again(config, folder, number) for number in top}
    whole = {number: found for number, found in again.items() if len(found) == config.again.seeds}
    judged: Mapping[int, float] = {n: statistics.fmean(found) for n, found in whole.items()}
    if top and not judged:
        raise HydrahiveError("none of the best trials came to a score with every other seed: no winner")
    number = ranked(judged or scores, most_is_best=most)[0]
    last = folder.reports(trial_name(number))[-1]
    winner = Winner(number, (judged or scores)[number], again.get(number, []), last["digest"], last["values"])
    run = folder.run(trial_name(number)).config(trusted=None)
    header = (
        f"# The winner of sweep {folder.name}: {trial_name(number)}. Trained as it stands it gives digest\n"
        f"# {winner.digest}.\n"
    )
    export = dataclasses.replace(run, recording=True, checkpoint=CheckpointConfig())
    write_whole(folder.winner_config, (header + dump(export)).encode())
    warm = dataclasses.replace(in_force(export, last["updates"]), stop=search.base.stop)
    trained = f"{folder.name}/{trial_name(number)}"
    header = f"# The same with its last values, to train on from its weights (--init-from {trained}).\n"
    write_whole(folder.warm_config, (header + dump(warm)).encode())
    write_whole(folder.winner, json.dumps(dataclasses.asdict(winner), indent=1).encode())
    return winner


def scores_again(config: SweepConfig, folder: SweepFolder, number: int) -> list[float]:
    """What a trial's config came to with other seeds, where it came to its end."""
    reports = [folder.reports(again_name(number, seed)) for seed in range(config.again.seeds)]
    return [found[-1]["score"] for found in reports if found and found[-1]["last"] and found[-1]["score"] is not None]


def winner_of(folder: SweepFolder) -> Winner:
    """The winner that was named.

    Raises:
        HydrahiveError: If none was.
    """
    plain = read_json(folder.winner)
    if plain is None:
        raise HydrahiveError(f"sweep {folder.name!r} has no winner yet; `hydrahive tune run` goes on with it")
    return Winner(**plain)
