"""Observations laid out flat, and masks of legal actions, wherever environments tell them."""

import sys

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from conftest import ROOT
from hydrahive.core.errors import ConfigError
from hydrahive.envs.flat import Flattener
from hydrahive.envs.gym.config import Gym

sys.path.append(str(ROOT / "tests" / "games"))


def test_a_layout_is_gymnasiums_own():
    space = spaces.Dict(
        {
            "a": spaces.MultiDiscrete([3, 4]),
            "b": spaces.Tuple([spaces.Discrete(3, start=5), spaces.Box(-1, 1, (2, 2))]),
            "c": spaces.MultiBinary(4),
        }
    )
    space.seed(1)
    flat = Flattener(space)
    assert flat.space.shape == spaces.flatten_space(space).shape
    for _ in range(20):
        given = space.sample()
        np.testing.assert_array_equal(flat.one(given), spaces.flatten(space, given).astype(np.float32))
        assert flat.one(given) in flat.space


def test_the_vectors_rows_are_the_single_ones():
    config = Gym("games:Dials-v0")
    vector, single = config.make_vector(3), config.make_single()
    rows, _ = vector.reset(seed=4)
    row, _ = single.reset(seed=4)
    assert rows.shape == (3, *vector.single_observation_space.shape) == (3, 7 + 8 + 4)
    np.testing.assert_array_equal(rows[0], row)
    for step in range(8):
        rows, rewards, _, truncated, infos = vector.step(np.zeros((3, 2), np.int64))
        row, reward, _, over, _ = single.step(np.zeros(2, np.int64))
        assert rewards[0] == reward
        np.testing.assert_array_equal((infos["final_obs"] if over else rows)[0], row)
        assert over == truncated[0] == (step == 7)


@pytest.mark.parametrize("name", ["Cards", "ToldCards"])
def test_a_mask_is_followed_to_the_end_restored_and_told_of_the_single_one(name):
    config = Gym(f"games:{name}-v0")
    env, single = config.make_vector(2), config.make_single()
    env.reset(seed=0)
    _, info = single.reset(seed=0)
    order = [[3, 1], [0, 2], [4, 0], [1, 4], [2, 3]]
    for k, cards in enumerate(order):
        laid = np.array(order[:k]).reshape(-1, 2).T
        expected = [[card not in laid[i] for card in range(5)] for i in range(2)]
        assert env.legal_actions().tolist() == expected
        assert info["action_mask"].tolist() == expected[0]
        other = config.make_vector(2)
        other.restore(env.snapshot())
        assert other.legal_actions().tolist() == expected
        *_, terminated, _, _ = env.step(np.array(cards))
        *_, info = single.step(cards[0])
    assert terminated.all()
    assert env.legal_actions().all(), "a new episode"


def test_a_space_of_no_fixed_size_is_refused():
    class Words(gymnasium.Env):
        observation_space = spaces.Text(5)
        action_space = spaces.Discrete(2)

    gymnasium.register("Words-v0", Words)
    with pytest.raises(ConfigError, match="Text"):
        Gym("Words-v0").make_vector(1)
