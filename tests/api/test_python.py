"""Hydrahive from Python: the same bytes as by the command, and no more than asked for."""

import ast
import json
import re
import signal
import subprocess
import sys

import gymnasium
import numpy as np
import pytest

import hydrahive
from conftest import ROOT, full_only, wait_for
from hydrahive.core.streams import derived_seed
from hydrahive.runtime.roles.evaluation import evaluation_columns

SMALL = {"shards": 2, "envs_per_shard": 4, "fragment_length": 16, "boundary_every": 5, "workers": 0, "quiet": True}
SMALL |= {"stop": {"updates": 20}, "recording": False}
WORDS = ["--shards", 2, "--envs_per_shard", 4, "--fragment_length", 16, "--boundary_every", 5, "--stop.updates", 20]


@pytest.fixture
def train(tmp_path):
    """Trains a small run."""

    def trained(name, experiment="cartpole/vtrace", **options):
        return hydrahive.train(experiment, name=name, runs=tmp_path, **{**SMALL, **options})

    return trained


def test_importing_it_loads_neither_torch_nor_ray():
    said = subprocess.run(
        [sys.executable, "-c", "import hydrahive, sys; print([m for m in ('torch', 'ray', 'numpy') if m in sys.modules])"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said.stdout.strip() == "[]"


def test_every_public_name_is_there_and_known_to_type_checkers():
    stub = ast.parse((ROOT / "src" / "hydrahive" / "__init__.pyi").read_text())
    typed = {(node.module, one.name) for node in stub.body if isinstance(node, ast.ImportFrom) for one in node.names}
    assert typed == {
        (f"hydrahive.{module}", name) for module, names in hydrahive.WHERE.items() for name in names.split()
    }
    for name in hydrahive.__all__:
        assert getattr(hydrahive, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = hydrahive.trian


def test_it_trains_to_the_bytes_of_the_command(train, hydrahive_command, tmp_path):
    run = train("mine")
    told = hydrahive_command.train("cartpole/vtrace", "theirs", *WORDS, "--workers", 0)
    assert (run.digest, run.finished) == (told["digest"], True)
    assert run.summary["digest"] == run.digest


@pytest.fixture
def hydrahive_command(hydrahive):
    return hydrahive


def test_who_listens_changes_no_byte(train):
    plain = train("plain", evaluate_every=5, evaluate_episodes=4)
    rows, events, found = [], [], []

    def spoil(kept):
        def heard(told):
            kept.append(json.loads(json.dumps(told)))
            for name in list(told):
                told[name] = None

        return heard

    heard = {"on_row": spoil(rows), "on_event": spoil(events), "on_evaluation": spoil(found)}
    watched = train("watched", evaluate_every=5, evaluate_episodes=4, **heard)
    assert watched.digest == plain.digest
    kept = [json.loads(line) for line in (watched.path / "metrics.jsonl").read_text().splitlines()]
    assert rows == kept
    assert [event["kind"] for event in events] == [event["kind"] for event in watched.events]
    assert [one["mean"] for one in found] == [row["evaluation_mean"] for row in kept if "evaluation_mean" in row]
    assert len(found) >= 3


def test_a_function_that_raises_ends_the_run_and_the_same_call_goes_on(train):
    plain = train("plain")

    def give_up(row):
        if row["updates"] >= 13:
            raise ValueError("seen enough")

    with pytest.raises(hydrahive.HydrahiveError, match="ValueError: seen enough"):
        train("mine", on_row=give_up)
    assert not hydrahive.Run("mine", plain.path.parent).finished
    assert train("mine").digest == plain.digest


def test_values_are_given_as_python_has_them(train):
    parts = {"env": hydrahive.Snake(size=8, window=5), "algorithm": hydrahive.VTrace(entropy_cost=0.02)}
    run = train("parts", "snake/vtrace", **parts, **{"policy.encoder.hidden": [np.int64(16)]}, seed=np.int32(3))
    assert (run.config.env, run.config.algorithm) == (parts["env"], parts["algorithm"])
    assert (run.config.policy.encoder.hidden, run.config.seed) == ([16], 3)
    again = train("again", run.config, seed=4, stop={"updates": 5})
    assert (again.config.env, again.config.seed) == (parts["env"], 4)
    plain = train("plain", {"env": {"class_path": "Gym", "init_args": {"id": "CartPole-v1"}}})
    assert plain.config.env == hydrahive.Gym("CartPole-v1")
    with pytest.raises(hydrahive.UsageError, match=r"algorithm\.init_args\.discount: 2.0 is not accepted"):
        train("wrong", algorithm={"discount": 2.0})
    with pytest.raises(hydrahive.UsageError, match="sede: unknown key"):
        train("wrong", sede=3)
    with pytest.raises(hydrahive.UsageError, match="nearest"):
        hydrahive.train("cartpole/vtracee")


def test_a_run_tells_what_lies_in_its_folder(train, tmp_path):
    run = train("mine", evaluate_every=10, evaluate_episodes=4, metrics_every=1)
    kept = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    rows = run.rows
    assert rows["env_steps"].dtype == np.int64
    of_updates = {row["updates"]: row for row in reversed(kept)}
    assert len(of_updates) < len(kept), "evaluations have rows of their own"
    for name in ("env_steps", "seconds", "loss"):
        expected = [of_updates[updates].get(name, np.nan) for updates in sorted(of_updates)]
        np.testing.assert_array_equal(rows[name], expected, name)
    with pytest.raises(KeyError, match="'score' is no column; there are score_m"):
        rows["score"]
    means = rows["evaluation_mean"]
    assert np.isfinite(means).sum() == sum("evaluation_mean" in row for row in kept)
    scores = [
        score for line in (run.path / "episodes.jsonl").read_text().splitlines() for score in json.loads(line)["scores"]
    ]
    np.testing.assert_array_equal(run.episodes["score"], scores)
    figure = run.plot("score_mean", "evaluation_mean")
    assert len(figure.axes[0].lines) == 2
    more = hydrahive.Run(run.path).resume(stop={"updates": 30})
    assert more.summary["updates"] == 30
    assert repr(more) == f"Run('mine', {more.summary['env_steps']:,} env steps)"
    with pytest.raises(hydrahive.UsageError, match="nearest: mine"):
        hydrahive.Run("mina", tmp_path)


@pytest.mark.parametrize("core", [None, "Gru"])
def test_a_policys_actions_are_the_evaluators(train, core):
    run = train("mine", **({"policy.core": core} if core else {}))
    policy, columns = hydrahive.load_policy(run), evaluation_columns(run.config)
    env = hydrahive.make_env(run, columns)
    seen, _ = env.reset(seed=derived_seed(run.config.seed, "evaluation"))
    state, scores, totals = None, [None] * columns, np.zeros(columns)
    while any(score is None for score in scores):
        actions, state = policy.act(seen, state)
        seen, rewards, terminated, truncated, _ = env.step(actions)
        totals += rewards
        for i in np.flatnonzero(terminated | truncated):
            scores[i] = totals[i] if scores[i] is None else scores[i]
            totals[i], state[i] = 0, 0
    env.close()
    assert np.mean(scores) == run.evaluate(columns)["mean"]


def test_one_is_as_several_and_draws_are_anyones(train):
    run = train("mine", **{"policy.core": "Gru"})
    policy = run.policy()
    seen = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    together = policy.act(seen)
    for row, action, state in zip(seen, *together, strict=True):
        alone = policy.act(row)
        assert alone.actions == action
        np.testing.assert_array_equal(alone.state, state)
    twice = [policy.act(np.repeat(seen, 8, 0), draws=np.random.default_rng(7)).actions for _ in range(2)]
    np.testing.assert_array_equal(*twice)
    assert len(set(twice[0].tolist())) == 2
    with pytest.raises(hydrahive.UsageError, match=r"observations: shape \[1, 3\]"):
        policy.act(np.zeros(3))
    with pytest.raises(hydrahive.UsageError, match="state"):
        policy.act(seen, np.zeros((5, 3)))


@pytest.mark.parametrize("game", ["Cards", "Dials"])
def test_a_policy_takes_what_the_environment_itself_shows(train, monkeypatch, game):
    """A Dict, with its mask in it or without: as the row that `make_env` makes of it."""
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "games"))
    run = train("mine", env={"class_path": "Gym", "init_args": {"id": f"games:{game}-v0"}}, algorithm="PPO")
    policy, env = run.policy(), gymnasium.make(f"games:{game}-v0")
    rows = hydrahive.make_env(run)
    seen, _ = env.reset(seed=3)
    row, told = rows.reset(seed=3)
    for _ in range(5):
        given, as_row = policy.act(seen), policy.act(row, legal=told.get("action_mask"))
        np.testing.assert_array_equal(given.actions, as_row.actions)
        seen, *_ = env.step(given.actions)  # which raises where it is not legal
        row, _, _, _, told = rows.step(as_row.actions)
        if game == "Dials":
            break
    with pytest.raises(hydrahive.UsageError, match="observations: this one"):
        policy.act({"something": 1})


STOPPED = """
import hydrahive
try:
    hydrahive.train("cartpole/vtrace", name="mine", runs=RUNS, workers=0, recording=False, stop={"env_steps": 10**9})
except KeyboardInterrupt as stop:
    print("stopped:", stop)
"""


def test_ctrl_c_stops_a_script_cleanly(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", STOPPED.replace("RUNS", repr(str(tmp_path)))],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    metrics = tmp_path / "mine" / "metrics.jsonl"
    wait_for(lambda: metrics.exists() and metrics.stat().st_size > 5_000, "the run to begin")
    process.send_signal(signal.SIGINT)
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "stopped: run 'mine' was stopped; the same call goes on with it" in said
    assert (tmp_path / "mine" / "checkpoints").is_dir()


def test_the_pages_examples_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRAHIVE_RUNS", raising=False)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.DOTALL)
    assert len(blocks) >= 5
    names = {}
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)
    assert (tmp_path / "curve.png").stat().st_size > 5_000
    assert (tmp_path / "episode.gif").read_bytes()[:3] == b"GIF"
    assert names["scores"]


@full_only
def test_a_sweep_from_python_is_the_commands(hydrahive_command, tmp_path):
    plan = {"experiment": "cartpole/vtrace", "space": {"algorithm.learning_rate": {"log_uniform": [1e-4, 1e-2]}}}
    plan |= {"budget": {"trials": 2, "env_steps": 6_000, "milestones": 2}, "again": {"top": 0}}
    winner = hydrahive.sweep(plan, name="mine", runs=tmp_path / "a")
    path = tmp_path / "theirs.yaml"
    path.write_text(json.dumps(plan))
    hydrahive_command("tune", "run", path)
    theirs = json.loads((hydrahive_command.runs / "theirs" / "winner.json").read_text())
    assert {name: winner[name] for name in theirs} == theirs
