"""A run's figures as Ray's metrics, which every node exports to Prometheus.

Names are `hydrahive_<area>_<what>_<unit>`, counters end in `_total`; Ray puts `ray_` before them. The only tags are the
run's name (a sweep's for its trials) and its experiment, so there are as many series as runs.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass

import ray
import torch
from ray.util.metrics import Counter, Gauge

from hydrahive import __version__
from hydrahive.core.sink import Clip, Row
from hydrahive.ledger.work import Settled
from hydrahive.runtime.config import RunConfig
from hydrahive.runtime.config_file import dump

TAGS = ("run", "experiment")


@dataclass(frozen=True)
class Exported:
    """A figure of a row as a metric.

    Attributes:
        name: The metric's.
        text: What it is, for people.
        key: The row's.
        counts: Whether it only ever grows.
    """

    name: str
    text: str
    key: str
    counts: bool = False


EXPORTED = (
    Exported("hydrahive_run_env_steps_total", "Env steps that the learner has consumed", "env_steps", True),
    Exported("hydrahive_run_rounds_total", "Rounds consumed", "rounds", True),
    Exported("hydrahive_run_episodes_total", "Episodes that ended", "episodes", True),
    Exported("hydrahive_run_throughput_env_steps_per_second", "Trained env steps a second", "steps_per_second"),
    Exported("hydrahive_run_score_mean", "Mean score of the last 100 episodes", "score_mean"),
    Exported("hydrahive_run_score_max", "Best score so far", "score_max"),
    Exported("hydrahive_learner_version_updates", "The weights' version", "updates"),
    Exported("hydrahive_learner_lag_updates", "Updates between the weights that acted and those that learned", "lag"),
    Exported("hydrahive_learner_lag_max_updates", "The longest such lag", "lag_max"),
    Exported("hydrahive_learner_rho_clipped_ratio", "Share of weights beyond their clip", "rho_clipped_share"),
    Exported("hydrahive_learner_update_seconds", "Seconds of learning in an update", "learn_seconds"),
    Exported("hydrahive_learner_loss", "The update's loss", "loss"),
    Exported("hydrahive_learner_entropy_nats", "The policy's entropy", "entropy"),
    Exported("hydrahive_learner_gradient_norm", "Length of the gradient before it is clipped", "gradient_norm"),
    Exported("hydrahive_fragment_rounds_in_flight", "Rounds submitted and not yet learned", "rounds_in_flight"),
    Exported("hydrahive_env_workers", "Env workers that are there; 0 inline", "env_workers"),
    Exported("hydrahive_replay_horizon_frames", "Frames of a replayed sequence", "replay_sequence"),
    Exported("hydrahive_replay_gear", "The adaptive temporal horizon's gear", "replay_gear"),
    Exported("hydrahive_replay_frames", "Frames that the replay holds", "replay_frames"),
    Exported("hydrahive_faults_recoveries_total", "Losses that were made good", "recoveries", True),
    Exported("hydrahive_faults_replayed_env_steps_total", "Env steps simulated again", "replayed_env_steps", True),
)
"""Every metric of a run, by the row's key."""


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

    def export(self, run: str, settled: Settled) -> None:
        """Export an answer of the ledger's."""
        tags = {"run": run}
        self._env_steps.set(float(settled.credited_env_steps), tags)
        self._tokens.set(float(settled.credited_microtokens), tags)
        self._difference.set(float(settled.conservation_difference), tags)
        self._entries.set(float(settled.head[0]))


class RayMetricsSink:
    """Exports the newest row; counters begin where the run stands, so that their value is the run's."""

    def __init__(self, run: str, experiment: str, machine_class: str, config_digest: str) -> None:
        """Make the metrics."""
        self._tags = {"run": run, "experiment": experiment}
        self._metrics = {
            one.key: (Counter if one.counts else Gauge)(one.name, one.text, tag_keys=TAGS) for one in EXPORTED
        }
        self._counted: dict[str, float] = {}
        about = {
            "version": __version__,
            "ray": ray.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "machine_class": machine_class,
            "config": config_digest,
        }
        self._about = {**self._tags, **about}
        self._build = Gauge("hydrahive_build_info", "What is running; always 1", tag_keys=tuple(self._about))

    def row(self, row: Row) -> None:
        """Export a row's figures, and what is running: what is set as soon as a process has joined is lost."""
        self._build.set(1.0, self._about)
        for one in EXPORTED:
            value = row.get(one.key)
            if isinstance(value, int | float) and value == value:
                self._export(one, float(value))

    def episodes(self, facts: Mapping[str, object]) -> None:
        """Rows count them."""

    def clip(self, env_steps: int, clip: Clip) -> None:
        """Pictures are for TensorBoard."""

    def event(self, kind: str, text: str, **fields: object) -> None:
        """Events are in the run's folder."""

    def close(self) -> None:
        """Ray exports the last values for as long as the process lives."""

    def _export(self, one: Exported, value: float) -> None:
        metric = self._metrics[one.key]
        if not one.counts:
            metric.set(value, self._tags)
            return
        grown = value - self._counted.get(one.key, 0.0)
        self._counted[one.key] = max(value, self._counted.get(one.key, 0.0))
        if grown > 0:
            metric.inc(grown, self._tags)


def metrics_sink(run: str, config: RunConfig, machine_class: str) -> RayMetricsSink:
    """The sink of a run; a sweep's trials are exported under the sweep's name."""
    digest = hashlib.sha256(dump(config).encode()).hexdigest()[:12]
    return RayMetricsSink(run.partition("/")[0], config.experiment, machine_class, digest)
