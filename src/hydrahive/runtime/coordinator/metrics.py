"""A run's figures as Ray's metrics, which every node exports to Prometheus.

Names are `hydrahive_<area>_<what>_<unit>`, totals end in `_total`; Ray puts `ray_` before them. All are exported by
the coordinator, of which there is one: a figure that each driver exported itself would be gone as soon as its job has
ended, often before anybody has read the last one. The only tags are the run's name (a sweep's for its trials) and its
experiment, so there are as many series as runs. Totals are gauges, too: they are set to the run's own count, which a
resumed run begins with.
"""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from statistics import fmean
from typing import Any

import ray
from ray.util.metrics import Gauge

from hydrahive import __version__
from hydrahive.core.sink import Clip, Row
from hydrahive.ledger.paying import Settled
from hydrahive.runtime.config.plain import dump
from hydrahive.runtime.config.run_config import RunConfig

TAGS = ("run", "experiment")

EXPORT_SECONDS = 1.0
"""Shortest time between two exports of a run."""

Together = Callable[[list[float]], float]
"""What the figures of a sweep's trials are together."""


@dataclass(frozen=True)
class Exported:
    """A figure of a row as a metric.

    Attributes:
        name: The metric's.
        text: What it is, for people.
        key: The row's.
        together: What it is for the trials of a sweep.
    """

    name: str
    text: str
    key: str
    together: Together = fmean


EXPORTED = (
    Exported("hydrahive_run_env_steps_total", "Env steps that the learner has consumed", "env_steps", sum),
    Exported("hydrahive_run_rounds_total", "Rounds consumed", "rounds", sum),
    Exported("hydrahive_run_episodes_total", "Episodes that ended", "episodes", sum),
    Exported("hydrahive_run_throughput_env_steps_per_second", "Trained env steps a second", "steps_per_second", sum),
    Exported("hydrahive_run_score_mean", "Mean score of the last 100 episodes", "score_mean"),
    Exported("hydrahive_run_score_max", "Best score so far", "score_max", max),
    Exported("hydrahive_learner_version_updates", "The weights' version", "updates"),
    Exported("hydrahive_learner_lag_updates", "Updates between the weights that acted and those that learned", "lag"),
    Exported("hydrahive_learner_lag_max_updates", "The longest such lag", "lag_max", max),
    Exported("hydrahive_learner_rho_clipped_ratio", "Share of weights beyond their clip", "rho_clipped_share"),
    Exported("hydrahive_learner_update_seconds", "Seconds of learning in an update", "learn_seconds"),
    Exported("hydrahive_learner_loss", "The update's loss", "loss"),
    Exported("hydrahive_learner_entropy_nats", "The policy's entropy", "entropy"),
    Exported("hydrahive_learner_gradient_norm", "Length of the gradient before it is clipped", "gradient_norm"),
    Exported("hydrahive_fragment_rounds_in_flight", "Rounds submitted and not yet learned", "rounds_in_flight", sum),
    Exported("hydrahive_env_workers", "Env workers that are there; 0 inline", "env_workers", sum),
    Exported("hydrahive_replay_horizon_frames", "Frames of a replayed sequence", "replay_sequence"),
    Exported("hydrahive_replay_gear", "The adaptive temporal horizon's gear", "replay_gear"),
    Exported("hydrahive_replay_frames", "Frames that the replay holds", "replay_frames", sum),
    Exported("hydrahive_ledger_outstanding_receipts", "Receipts not yet posted", "outstanding_receipts", sum),
    Exported("hydrahive_faults_recoveries_total", "Losses that were made good", "recoveries", sum),
    Exported("hydrahive_faults_replayed_env_steps_total", "Env steps simulated again", "replayed_env_steps", sum),
)
"""Every metric of a run, by the row's key."""


def title_of(run: str) -> str:
    """What a run is exported as: a sweep's trial as its sweep."""
    return run.partition("/")[0]


class LedgerMetrics:
    """What the cluster's ledger says of runs; exported by the coordinator alone, which there is one of."""

    def __init__(self) -> None:
        """Make the metrics."""
        tags = ("run",)
        self._env_steps = Gauge(
            "hydrahive_ledger_credited_env_steps", "Env steps paid and not taken back", tag_keys=tags
        )
        self._tokens = Gauge("hydrahive_ledger_credited_microtokens", "What they were paid", tag_keys=tags)
        text = "Env steps consumed that the ledger does not account for; must be 0"
        self._difference = Gauge("hydrahive_ledger_conservation_difference_env_steps", text, tag_keys=tags)
        self._entries = Gauge("hydrahive_ledger_entries", "Entries of the journal", tag_keys=())
        self._alive = Gauge(
            "hydrahive_coordinator_alive_timestamp_seconds", "When the coordinator last showed life", tag_keys=()
        )
        self._known: dict[str, dict[str, Settled]] = {}

    def alive(self, at: float) -> None:
        """Export that the coordinator lives."""
        self._alive.set(at)

    def export(self, run: str, settled: Settled) -> None:
        """Export an answer of the ledger's, for a trial that of its sweep."""
        title = title_of(run)
        self._known.setdefault(title, {})[run] = settled
        runs, tags = self._known[title].values(), {"run": title}
        self._env_steps.set(float(sum(one.credited_env_steps for one in runs)), tags)
        self._tokens.set(float(sum(one.credited_microtokens for one in runs)), tags)
        self._difference.set(float(sum(abs(one.conservation_difference) for one in runs)), tags)
        self._entries.set(float(settled.head[0]))


@dataclass(frozen=True)
class Figures:
    """A run's newest figures, on their way to the coordinator.

    Attributes:
        run: The run's name, with its sweep's before it where it is a trial.
        experiment: Its experiment.
        about: What is running, for the build's info.
        values: Figures by a row's key; those that are missing stay as they are.
    """

    run: str
    experiment: str
    about: Mapping[str, str]
    values: Mapping[str, float]


class RunMetrics:
    """The figures of all runs of a cluster."""

    def __init__(self) -> None:
        """Make the metrics."""
        self._metrics = {one.key: Gauge(one.name, one.text, tag_keys=TAGS) for one in EXPORTED}
        self._heard = Gauge(
            "hydrahive_run_last_row_timestamp_seconds", "When the run last told its figures", tag_keys=TAGS
        )
        self._build: Gauge | None = None
        self._known: dict[tuple[str, str], dict[str, dict[str, float]]] = {}

    def export(self, figures: Figures) -> None:
        """Export a run's figures, for a trial those of its sweep."""
        title = title_of(figures.run)
        tags = {"run": title, "experiment": figures.experiment}
        runs = self._known.setdefault((title, figures.experiment), {})
        runs.setdefault(figures.run, {}).update(figures.values)
        for one in EXPORTED:
            found = [values[one.key] for values in runs.values() if one.key in values]
            if found:
                self._metrics[one.key].set(float(one.together(found)), tags)
        self._heard.set(time.time(), tags)
        about = {**tags, **figures.about}
        self._build = self._build or Gauge("hydrahive_build_info", "What is running; always 1", tag_keys=tuple(about))
        self._build.set(1.0, about)


class RayMetricsSink:
    """Sends the newest row's figures to the coordinator."""

    def __init__(self, coordinator: Any, run: str, experiment: str, about: Mapping[str, str]) -> None:
        """Send to `coordinator`, an actor's handle."""
        self._coordinator, self._run, self._experiment, self._about = coordinator, run, experiment, about
        self._unsent: dict[str, float] = {}
        self._sent_at = float("-inf")

    def row(self, row: Row) -> None:
        """Send a row's figures, unless some were sent just now."""
        for one in EXPORTED:
            value = row.get(one.key)
            if isinstance(value, int | float) and value == value:
                self._unsent[one.key] = float(value)
        if time.monotonic() - self._sent_at >= EXPORT_SECONDS:
            self._send()

    def episodes(self, facts: Mapping[str, object]) -> None:
        """Rows count them."""

    def clip(self, env_steps: int, clip: Clip) -> None:
        """Pictures are for TensorBoard."""

    def event(self, kind: str, text: str, **fields: object) -> None:
        """A pause makes no steps; other events are in the run's folder."""
        if kind == "paused":
            self._rest()

    def close(self) -> None:
        """Send what the run came to, and that nothing is under way any more."""
        self._unsent["env_workers"] = 0.0
        self._rest()

    def _rest(self) -> None:
        self._unsent |= {"steps_per_second": 0.0, "rounds_in_flight": 0.0}
        self._send()

    def _send(self) -> None:
        self._coordinator.export.remote(Figures(self._run, self._experiment, self._about, self._unsent))
        self._unsent, self._sent_at = {}, time.monotonic()


def metrics_sink(coordinator: Any, run: str, config: RunConfig, machine_class: str) -> RayMetricsSink:
    """The sink of a run."""
    about = {
        "version": __version__,
        "ray": ray.__version__,
        "torch": version("torch"),
        "python": platform.python_version(),
        "machine_class": machine_class,
        "config": hashlib.sha256(dump(config).encode()).hexdigest()[:12],
    }
    return RayMetricsSink(coordinator, run, config.experiment, about)
