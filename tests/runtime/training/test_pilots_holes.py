"""What a second reading of the pilot found: each would have given a run other bytes than its own log says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from hydrahive.core.errors import ConfigError, HydrahiveError, LostError
from hydrahive.pilot.config import Convergence, Dormant
from hydrahive.pilot.convergence import Progressing
from hydrahive.pilot.helm import ENTROPY, RATE, Helm
from hydrahive.pilot.meta import verdict_on
from hydrahive.pilot.pilot import Pilot
from hydrahive.pilot.seen import Validation
from hydrahive.pilot.trend import slope_of, unrest
from hydrahive.runtime.config.parsing import load_run_config
from hydrahive.runtime.config.piloted import course_of
from hydrahive.runtime.runs.run_folder import RunFolder
from hydrahive.runtime.training.keeper import Keeper
from hydrahive.runtime.training.request import Request
from hydrahive.runtime.training.train import train
from hydrahive.runtime.training.trainer import Trainer

RUN = {
    "env": {"class_path": "Gym", "init_args": {"id": "CartPole-v1"}},
    "shards": 1,
    "envs_per_shard": 8,
    "fragment_length": 16,
    "precision": "highest",
    "boundary_every": 2,
    "policy": {"encoder": {"class_path": "Mlp", "init_args": {"hidden": [16]}}},
    "algorithm": {"class_path": "PPO", "init_args": {"learning_rate": 1.0e-3}},
    "look": "none",
    "recording": False,
    "workers": 0,
    "ledger": {"enabled": False},
    "stop": {"env_steps": 128 * 26},
    "metrics_every": 1,
    "checkpoint": {"every_boundaries": 1},
    "pilot": {
        "every": 3,
        "episodes": 4,
        "noise": 1e9,
        "guards": None,
        "regimes": None,
        "search": {"space": {"algorithm.learning_rate": {"log_uniform": [1.0e-5, 1.0e-1]}}, "settle": 2},
        "convergence": {"dormant": 100, "widest": 1},
    },
}


@pytest.fixture
def trained(tmp_path):
    def trained(name, *, at: Path | None = None, **changed):
        path = at or tmp_path / f"{name}.yaml"
        if at is None:
            path.write_text(yaml.safe_dump({**RUN, **changed}))
        request = Request(
            load_run_config(path), RunFolder(tmp_path / "runs" / name), runs=tmp_path / "runs", quiet=True
        )
        return train(request).summary

    return trained


@pytest.fixture
def falls_once(monkeypatch):
    """Have a fall be confirmed at the third validation: only when is decided here, what follows is the pilot's own."""
    monkeypatch.setattr(Pilot, "_falls", lambda self: len(self.validations) == 3 and not self._back_to)


def repeats(trained, tmp_path, name, summary):
    again = trained(f"{name}-again", at=tmp_path / "runs" / name / "piloted.yaml")
    return again["digest"] == summary["digest"]


def test_a_return_after_which_no_move_is_left(trained, tmp_path, falls_once):
    summary = trained("a")
    assert summary["segments"] == 2
    assert repeats(trained, tmp_path, "a", summary)


@pytest.mark.parametrize("decided", ["back_to", "ends"])
def test_a_loss_between_a_decision_and_its_doing(trained, tmp_path, monkeypatch, falls_once, decided):
    pilot = RUN["pilot"] if decided == "back_to" else {**RUN["pilot"], "target": 0.0, "held": 2}
    undisturbed = trained("a", pilot=pilot)
    before, passing, lost = Trainer._decided, Keeper.let_pass, []
    held = {}

    def noted(self, update):
        held["order"] = before(self, update)
        return held["order"]

    def lets_pass(self, interrupts, *, wait=False):
        order = held.get("order")
        if not lost and order is not None and getattr(order, decided) is not None:
            lost.append(order)
            raise LostError("the auditor died three times")
        return passing(self, interrupts, wait=wait)

    monkeypatch.setattr(Trainer, "_decided", noted)
    monkeypatch.setattr(Keeper, "let_pass", lets_pass)
    summary = trained("b", pilot=pilot)
    assert lost
    assert (summary["digest"], summary["segments"]) == (undisturbed["digest"], undisturbed["segments"])


@pytest.mark.parametrize("lost", [1, 3, None])
def test_lines_of_the_log_that_are_gone_are_noticed(trained, tmp_path, monkeypatch, lost):
    monkeypatch.setattr(Pilot, "_falls", lambda self: False)
    trained("a", stop={"env_steps": 128 * 14})
    log = tmp_path / "runs" / "a" / "pilot.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(lines[:-lost])) if lost else log.unlink()
    with pytest.raises(HydrahiveError, match=r"pilot\.jsonl lacks what was seen at update"):
        trained("a")


@pytest.mark.parametrize("damaged", ["target", "newest"])
def test_a_damaged_checkpoint_on_the_way(trained, tmp_path, monkeypatch, damaged):
    """It is gone on with from an older one, whose validations may have been decided upon and their checkpoints gone."""
    pilot = {**RUN["pilot"], "delay": 5}
    kept = {"every_boundaries": 1, "keep": 2}
    if damaged == "target":
        monkeypatch.setattr(Pilot, "_falls", lambda self: len(self.validations) == 3 and not self._back_to)
    else:
        monkeypatch.setattr(Pilot, "_falls", lambda self: False)
    whole = trained("whole", pilot=pilot, checkpoint=kept)
    trained("a", pilot=pilot, checkpoint=kept, stop={"env_steps": 128 * 18})
    folder = tmp_path / "runs" / "a" / "checkpoints"
    newest = max(path for path in folder.iterdir() if path.name.isdigit())
    state = newest / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-1])
    summary = trained("a", pilot=pilot, checkpoint=kept)
    assert summary["digest"] == whole["digest"]


def test_a_roll_back_lets_go_of_factors():
    helm = Helm({RATE: 1e-3, ENTROPY: 0.01})
    helm.turn("guards", RATE, 0.5)
    assert [(move.key, move.value) for move in helm.moves(4)] == [(RATE, 5e-4)]
    helm.own[RATE] = 2e-3
    helm.moves(8)
    helm.go_back(6, {RATE: 1e-3, ENTROPY: 0.01})
    assert helm.own == {RATE: 1e-3, ENTROPY: 0.01}  # without the guard's factor
    assert [(move.key, move.value) for move in helm.moves(6)] == [(RATE, 1e-3)]
    helm.turn("guards", RATE, 0.5)
    assert helm.value(RATE) == 5e-4  # a floor of a half is one of a half


def test_keys_that_would_stand_twice_and_ends_that_do_not_go_together(tmp_path):
    def config(algorithm, space):
        path = tmp_path / "run.yaml"
        path.write_text(yaml.safe_dump({**RUN, "algorithm": algorithm, "pilot": {"search": {"space": space}}}))
        return load_run_config(path)

    spelled = config(RUN["algorithm"], {"algorithm.init_args.learning_rate": {"log_uniform": [1e-5, 1e-1]}})
    with pytest.raises(ConfigError, match="without init_args"):
        course_of(spelled)
    vtrace = {"class_path": "VTrace", "init_args": {"rho_clip": 1.0, "c_clip": 0.5}}
    space = {"algorithm.rho_clip": {"uniform": [0.5, 2.0]}, "algorithm.c_clip": {"uniform": [0.1, 1.0]}}
    with pytest.raises(ConfigError, match="go together"):
        course_of(config(vtrace, space))
    course_of(config(vtrace, {**space, "algorithm.c_clip": {"uniform": [0.1, 0.5]}}))


def test_noise_where_most_scores_repeat():
    assert unrest([500.0] * 9) == 0
    assert unrest([500.0, 500.0, 500.0, 480.0, 500.0, 500.0]) > 5
    assert unrest([0.0] * 20 + [1.0] + [0.0] * 20) > 0.1


@pytest.mark.parametrize(("mean", "error", "train"), [(0.0, 0.0, 1e-4), (0.001, 0.1, 0.01)])
def test_what_scores_around_nothing_is_not_pruned(mean, error, train):
    told = [Validation(i, i, mean, error, train) for i in range(8)]
    assert verdict_on(told, Dormant(does="decide")).does != "prune"
    assert json.dumps(verdict_on(told, Dormant(does="decide")).why)


def test_a_slope_comes_about_by_chance_as_often_as_it_says():
    """Independent scores, the pilot's own window and smoothing; and scores of any size are judged alike."""
    draws = np.random.default_rng(1).normal(size=(400, 12))
    chances = []
    for scores in draws:
        progress = Progressing(Convergence())
        for i, score in enumerate(scores):
            progress.take(Validation(i, i, float(score), 0.1, 0.0), float(scores.max()), is_new_best=False)
        chances.append(progress.slope.probability)
    assert 0.02 < np.mean(np.array(chances) < 0.05) < 0.08
    rising = np.arange(8.0) + draws[0, :8]
    sizes = [slope_of(rising * size).probability for size in (1e-9, 1e-5, 1.0, 1e6)]
    assert sizes == pytest.approx([sizes[0]] * 4, rel=1e-6)
    assert sizes[0] < 0.05
    assert slope_of(np.zeros(8)).probability == 1.0
    assert slope_of(np.full(8, 3.0)).probability == 1.0
