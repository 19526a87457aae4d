"""MLflow."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient

from hydrahive.core.sink import Row
from hydrahive.telemetry.loggers.base import About, Logger

MOST_LETTERS = 500
"""Of a parameter's value, which MLflow keeps whatever it stores in."""

AT_ONCE = 100
"""Parameters in one call; MLflow takes no more."""

METRICS_AT_ONCE = 1000
"""Metrics in one call, likewise."""

SEND_SECONDS = 10.0
"""Between two calls: each costs a store many times what its metrics do."""


class MlflowLogger(Logger):
    """A run of MLflow's for a run of ours, tagged with its id: when it goes on, so does that one.

    Metrics are logged at their update, each once: those of rows that come again are left out.
    """

    def __init__(self, tracking_uri: str | None, experiment: str | None) -> None:
        """Wait for a run; what each means says `hydrahive.telemetry.loggers.config.Mlflow`."""
        self._experiment = experiment
        self._client: Any = MlflowClient(tracking_uri)
        self._run = ""
        self._logged: dict[str, int] = {}
        """Of each metric, the last update that it was logged at."""
        self._unsent: list[Metric] = []
        self._sent_at = time.monotonic()

    def begin(self, about: About) -> None:
        """Find the run, or begin one; the config is its parameters."""
        named = self._experiment or about.experiment or "hydrahive"
        known = self._client.get_experiment_by_name(named)
        experiment = known.experiment_id if known else self._client.create_experiment(named)
        wanted = f"tags.`hydrahive.run_id` = '{about.run_id}'"
        found = self._client.search_runs([experiment], wanted, max_results=1)
        if found:
            self._run = found[0].info.run_id
            self._client.set_terminated(self._run, "RUNNING")
            for name in found[0].data.metrics:
                history = self._client.get_metric_history(self._run, name)
                self._logged[name] = max(one.step for one in history)
            return
        made = self._client.create_run(experiment, tags={"hydrahive.run_id": about.run_id}, run_name=about.name)
        self._run = made.info.run_id
        parameters = [Param(name, str(value)[:MOST_LETTERS]) for name, value in _flat(about.config)]
        for first in range(0, len(parameters), AT_ONCE):
            self._client.log_batch(self._run, params=parameters[first : first + AT_ONCE])

    def row(self, row: Row) -> None:
        """Log its numbers at its update, with those of other rows."""
        update, at_ms = int(row["updates"] or 0), int(1000 * float(row.get("seconds") or 0))
        metrics = [
            Metric(name, value, at_ms, update)
            for name, value in row.items()
            if isinstance(value, int | float) and math.isfinite(value) and self._logged.get(name, -1) < update
        ]
        self._logged |= {metric.key: update for metric in metrics}
        self._unsent += metrics
        if time.monotonic() - self._sent_at >= SEND_SECONDS:
            self._send()

    def _send(self) -> None:
        """Hand over what was logged since the last call."""
        for first in range(0, len(self._unsent), METRICS_AT_ONCE):
            self._client.log_batch(self._run, metrics=self._unsent[first : first + METRICS_AT_ONCE])
        self._unsent, self._sent_at = [], time.monotonic()

    def event(self, kind: str, text: str, facts: Mapping[str, Any]) -> None:
        """What happened last is a tag."""
        self._send()
        self._client.set_tag(self._run, "last event", text[:MOST_LETTERS])

    def end(self, summary: Mapping[str, Any] | None) -> None:
        """Close the run; texts of what it came to are tags."""
        if not self._run:
            return
        self._send()
        told = [RunTag(name, str(value)) for name, value in (summary or {}).items() if isinstance(value, str)]
        self._client.log_batch(self._run, tags=told)
        self._client.set_terminated(self._run, "FINISHED" if summary else "KILLED")


def _flat(plain: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """The leaves of nested data with their dotted names."""
    if not isinstance(plain, Mapping) or not plain:
        return [(prefix, plain)]
    return [leaf for key, value in plain.items() for leaf in _flat(value, f"{prefix}.{key}" if prefix else str(key))]
