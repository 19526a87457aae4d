"""What the phases of a sweep have to do: trials with values from its source, and the best again with other seeds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from hydrahive.core.errors import HydrahiveError, UsageError
from hydrahive.core.streams import derived_seed
from hydrahive.runtime.config.run_config import CheckpointConfig, RunConfig
from hydrahive.tuning.config import SweepConfig
from hydrahive.tuning.folder import Ending, SweepFolder, again_name, trial_name
from hydrahive.tuning.search.breeding import ranked
from hydrahive.tuning.search.schedulers import scheduler_of
from hydrahive.tuning.search.sources import Source, source_of
from hydrahive.tuning.trials.trial import Task


class Plan:
    """What a phase of a sweep has to do: tasks in order, and what is made of what comes of them."""

    def __init__(self, config: SweepConfig, folder: SweepFolder, base: RunConfig, embedded: bool) -> None:
        """Nothing yet."""
        self.config, self.folder, self.base, self.embedded = config, folder, base, embedded
        self.put_off = ""  # why the sweep cannot go on just now

    title = ""

    def task(self, index: int) -> Task | None:
        """The index-th task; None if there are no more.

        Raises:
            UsageError: If the run that it would be is not accepted.
        """
        raise NotImplementedError

    def refuse(self, index: int, error: UsageError) -> None:
        """Hear that a task could not be given."""
        raise error

    def scheduler(self) -> Any:
        """Tune's scheduler for the phase."""
        return None

    def report(self, task: Task, milestone: int, score: float) -> None:
        """Hear of a milestone."""

    def end(self, task: Task, ending: Ending) -> None:
        """Hear how a task ended."""
        self.folder.end(task.name, ending)


class Search(Plan):
    """The trials."""

    title = "search"

    def __init__(self, config: SweepConfig, folder: SweepFolder, base: RunConfig, embedded: bool) -> None:
        """Take values from the sweep's source."""
        super().__init__(config, folder, base, embedded)
        self._source: Source = source_of(config, folder.study)
        self._begun = 0

    def task(self, index: int) -> Task | None:
        """A trial with the next values."""
        values = self._source.values(index) if index < self.config.budget.trials else None
        if values is None:
            return None
        self._begun = max(self._begun, index + 1)
        return Task(trial_name(index), self.config.run_config(self.base, values), index, self.config.is_bred)

    def refuse(self, index: int, error: UsageError) -> None:
        """Values that do not go together make a trial that has failed."""
        self.folder.end(trial_name(index), Ending("failed", str(error), 0))
        self._source.end(index, "failed", None)

    def scheduler(self) -> Any:
        """The sweep's."""
        return scheduler_of(self.config, self.folder)

    def report(self, task: Task, milestone: int, score: float) -> None:
        """The source hears of it."""
        self._source.report(task.number, milestone, score)

    def end(self, task: Task, ending: Ending) -> None:
        """The source hears of it."""
        super().end(task, ending)
        self._source.end(task.number, ending.status, self._score(task.number))

    def _score(self, number: int) -> float | None:
        reports = self.folder.reports(trial_name(number))
        score: float | None = reports[-1]["score"] if reports else None
        return score

    def scores(self) -> dict[int, float]:
        """Of the trials that were trained to their end, by number."""
        found = {}
        for number in range(self.config.budget.trials + self.config.forks):
            ending, score = self.folder.ending(trial_name(number)), self._score(number)
            if ending and ending.status == "done" and score is not None:
                found[number] = score
        return found

    def best(self, count: int) -> list[int]:
        """The best trials, the best first."""
        return ranked(self.scores(), most_is_best=self.config.mode == "max")[:count]

    def refuse_all_failed(self) -> None:
        """End the sweep if nothing came of it.

        Raises:
            HydrahiveError: With the first trial's reason.
        """
        if self.scores():
            return
        endings = [(number, self.folder.ending(trial_name(number))) for number in range(self._begun)]
        failed = [(number, ending) for number, ending in endings if ending and ending.status != "done"]
        if failed:
            number, ending = failed[0]
            raise HydrahiveError(
                f"all {len(failed)} trials failed; the first, {trial_name(number)}: {ending.status}: {ending.reason}"
            )
        raise HydrahiveError(f"no trial reported {self.config.metric}: give it a larger budget.env_steps")


class Forks(Plan):
    """Forks of trials that their pilots have ended to be forked, one of each: a generation."""

    title = "forks"

    def __init__(self, search: Search, first: int, donors: Sequence[int]) -> None:
        """Fork these, the first as a trial of this number."""
        super().__init__(search.config, search.folder, search.base, search.embedded)
        self._first, self._donors = first, donors

    def task(self, index: int) -> Task | None:
        """The next; its config is found where the donor lies."""
        if index >= len(self._donors):
            return None
        number, donor = self._first + index, self._donors[index]
        config = self.folder.run(trial_name(donor)).config(trusted=None)
        return Task(trial_name(number), config, number, is_bred=False, fork_of=donor)


def to_fork(folder: SweepFolder, numbers: Iterable[int]) -> list[int]:
    """Which of these trials are to be forked."""
    reports = {number: folder.reports(trial_name(number)) for number in numbers}
    return [number for number, told in reports.items() if told and told[-1].get("fork")]


class Repetition(Plan):
    """The best trials' configs, with other seeds."""

    title = "again"

    def __init__(
        self, config: SweepConfig, folder: SweepFolder, base: RunConfig, top: list[int], embedded: bool
    ) -> None:
        """Repeat these trials."""
        super().__init__(config, folder, base, embedded)
        self._tasks = [
            Task(again_name(number, seed), _with_seed(config, folder, number, seed), number, is_bred=False)
            for number in top
            for seed in range(config.again.seeds)
        ]

    def task(self, index: int) -> Task | None:
        """The next."""
        return self._tasks[index] if index < len(self._tasks) else None


def _with_seed(config: SweepConfig, folder: SweepFolder, number: int, seed: int) -> RunConfig:
    run = folder.run(trial_name(number)).config(trusted=None)
    return dataclasses.replace(run, seed=derived_seed(config.seed, "again", seed), checkpoint=CheckpointConfig())
