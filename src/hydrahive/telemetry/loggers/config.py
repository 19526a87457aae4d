"""The loggers that are shipped; what they need is imported when a run begins."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from hydrahive.telemetry.loggers.base import Logger, LoggerConfig


@dataclass(frozen=True)
class Csv(LoggerConfig):
    """Rows of metrics as `metrics.csv` in the run's folder, for spreadsheets."""

    def build(self) -> Logger:
        """A `hydrahive.telemetry.loggers.csv_file.CsvLogger`."""
        from hydrahive.telemetry.loggers.csv_file import CsvLogger

        return CsvLogger()


@dataclass(frozen=True)
class Wandb(LoggerConfig):
    """Weights and Biases; needs the extra `wandb`.

    Attributes:
        project: Name of the project.
        entity: Whose it is; null for one's own.
        mode: `online`, or `offline` for a folder that `wandb sync` sends later; by default as wandb is set up.
        tags: Of the run.
    """

    project: str = "hydrahive"
    entity: str | None = None
    mode: Literal["online", "offline"] | None = None
    tags: list[str] = field(default_factory=list)

    def build(self) -> Logger:
        """A `hydrahive.telemetry.loggers.wandb_run.WandbLogger`."""
        from hydrahive.telemetry.loggers.wandb_run import WandbLogger

        return WandbLogger(self.project, self.entity, self.mode, self.tags)


@dataclass(frozen=True)
class Mlflow(LoggerConfig):
    """MLflow; needs the extra `mlflow`.

    Attributes:
        tracking_uri: Where it keeps runs: a server or a database; by default `$MLFLOW_TRACKING_URI`.
        experiment: Name of MLflow's experiment; null for the run's own.
    """

    tracking_uri: str | None = None
    experiment: str | None = None

    def build(self) -> Logger:
        """A `hydrahive.telemetry.loggers.mlflow_run.MlflowLogger`."""
        from hydrahive.telemetry.loggers.mlflow_run import MlflowLogger

        return MlflowLogger(self.tracking_uri, self.experiment)
