"""What others' environments do that Gymnasium's own do not."""

import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch

from conftest import ROOT
from hydrahive.core.errors import ConfigError, HydrahiveError
from hydrahive.envs.atari.config import FOR_SEVERAL, Atari
from hydrahive.envs.gym.config import Gym
from hydrahive.envs.gym.vector import GymVector
from hydrahive.envs.pettingzoo.config import PettingZoo
from hydrahive.policies.config import Conv, PolicyConfig
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.roles import evaluation
from hydrahive.runtime.roles.env_worker import build_network
from hydrahive.runtime.roles.evaluation import evaluate
from hydrahive.runtime.roles.shard import Shard

GAMES = str(ROOT / "tests" / "games")
SMALL = ["--shards", 1, "--envs_per_shard", 4, "--fragment_length", 8, "--stop.env_steps", 300, "--workers", 0]


@pytest.fixture(autouse=True)
def games_at_hand(monkeypatch):
    monkeypatch.syspath_prepend(GAMES)


def fragment_of(env_id, steps=16, **options):
    """What a shard records of an environment in which nobody chooses, and its summary."""
    config = RunConfig(env=Gym(f"odd:{env_id}", **options), envs_per_shard=3, fragment_length=steps)
    shard = Shard(config, "run", 0, config.env.make_vector(3))
    return shard.replay(0, 0, np.zeros((steps, 3), np.int64))


def test_an_array_that_is_given_again_is_not_the_next_episodes():
    fragment, summary = fragment_of("Reuses-v0")
    assert fragment.cut_observations.tolist() == [[5.0] * 3] * 9
    assert set(summary.lengths) == {5}


def test_infos_are_not_believed_to_be_scores_and_may_be_anything():
    _, summary = fragment_of("Chatty-v0")
    assert set(summary.scores) == {5.0}
    assert set(summary.lengths) == {5}
    bonus = summary.facts["bonus"]
    assert set(bonus[np.isfinite(bonus)]) == {2.0}
    assert set(summary.facts) == {"bonus"}


def test_who_tells_no_mask_may_do_anything():
    env = Gym("odd:Forbids-v0").make_vector(2)
    assert env.legal_actions().tolist() == [[True, False]] * 2
    env.step(np.zeros(2, np.int64))
    assert env.legal_actions().all()


@pytest.mark.parametrize(
    ("env_id", "says"),
    [
        ("Grows-v0", r"shape \[4\]; its space says \[3\]"),
        ("OldSteps-v0", "gave 4 values for a step"),
        ("Counts-v0", "gave 3 as an observation; its space goes from"),
    ],
)
def test_what_is_no_step_is_told(env_id, says):
    with pytest.raises(ValueError, match=says):
        fragment_of(env_id)


def test_pictures_whose_channels_come_last_are_refused_and_can_be_turned():
    config = PolicyConfig(encoder=Conv())
    options = {"env": Gym("odd:Pictures-v0"), "policy": config}
    with pytest.raises(ConfigError, match="ChannelsFirst among wrappers"):
        build_network(RunConfig(**options), torch.Generator())
    turned = Gym("odd:Pictures-v0", wrappers=["hydrahive.envs.channels.ChannelsFirst"])
    assert turned.make_vector(2).reset(seed=1)[0].shape == (2, 3, 16, 20)
    build_network(RunConfig(**{**options, "env": turned}), torch.Generator())


def test_a_vector_that_does_not_say_when_it_resets_is_not_used():
    _, summary = fragment_of("Together-v0")
    assert set(summary.lengths) == {5}
    with pytest.raises(ConfigError, match="declares no autoreset_mode"):
        fragment_of("Together-v0", vectorization="vector")
    fragment, summary = fragment_of("Says-v0")
    assert set(summary.lengths) == {5}
    assert fragment.terminated.dtype == np.bool_
    with pytest.raises(ValueError, match="gives no final_obs"):
        fragment_of("Withholds-v0")


def test_what_one_vector_declares_no_other_is_believed_to():
    """ALE's vector writes into the metadata that all vectors share which have none of their own."""
    shared = dict(gymnasium.vector.VectorEnv.metadata)
    Atari("pong").make_vector(1).close()
    assert gymnasium.vector.VectorEnv.metadata == shared
    writes = Gym("odd:Writes-v0").make_vector(3)
    assert isinstance(writes, GymVector)  # it says of itself when it resets
    assert gymnasium.vector.VectorEnv.metadata == shared
    assert not isinstance(Gym("odd:Together-v0").make_vector(3), GymVector)


def test_agents_may_join_in_mid_episode():
    env = PettingZoo("newcomers").make_vector(2)
    env.reset(seed=1)
    there, over = [], []
    for _ in range(12):
        there.append([True, True] if env.present() is None else env.present().tolist())
        _, _, terminated, _, _ = env.step(np.zeros(2, np.int64))
        over.append(terminated.tolist())
    assert there == 2 * (3 * [[True, False]] + 3 * [[True, True]])
    assert over == 2 * (5 * [[False, False]] + [[True, True]])
    other = PettingZoo("newcomers", kwargs={"wrong": True}).make_vector(2)
    with pytest.raises(ValueError, match=r"shape \[1\]"):
        other.step(np.zeros(2, np.int64))


@pytest.mark.parametrize("game", FOR_SEVERAL)
def test_games_for_several_are_refused(game):
    with pytest.raises(ConfigError, match="for one player"):
        Atari(game)


def test_an_evaluation_of_what_never_ends_ends(monkeypatch):
    monkeypatch.setattr(evaluation, "PATIENCE_STEPS", 4)
    config = RunConfig(env=Gym("odd:Reuses-v0"))
    with pytest.raises(HydrahiveError, match="no episode ended in 4 steps"):
        evaluate(config, build_network(config, torch.Generator()), 3)


def test_modules_that_cannot_be_imported_are_told_in_one_line(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "unfinished.py").write_text("def f(:\n")
    (tmp_path / "dividing.py").write_text("1 / 0\n")
    sys.modules.pop("dividing", None)
    for make in (lambda: Gym("unfinished:X-v0"), lambda: PettingZoo("unfinished"), lambda: Gym("dividing:X-v0")):
        with pytest.raises(ConfigError, match=r"SyntaxError|ZeroDivisionError") as refused:
            make()
        assert "\n" not in str(refused.value)


def test_the_command_finds_modules_in_the_folder_where_it_is_called(tmp_path):
    options = ["--env.id", "odd:Quits-v0", "--env.snapshots", "none", "--runs", tmp_path, *SMALL]
    command = [Path(sys.executable).with_name("hydrahive"), "train", "cartpole/vtrace", "--name", "a", *options]
    failed = subprocess.run([*map(str, command)], cwd=GAMES, capture_output=True, text=True, timeout=120, check=False)
    assert failed.returncode == 2
    assert "SystemExit: 0" in failed.stderr
    assert "odd.py:" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_what_an_environment_raises_is_told_whole_and_with_its_place(hydrahive):
    hydrahive.environment["PYTHONPATH"] = GAMES
    options = ["--env.id", "odd:Fails-v0", "--env.snapshots", "none", *SMALL]
    failed = hydrahive("train", "cartpole/vtrace", "--name", "a", *options, code=2)
    assert "RuntimeError: the first line the second" in failed.stderr
    assert "odd.py:" in failed.stderr


def test_an_environment_that_cannot_draw_ends_its_run_well(hydrahive):
    hydrahive.environment["PYTHONPATH"] = GAMES
    done = hydrahive("train", "cartpole/vtrace", "--name", "a", "--env.id", "odd:Reuses-v0", *SMALL)
    assert "no recording: " in done.stderr
    assert "digest" in done.stdout
    assert hydrahive.summary("a")["env_steps"] >= 300


def test_a_world_in_which_nobody_can_be_is_refused():
    with pytest.raises(ConfigError, match="with agents"):
        PettingZoo("crowd", kwargs={"agents": 0})


def test_pictures_of_agents_are_turned():
    plain = RunConfig(env=PettingZoo("crowd", kwargs={"pictures": True}), policy=PolicyConfig(Conv()))
    with pytest.raises(ConfigError, match="ParallelChannelsFirst"):
        build_network(plain, torch.Generator())
    env = PettingZoo(
        "crowd", kwargs={"pictures": True}, wrappers=["hydrahive.envs.channels.ParallelChannelsFirst"]
    ).make_vector(4)
    assert env.single_observation_space.shape == (3, 12, 16)
    env.reset(seed=0)
    seen, *_ = env.step(np.zeros(4, np.int64))
    assert seen.shape == (4, 3, 12, 16)
    assert (seen == np.array([0, 1, 0])[:, None, None]).all()
    state = env.snapshot()
    after = env.step(np.zeros(4, np.int64))[1]
    env.restore(state)
    assert (env.step(np.zeros(4, np.int64))[1] == after).all()


@pytest.mark.parametrize(
    ("game", "wrappers", "match"),
    [
        ("crowd", ["hydrahive.envs.channels.ParallelChannelsFirst"], "needs observations"),
        ("crowd", ["nowhere.Wrapper"], "dotted paths of wrappers of pettingzoo"),
        ("pettingzoo.classic.tictactoe_v3", ["hydrahive.envs.channels.ParallelChannelsFirst"], "take turns"),
    ],
)
def test_wrappers_of_worlds_that_do_not_fit_are_refused(game, wrappers, match):
    with pytest.raises(ConfigError, match=match):
        PettingZoo(game, wrappers=wrappers)


def test_the_last_picture_is_of_how_it_ended():
    world = PettingZoo("crowd").make_single("rgb_array")
    world.reset(seed=0)
    shown = []
    for _ in range(3):
        world.step(np.zeros(2, np.int64))
        shown.append(int(world.render()[0, 0, 1]))
    assert shown == [1, 2, 3]
    world.reset(seed=1)
    assert not world.render().any()

    game = Atari("pong", max_frames=400).make_single("rgb_array")
    game.reset(seed=0)
    first, over = game.render().copy(), False
    while not over:
        before = game.render().copy()
        *_, over, _ = game.step(2)
    assert (game.render() != first).any()
    assert (game.render() != before).any()


def test_a_game_that_ale_cannot_count_is_refused():
    with pytest.raises(ConfigError, match="max_frames"):
        Atari("pong", max_frames=3_000_000_000)
