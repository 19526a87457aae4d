"""What the coordinator exports of runs."""

from __future__ import annotations

import re
from typing import Any

import pytest

from hydrahive.runtime.coordinator import metrics as ray_metrics
from hydrahive.runtime.coordinator.metrics import EXPORTED, Figures, RayMetricsSink, RunMetrics


class Recorder:
    """Stands where a gauge of Ray's would, which needs a cluster to be read."""

    values: dict[tuple[str, str], float] = {}

    def __init__(self, name: str, description: str, tag_keys: tuple[str, ...]) -> None:
        self.name, self.tag_keys = name, tag_keys

    def set(self, value: float, tags: dict[str, str]) -> None:
        assert set(tags) == set(self.tag_keys)
        assert all(isinstance(text, str) for text in tags.values())
        self.values[self.name, tags["run"]] = value


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], float]:
    monkeypatch.setattr(ray_metrics, "Gauge", Recorder)
    monkeypatch.setattr(Recorder, "values", {})
    return Recorder.values


def figures(run: str, **values: float) -> Figures:
    return Figures(run, "snake-vtrace", {"version": "0"}, values)


def test_names_follow_the_scheme() -> None:
    names = [one.name for one in EXPORTED]
    assert len(set(names)) == len(names)
    for one in EXPORTED:
        assert re.fullmatch(r"hydrahive_[a-z]+(_[a-z]+)*", one.name)
        assert one.name.endswith("_total") == (one.key in COUNTS)


COUNTS = ("env_steps", "updates_total", "rounds", "episodes", "recoveries", "replayed_env_steps")


def test_a_sweeps_trials_are_exported_together(exported: dict[tuple[str, str], float]) -> None:
    """As many series as sweeps, not as trials: counts add up, the best is the best, the rest is a mean."""
    metrics = RunMetrics()
    metrics.export(figures("sweep/trial-0", env_steps=100, score_max=3, loss=1.0))
    metrics.export(figures("sweep/trial-1", env_steps=50, score_max=7, loss=3.0))
    metrics.export(figures("sweep/trial-0", env_steps=120))
    metrics.export(figures("alone", env_steps=5))
    assert exported["hydrahive_run_env_steps_total", "sweep"] == 170
    assert exported["hydrahive_run_score_max", "sweep"] == 7
    assert exported["hydrahive_learner_loss", "sweep"] == 2.0
    assert exported["hydrahive_run_env_steps_total", "alone"] == 5
    assert {run for _, run in exported} == {"sweep", "alone"}


class Coordinator:
    """Takes what is sent."""

    def __init__(self) -> None:
        self.sent: list[Figures] = []
        self.export = self

    def remote(self, figures: Figures) -> None:
        self.sent.append(figures)


def test_a_run_sends_once_a_second_and_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(ray_metrics.time, "monotonic", lambda: now[0])
    coordinator = Coordinator()
    sink: Any = RayMetricsSink(coordinator, "run", "snake", {})
    for steps in range(1, 31):
        now[0] += 0.125
        sink.row({"env_steps": steps, "score_mean": None, "loss": float("nan"), "steps_per_second": 10.0})
    assert [int(one.values["env_steps"]) for one in coordinator.sent] == [1, 9, 17, 25]
    sink.close()
    last = coordinator.sent[-1].values
    assert last["env_steps"] == 30, "the last row is never lost"
    assert last["steps_per_second"] == 0
    assert all("loss" not in one.values and "score_mean" not in one.values for one in coordinator.sent)
