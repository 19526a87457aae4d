"""The class that Ray Tune runs: a thin shell around `Trial`, which may hand its process on to another trial."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ray import tune

from hydrahive.core.errors import HydrahiveError, first_line, is_out_of_memory
from hydrahive.runtime.runs.run_user import act_for
from hydrahive.tuning.folder import SweepFolder
from hydrahive.tuning.trials.trial import EndedError, Task, Trial, Workshop, why_it_failed


class TrialProcess(tune.Trainable):
    """A step is a milestone; an exploit, where one was decided, is done at the beginning of the next.

    Checkpoints of Tune's hold nothing but how many milestones were told: the run's own are in its folder.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Take on a trial."""
        act_for(config["user"])
        self._workshop = Workshop(embedded=config["embedded"])
        self._take_on(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take on another trial in the same process."""
        self._take_on(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train to the next milestone; an error that would come again ends the trial."""
        try:
            report = self._trial.advance()
        except EndedError as ended:
            return self._failed(ended.ending.status, ended.ending.reason)
        except HydrahiveError as error:
            status, reason = why_it_failed(error)
            return self._failed(status, reason)
        except (MemoryError, RuntimeError) as error:  # torch says so by a RuntimeError
            if not is_out_of_memory(error):
                raise
            return self._failed("out of memory", first_line(error))
        told = {name: report[name] for name in TOLD if name in report}
        return {**told, "rank": self._trial.rank(report["score"]), "failed": None, "reason": ""}

    def _failed(self, status: str, reason: str) -> dict[str, Any]:
        facts = {"failed": status, "reason": reason, "score": None, "rank": self._trial.rank(None), "done": True}
        return {"milestone": self._trial.told, **facts}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        """How many milestones were told."""
        return {"told": self._trial.told}

    def load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on behind those."""
        self._trial.told = checkpoint["told"]

    def cleanup(self) -> None:
        """End the fleet."""
        self._workshop.close()

    def _take_on(self, config: dict[str, Any]) -> None:
        task: Task = config["task"]
        self._trial = Trial(SweepFolder(Path(config["sweep"])), task, self._workshop)


TOLD = ("milestone", "updates", "env_steps", "score", "score_mean", "digest", "values", "done")
"""What Tune is told of a report."""
