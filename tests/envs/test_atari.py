import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from hydrahive.core.errors import ConfigError
from hydrahive.envs.atari import vector
from hydrahive.envs.atari.config import Atari
from hydrahive.envs.vector import GAME_LENGTH


def played(config, steps, count=3, seed=7):
    env = config.make_vector(count)
    env.reset(seed=seed)
    random = np.random.default_rng(0)
    told = [env.step(random.integers(0, env.single_action_space.n, count)) for _ in range(steps)]
    return env, told


@pytest.mark.parametrize(
    "config",
    [
        Atari("pong"),
        Atari("breakout", protocol="deepmind"),
        Atari("breakout", noop_max=9, max_frames=300),
        Atari("MsPacman", fire_on_reset=True, full_action_set=True, stack=2, size=64, frame_skip=5),
    ],
    ids=str,
)
def test_a_restored_vector_goes_on_alike(config, monkeypatch):
    monkeypatch.setattr(vector, "RESEED_AFTER", 100)
    env, _ = played(config, 420)
    assert env._seedings.any() or config.rom == "pong"
    beats = []
    other = config.make_vector(3)
    other.still_alive = lambda: beats.append(1)
    other.restore(env.snapshot())
    assert len(beats) >= env.snapshot()["counts"].max()
    random = np.random.default_rng(1)
    for _ in range(150):
        actions = random.integers(0, env.single_action_space.n, 3)
        for mine, theirs in zip(env.step(actions)[:4], other.step(actions)[:4], strict=True):
            np.testing.assert_array_equal(mine, theirs)
    assert env.snapshot()["frames"].tobytes() == other.snapshot()["frames"].tobytes()


def test_a_state_whose_actions_lead_elsewhere_is_refused():
    config = Atari("pong")
    env, _ = played(config, 60)
    state = env.snapshot()
    state["actions"][5] ^= 1
    state["seed"][0] += 1
    with pytest.raises(ValueError, match="lead elsewhere"):
        config.make_vector(3).restore(state)
    with pytest.raises(ValueError, match="3 games; expected one of 2"):
        config.make_vector(2).restore(env.snapshot())


def test_actions_that_do_not_exist_are_refused_for_ale_would_wait_for_ever():
    env, _ = played(Atari("pong"), 5)
    for action in (-1, 6, 99):
        with pytest.raises(ValueError, match="the game has 6, from 0"):
            env.step(np.array([0, action, 0]))
    state = env.snapshot()
    state["actions"][3] = 77
    with pytest.raises(ValueError, match="77"):
        Atari("pong").make_vector(3).restore(state)


def test_games_of_one_vector_differ_and_repeat_by_seed():
    config = Atari("breakout")
    _, told = played(config, 150)
    _, again = played(config, 150)
    _, others = played(config, 150, seed=8)
    rewards = [np.stack([rewards for _, rewards, *_ in run]) for run in (told, again, others)]
    np.testing.assert_array_equal(rewards[0], rewards[1])
    assert (rewards[0] != rewards[2]).any()
    assert (rewards[0][:, 0] != rewards[0][:, 1]).any()


def test_a_lost_life_ends_the_learners_episode_and_the_game_goes_on_to_its_score():
    _, told = played(Atari("breakout", protocol="deepmind", sticky_actions=0.25), 900, count=1)
    total, lives, games, length = 0.0, 0, 0, 0
    for observations, rewards, terminated, truncated, infos in told:
        total, length = total + rewards[0], length + 1
        assert not truncated.any()
        if not terminated[0]:
            assert not infos
            continue
        assert not observations[0, :-1].any(), "an episode begins with one frame"
        assert infos["final_obs"][0, :-1].any()
        if np.isnan(infos["final_info"]["score"][0]):
            lives += 1
            continue
        assert infos["final_info"]["score"][0] == total
        assert infos["final_info"][GAME_LENGTH][0] == length
        assert lives == 4
        total, length, lives, games = 0.0, 0, 0, games + 1
    assert games >= 2


def test_the_frame_cap_truncates():
    _, told = played(Atari("pong", max_frames=80), 45, count=2)
    ends = [(t, terminated, truncated) for t, (_, _, terminated, truncated, _) in enumerate(told) if truncated.any()]
    assert [t for t, *_ in ends] == [19, 39]
    assert all(truncated.all() and not terminated.any() for _, terminated, truncated in ends)


def test_rewards_are_the_games_own():
    _, told = played(Atari("MsPacman"), 200)
    assert max(rewards.max() for _, rewards, *_ in told) == 10


@pytest.mark.parametrize(
    ("name", "rom"),
    [("pong", "pong"), ("ALE/MsPacman-v5", "ms_pacman"), ("UpNDown", "up_n_down"), ("TicTacToe3D", "tic_tac_toe_3d")],
)
def test_names(name, rom):
    assert Atari(name).rom == rom


def test_an_unknown_game_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match=r"'Pongg'.*pong"):
        Atari("Pongg")


def test_a_missing_rom_is_refused_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("ALE_ROMS_DIR", str(tmp_path))
    with pytest.raises(ConfigError, match="a game whose ROM ale-py has") as refused:
        Atari("pong")
    assert "\n" not in str(refused.value)
    monkeypatch.setenv("ALE_ROMS_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="doesn't exist"):
        Atari("pong")


def test_the_single_game_is_a_gymnasium_environment_and_draws_the_game_it_plays():
    env = Atari("pong").make_single("rgb_array")
    check_env(env, skip_render_check=True)
    env.reset(seed=3)
    drawn, step = [], env._vector._screen.step
    env._vector._screen.step = lambda actions: drawn.append(step(actions)) or drawn[-1]
    random, rewards, over = np.random.default_rng(0), [], False
    while not over:
        _, reward, over, _, info = env.step(random.integers(0, 6))
        rewards.append(reward)
    assert rewards == [float(told[1][0]) for told in drawn]
    assert info["score"] == sum(rewards)
    assert env.render().shape == (210, 160, 3)


def test_scores_on_the_scale_of_humans():
    assert Atari("breakout").normalised(30.5) == {"human_normalised": 1.0}
    assert Atari("pong").normalised(-20.7) == {"human_normalised": 0.0}
    assert Atari("tetris").normalised(5) == {}
