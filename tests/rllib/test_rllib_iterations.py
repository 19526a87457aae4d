"""Updates made of RLlib's iterations: what env runners counted, by whom, also where nothing has come yet."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hydrahive.envs.gym.config import Gym
from hydrahive.ledger.posting import WorkerFacts
from hydrahive.rllib.config import Rllib
from hydrahive.rllib.tallies import Counted, Tally
from hydrahive.rllib.trained import Iteration
from hydrahive.runtime.config.run_config import Change, RunConfig, StopConfig
from hydrahive.runtime.schedule.dataflow import Replayed
from hydrahive.runtime.schedule.schedules import schedule_of

CONFIG = RunConfig(
    env=Gym("CartPole-v1"), algorithm=Rllib("PPO", {"lr": 1e-3}), schedule="rllib", boundary_every=2,
    stop=StopConfig(env_steps=60),
)  # fmt: skip


class Played:
    """A fleet that has played what a test says; all else of it is not asked for."""

    run_id, segment = "run", 0

    def __init__(self, iterations):
        self._iterations, self.changed, self.saved = iter(iterations), [], 0

    def iterate(self):
        return Iteration({"gradient_steps": 1.0}, tuple(next(self._iterations)), 1, 0)

    def runner(self, counted):
        return counted.worker, WorkerFacts(f"env-runner-{counted.worker}-{counted.process}", "me", counted.node)

    def weights(self):
        return "weights"

    def save(self):
        self.saved += 1
        return {"counters": np.array([self.saved, 0, 0], np.int64)}

    def change(self, algorithm):
        self.changed.append(algorithm.config["lr"])


def counted(worker, steps, *scores):
    return Counted(worker, "node", 10 + worker, Tally(steps, [*scores], [steps] * len(scores)))


def test_what_was_counted_is_consumed_by_whoever_counted_it():
    fleet = Played([[], [counted(0, 10, 5.0), counted(1, 5)], [counted(0, 10), counted(0, 7, 9.0)], [counted(1, 40)]])
    updates = list(schedule_of(CONFIG, fleet, None, Replayed()).updates())
    assert [update.progress.env_steps for update in updates] == [0, 15, 32, 72]
    assert [update.boundary is not None for update in updates] == [False, True, False, True]
    assert all(update.boundary.resumable for update in updates if update.boundary)
    assert updates[0].episodes.scores == []
    work = [[(one.id.round, one.id.shard, one.env_steps, worker.name) for one, worker, _ in update.work.by_fragment()]
            for update in updates]  # fmt: skip
    assert work == [
        [],
        [(1, 0, 10, "env-runner-0-10"), (1, 1, 5, "env-runner-1-11")],
        [(2, 0, 17, "env-runner-0-10")],
        [(3, 1, 40, "env-runner-1-11")],
    ]
    assert updates[2].episodes.scores == [9.0]
    assert updates[-1].progress.recent_scores == (5.0, 9.0)


def test_changes_hold_from_the_iteration_that_they_name():
    config = dataclasses.replace(CONFIG, changes=[Change(2, "algorithm.config.lr", 5e-3)])
    fleet = Played([[counted(0, 20)]] * 3)
    seen = [(update.progress.updates, list(fleet.changed)) for update in schedule_of(config, fleet, None).updates()]
    assert seen == [(1, []), (2, []), (3, [pytest.approx(5e-3)])]
