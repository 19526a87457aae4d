import json
import sys

import numpy as np
import pytest
from gymnasium import spaces

from conftest import ROOT
from hydrahive.core.errors import ConfigError
from hydrahive.envs.gym.config import Gym
from hydrahive.runtime.config.parsing import load_run_config
from hydrahive.runtime.config.shipped import find_config


@pytest.mark.parametrize(
    ("env_id", "vectorization"),
    [
        ("CartPole-v1", "vector"),
        ("CartPole-v1", "sync"),
        ("Acrobot-v1", "sync"),
        ("Pendulum-v1", "sync"),
        ("Taxi-v3", "sync"),
    ],
)
def test_a_restored_environment_continues_identically(env_id, vectorization):
    config = Gym(env_id, vectorization)
    rng = np.random.default_rng(1)
    env = config.make_vector(5)

    def actions():
        space = env.single_action_space
        if isinstance(space, spaces.Discrete):
            return rng.integers(0, space.n, 5)
        return rng.uniform(-1, 1, (5, *space.shape)).astype(np.float32)

    env.reset(seed=7)
    for _ in range(60):
        env.step(actions())
    other = config.make_vector(5)
    state = env.snapshot()
    assert {array.dtype.kind for array in state.values()} <= set("biuf"), "what a checkpoint can hold"
    other.restore(state)
    for _ in range(250):
        chosen = actions()
        for mine, theirs in zip(env.step(chosen)[:4], other.step(chosen)[:4], strict=True):
            np.testing.assert_array_equal(np.array(mine), np.array(theirs))


def test_kwargs_and_wrappers_reach_each_environment_and_its_single_face():
    limit = {"class_path": "gymnasium.wrappers.TimeLimit", "init_args": {"max_episode_steps": 3}}
    config = Gym(
        "Taxi-v3", wrappers=["gymnasium.wrappers.RecordEpisodeStatistics", limit], kwargs={"fickle_passenger": True}
    )
    env, single = config.make_vector(2), config.make_single()
    assert env.reset(seed=1)[0].shape == (2, 500)
    assert single.reset(seed=1)[0].shape == (500,)
    assert single.unwrapped.fickle_passenger
    for step in range(3):
        *_, truncated, infos = env.step(np.zeros(2, np.int64))
        *_, cut, _ = single.step(0)
        assert truncated.all() == cut == (step == 2)
    assert infos["final_obs"][0].shape == (500,)


@pytest.mark.parametrize("wrappers", [["nowhere.Wrapper"], ["gymnasium.wrappers.Nothing"], [{"path": "x"}], [3]])
def test_wrappers_that_cannot_be_imported_are_refused(wrappers):
    with pytest.raises(ConfigError, match="wrappers"):
        Gym("CartPole-v1", wrappers=wrappers)


def test_arguments_that_an_environment_does_not_take_are_refused_in_one_line():
    for make in (lambda config: config.make_vector(1), lambda config: config.make_single()):
        with pytest.raises(ConfigError, match=r"Taxi-v3.*speed") as refused:
            make(Gym("Taxi-v3", kwargs={"speed": 3}))
        assert "\n" not in str(refused.value)


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match="CartPole-v1"):
        Gym("CartPole-v7")


def test_an_environment_with_hidden_state_is_refused_by_name():
    import gymnasium

    class Hidden(gymnasium.Env):
        observation_space = spaces.Box(0, 1, (1,), np.float32)
        action_space = spaces.Discrete(2)

        def __init__(self):
            self.secret = iter([1, 2, 3])

        def reset(self, *, seed=None, options=None):
            return np.zeros(1, np.float32), {}

        def step(self, action):
            return np.zeros(1, np.float32), 0.0, False, False, {}

    gymnasium.register("Hidden-v0", Hidden)
    with pytest.raises(ConfigError, match=r"snapshots: none.*secret"):
        Gym("Hidden-v0").make_vector(2)
    assert Gym("Hidden-v0", snapshots="none").make_vector(2).snapshot() == {}


def test_episodes_cut_at_boundaries_enter_no_score(hydrahive):
    """An episode of the game has eight steps, a fragment six, and there is a boundary at every second."""
    hydrahive.environment["PYTHONPATH"] = str(ROOT / "tests" / "games")
    options = ["--env.id", "games:Secret-v0", "--env.snapshots", "none", "--workers", 0, "--stop.env_steps", 2_000]
    options += ["--shards", 1, "--envs_per_shard", 4, "--fragment_length", 6, "--boundary_every", 2]
    summary = hydrahive.train("cartpole/vtrace", "a", *options)
    lines = (hydrahive.runs / "a" / "episodes.jsonl").read_text().splitlines()
    lengths = [length for line in lines for length in json.loads(line)["lengths"]]
    assert set(lengths) == {8}
    assert len(lengths) == summary["episodes"] == summary["env_steps"] // 12


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "minigrid", None)
    with pytest.raises(ConfigError, match=r"pip install 'hydrahive\[minigrid\]'"):
        Gym("minigrid:MiniGrid-DoorKey-5x5-v0")
    monkeypatch.setitem(sys.modules, "Box2D", None)
    monkeypatch.delitem(sys.modules, "gymnasium.envs.box2d.lunar_lander", raising=False)
    monkeypatch.delitem(sys.modules, "gymnasium.envs.box2d", raising=False)
    with pytest.raises(ConfigError, match=r"pip install 'hydrahive\[box2d\]'"):
        Gym("LunarLander-v3", snapshots="none").make_vector(1)


@pytest.mark.parametrize("env_id", ["hydrahive/Atari-v0", "ale_py:ALE/Pong-v5"])
def test_atari_is_told_its_own_class(env_id):
    with pytest.raises(ConfigError, match="class_path: Atari"):
        Gym(env_id)


def test_minatars_planes_are_what_its_space_says():
    """They are bool until they are laid out."""
    pytest.importorskip("minatar")
    env = load_run_config(find_config("minatar/breakout")[0]).env.make_vector(2)
    seen, _ = env.reset(seed=0)
    assert env.single_observation_space.dtype == seen.dtype == np.float32
    assert env.single_observation_space.contains(seen[0])


def only(indices, env="CartPole-v1"):
    return Gym(env, wrappers=[{"class_path": "hydrahive.envs.partial.Only", "init_args": {"indices": indices}}])


def test_an_environment_that_shows_some_of_its_numbers_is_the_same_besides():
    whole, partial = only([0, 1, 2, 3]).make_vector(3), only([2, 0]).make_vector(3)
    assert partial.single_observation_space.shape == (2,)
    for env in (whole, partial):
        env.reset(seed=4)
    for t in range(40):
        actions = np.full(3, t % 2)
        seen, *told = whole.step(actions)
        shown, *same = partial.step(actions)
        np.testing.assert_array_equal(shown, seen[:, [2, 0]])
        for one, other in zip(told[:3], same[:3], strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("indices", "env"), [([], "CartPole-v1"), ([4], "CartPole-v1"), ([0], "FrozenLake-v1")])
def test_numbers_that_an_environment_does_not_show_are_refused(indices, env):
    with pytest.raises(ConfigError, match="Only needs"):
        only(indices, env).make_vector(1)
