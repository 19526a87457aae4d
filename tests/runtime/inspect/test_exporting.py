"""A policy that leaves Hydrahive acts as it did, without it."""

import json
import subprocess
import sys

import numpy as np
import pytest

import hydrahive
from conftest import FULL, ROOT
from hydrahive.core.errors import HydrahiveError
from hydrahive.runtime.inspect import exporting

GAMES = ROOT / "tests" / "games"

SMALL = {"shards": 1, "envs_per_shard": 4, "fragment_length": 8, "boundary_every": 2, "workers": 0, "quiet": True}
SMALL |= {"stop": {"updates": 4}, "recording": False, "look": "none", "ledger": {"enabled": False}}

NATURE = {"shards": 1, "envs_per_shard": 2, "fragment_length": 4}
IMPALA = {"class_path": "Impala", "init_args": {"channels": [4, 8], "features": 32}}
JUDGED = {"algorithm.warm_up": 20, "algorithm.batch": 16}

KINDS = {
    "Mlp, normalised": ("cartpole/ppo", {"policy.normalize": True}),
    "Lstm": ("cartpole/vtrace", {"policy.core": "Lstm"}),
    "masks": ("cartpole/vtrace", {"env.id": "games:ToldCards-v0"}),
    "masks in a Dict, Gru": ("cartpole/vtrace", {"env.id": "games:Cards-v0", "policy.core": "Gru"}),
    "MultiDiscrete": ("cartpole/vtrace", {"env.id": "games:Dials-v0"}),
    "Box, SAC": ("classic/pendulum", JUDGED),
    "Box, V-trace": ("cartpole/vtrace", {"env.id": "Pendulum-v1", "policy.normalize": True}),
    "Nature": ("atari/pong", NATURE),
}
KINDS |= {
    "Rnn": ("cartpole/vtrace", {"policy.core": "Rnn"}),
    "DQN, quantiles": ("cartpole/dqn", {"algorithm.distribution": "quantiles", "algorithm.duelling": True}),
    "Rainbow": ("cartpole/dqn", {"algorithm": "Rainbow"}),
    "TD3": ("classic/pendulum", {"algorithm": "TD3", **JUDGED}),
    "SAC, Discrete": ("cartpole/dqn", {"algorithm": "SAC"}),
    "Impala, Lstm": ("atari/pong", {**NATURE, "policy.encoder": IMPALA, "policy.core": "Lstm"}),
    "Conv": ("snake/planes", {"env.size": 10, "policy.encoder.strides": [1, 2, 2], "learner.slices": 1}),
    "ATH-Q": ("snake/ath-q-gru", {"env.size": 9, "fragment_length": 16}),
    "swarm": ("swarm/vtrace-lstm", {"envs_per_shard": 10, "env.agents": 5}),
    "float64": ("mujoco/hopper", JUDGED),
    "a Dict with goals": ("robotics/fetch-reach", JUDGED),
} if FULL else {}  # fmt: skip


@pytest.fixture
def trained(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(GAMES))

    def train(name):
        experiment, options = KINDS[name]
        return hydrahive.train(experiment, name="run", runs=tmp_path, **{**SMALL, **options})

    return train


ALONE = """
import json, sys
sys.modules["hydrahive"] = None
from policy import Policy
import numpy as np
given = np.load("given.npz")
policy = Policy()
actions, state = policy.act(given["observations"], given["state"], given["legal"] if "legal" in given else None)
first, _ = policy.act(given["observations"][:1])
np.savez("did.npz", actions=actions, state=state, first=first)
"""


@pytest.mark.parametrize("form", ["onnx", "torch"])
@pytest.mark.parametrize("name", KINDS)
def test_it_acts_alone_as_the_policy_does(trained, tmp_path, name, form):
    if form == "torch" and not FULL and name not in ("Lstm", "masks"):
        pytest.skip("by make claims")
    run, out = trained(name), tmp_path / "policy"
    facts = run.export(out, form)
    assert facts["digest"] == run.digest
    assert json.loads((out / "policy.json").read_text()) == facts
    assert len((out / "policy.py").read_text().splitlines()) <= 25
    policy = run.policy()
    draws, space = np.random.default_rng(3), policy.observation_space
    rows = 37
    whole = np.dtype(space.dtype).kind in "iu"
    seen = draws.integers(0, 255, (rows, *space.shape)) if whole else draws.normal(size=(rows, *space.shape))
    given = {"observations": seen.astype(space.dtype)}
    given["state"] = draws.normal(size=(rows, facts["state"])).astype(np.float32) * 0.3
    if facts["choices"]:
        given["legal"] = draws.random((rows, facts["choices"])) < 0.7
        given["legal"][:, 0] = True
    np.savez(out / "given.npz", **given)
    subprocess.run([sys.executable, "-c", ALONE], cwd=out, check=True)
    did = np.load(out / "did.npz")
    expected = policy.act(given["observations"], given["state"], given.get("legal"))
    alike = np.isclose(did["actions"].reshape(rows, -1), np.asarray(expected.actions).reshape(rows, -1), 1e-2, 1e-2)
    assert alike.all(1).mean() > 0.9, "the run's own precision may be another"
    apart = np.abs(did["state"] - expected.state)
    assert not apart.size or apart.mean() < 1e-2


def test_what_acts_otherwise_is_not_written(trained, tmp_path, monkeypatch):
    run = trained("Lstm")
    monkeypatch.setattr(exporting.Exported, "forward", lambda self, seen, state: (seen[:, 0].long() * 0, state))
    with pytest.raises(HydrahiveError, match=r"acts otherwise in \d+ of 1,000 observations; nothing was written"):
        run.export(tmp_path / "policy")
    assert not (tmp_path / "policy").exists()


def test_what_an_exporter_does_not_know_is_one_line(trained, tmp_path, monkeypatch):
    def fail(self, seen, state):
        raise RuntimeError("no such operator\nin two lines")

    run = trained("Lstm")
    monkeypatch.setattr(exporting.Exported, "forward", fail)
    with pytest.raises(HydrahiveError, match="cannot be told as onnx") as refusal:
        run.export(tmp_path / "policy")
    assert "\n" not in str(refusal.value)


def test_without_the_extra_it_says_which(trained, tmp_path, monkeypatch):
    run = trained("Lstm")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(hydrahive.UsageError, match=r"needs what is not installed: pip install 'hydrahive\[export\]'"):
        run.export(tmp_path / "policy")
