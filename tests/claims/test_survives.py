"""Lose workers, nodes, the learner or the driver, and end with the same bytes and credits; `make chaos` runs more."""

import json

import pytest

from chaos.faults import EXPERIMENTS, experiment_of
from chaos.harness import difference, run_seed, undisturbed
from conftest import FULL

SEEDS = {"snake/vtrace": 0, "cartpole/vtrace": 33, "snake/ath-q-gru": 38, "swarm/vtrace-lstm": 27}
"""Between them: workers, learners and their nodes, a driver, and a replay."""


@pytest.mark.parametrize("experiment", SEEDS if FULL else ["snake/vtrace"])
def test_the_digest_is_the_undisturbed_runs(tmp_path, monkeypatch, experiment):
    if not FULL:
        monkeypatch.setitem(EXPERIMENTS, experiment, [*EXPERIMENTS[experiment][:-1], "300_000"])
    seed = SEEDS[experiment]
    assert experiment_of(seed) == experiment
    outcome = run_seed(seed, experiment, tmp_path)
    repeat = f"repeat it with: make chaos SEEDS=1 FIRST={seed}\n{(tmp_path / f'seed-{seed}.log').read_text()[-3000:]}"
    assert difference(outcome, undisturbed(experiment, tmp_path)) == "", f"{outcome.trouble}; {repeat}"
    summary = json.loads((tmp_path / f"seed-{seed}" / "summary.json").read_text())
    assert outcome.struck, "no fault struck"
    if summary["resumed"]:  # with its driver dead, nobody need notice what else was lost
        assert "driver" in {fault.victim for fault in outcome.struck}
        return
    assert outcome.replayed_env_steps > 0
    assert 1 <= len(outcome.back_seconds) <= summary["recoveries"]
