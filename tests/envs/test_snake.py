import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st
from snake_reference import HEADINGS, ReferenceSnake

import hydrahive.envs  # noqa: F401
from hydrahive.core.errors import ConfigError
from hydrahive.envs.snake.board import RULES, SNAKE, empty_boards, philox, place_food, rules_of, start_episode
from hydrahive.envs.snake.config import Snake, SnakeRewards

REWARDS = SnakeRewards(food=10, collision=-9, starvation=-8, empty=0.25, closer=0.5, further=-0.75)


def cell_of(env, index):
    rules = env._rules
    border, stride = int(rules["border"][0]), int(rules["stride"][0])
    return index % stride - border, index // stride - border


def solid_cells(env):
    rules = env._rules
    stride = int(rules["stride"][0])
    board = env._board[0].reshape(stride, stride)
    ys, xs = np.nonzero((board > env._snake["clock"][0]) & (board < 2**31 - 1))
    border = int(rules["border"][0])
    return {(int(x) - border, int(y) - border) for x, y in zip(xs, ys, strict=True)}


@settings(max_examples=60, deadline=None)
@given(
    st.integers(5, 9),
    st.booleans(),
    st.sampled_from(["food", "start"]),
    st.integers(1, 4),
    st.integers(0, 2**31 - 1),
    st.lists(st.sampled_from([0, 1, 1, 2]), min_size=1, max_size=120),
)
def test_the_kernels_play_by_the_rules(size, tail_blocks, since, starvation, seed, actions):
    config = Snake(
        size=size,
        observation="features",
        tail_blocks=tail_blocks,
        starvation_since=since,
        starvation=starvation,
        rewards=REWARDS,
    )
    env = config.make_single()
    env.reset(seed=seed)
    reference = ReferenceSnake(config, cell_of(env, int(env._snake["food"][0])))
    for action in actions:
        _, reward, terminated, truncated, info = env.step(action)
        expected, ending = reference.step(action)
        assert reward == pytest.approx(expected)
        assert (terminated, truncated) == (ending is not None, False)
        assert info.get("ending") == ending
        if ending:
            break
        assert solid_cells(env) == set(reference.body)
        assert cell_of(env, int(env._snake["head"][0])) == reference.body[0]
        assert info["score"] == len(reference.body) - 3
        reference.food = cell_of(env, int(env._snake["food"][0]))
        assert reference.food not in reference.body


@pytest.mark.parametrize("observation", ["window", "planes", "features", "fisheye"])
def test_gymnasium_accepts_the_single_environment(observation):
    env = gymnasium.make("hydrahive/Snake-v0", observation=observation, size=8, window=5, render_mode="rgb_array")
    check_env(env.unwrapped)


@pytest.mark.parametrize("size", [5, 20, 64])
def test_every_size_of_board_can_be_played_and_drawn(size):
    env = Snake(size=size, window=5).make_single("ansi")
    env.reset(seed=0)
    assert env.render().count("o") == 2
    env = Snake(size=size, window=5).make_single("rgb_array")
    env.reset(seed=0)
    assert env.render().dtype == np.uint8


def test_food_falls_on_every_free_cell_equally_often():
    rules = rules_of(Snake(size=5, window=3))
    snake, board = np.zeros(1, SNAKE), empty_boards(1, rules)
    snake["key"] = 12345
    start_episode(snake[0], board[0], rules[0])
    counts: dict[int, int] = {}
    draws = 22_000
    for _ in range(draws):
        place_food(snake[0], board[0], rules[0])
        counts[int(snake["food"][0])] = counts.get(int(snake["food"][0]), 0) + 1
    assert len(counts) == 22
    expected = draws / 22
    chi_square = sum((count - expected) ** 2 / expected for count in counts.values())
    assert chi_square < 46.8  # 99.9% quantile at 21 degrees of freedom


def test_philox_gives_the_published_numbers():
    # Random123's known answers for philox4x32-10 with an all-zero and an all-one key and counter (first word).
    assert philox(np.uint64(0), np.uint64(0)) == 0x6627E8D5


def test_a_full_board_is_won():
    config = Snake(size=5, observation="features")
    env = config.make_single()
    env.reset(seed=0)
    inside = env._board[0].reshape(env._rules["stride"][0], -1)
    border, stride = int(env._rules["border"][0]), int(env._rules["stride"][0])
    # A spiral that fills all but one cell: walk a Hamiltonian path and leave its last cell for the food.
    path = [(x if y % 2 == 0 else 4 - x, y) for y in range(5) for x in range(5)]
    inside[border:-border, border:-border] = 0
    for age, (x, y) in enumerate(path[:-1]):
        inside[y + border, x + border] = age + 1
    head, food = path[-2], path[-1]
    env._snake["clock"], env._snake["length"] = 0, 24
    env._snake["head"] = (head[1] + border) * stride + head[0] + border
    env._snake["food"] = (food[1] + border) * stride + food[0] + border
    env._snake["heading"] = HEADINGS.index((food[0] - head[0], food[1] - head[1]))
    _, reward, terminated, _, info = env.step(1)
    assert (reward, terminated, info) == (1.0, True, {"score": 22, "ending": "win"})
    env.render_mode = "ansi"
    assert "*" not in env.render()


@pytest.mark.parametrize("starvation", [1, 2, 7])
def test_what_a_starved_snake_sees_lies_in_its_space(starvation):
    env = Snake(size=9, starvation=starvation).make_single()
    env.reset(seed=0)
    for _ in range(3 * starvation + 1):
        observation, _, ended, _, info = env.step(0)
        assert observation in env.observation_space
    assert ended
    assert info == {"score": 0, "ending": "starvation"}
    hunger = -5
    assert observation[hunger] == env.observation_space.high[hunger] > 1


def test_ai_hydras_sixteen_features():
    env = Snake(size=20, observation="features", tail_blocks=True).make_single()
    observation, _ = env.reset(seed=1)
    head, food = cell_of(env, int(env._snake["head"][0])), cell_of(env, int(env._snake["food"][0]))
    np.testing.assert_allclose(observation[:3], [0, 0, 0])
    np.testing.assert_allclose(observation[3:7], [0, 1, 0, 0])
    np.testing.assert_allclose(observation[7:9], [(food[0] - head[0]) / 20, (food[1] - head[1]) / 20], rtol=1e-6)
    np.testing.assert_allclose(observation[9:], [0, 0, 0, 0, 0, 1, 1])


def test_the_fisheye_and_the_window_turn_with_the_snake():
    for observation, side, wall, body in [("fisheye", 7, -0.5, 0.5), ("window", 7, -1.0, -1.0)]:
        env = Snake(size=20, observation=observation, window=7).make_single()
        env.reset(seed=3)
        for _ in range(8):
            seen, *_ = env.step(1)
        cells = seen[: side * side].reshape(side, side)
        assert (cells[0] == wall).all(), "the wall is two cells ahead"
        assert cells[4, 3] == cells[5, 3] == body, "the body lies straight behind"
        seen, *_ = env.step(2)
        cells = seen[: side * side].reshape(side, side)
        assert (cells[:, 0] == wall).all(), "after a turn to the right the wall is on the left"


def test_planes_show_the_whole_board_with_the_snake_heading_up():
    env = Snake(size=6, observation="planes").make_single()
    env.reset(seed=2)
    seen, *_ = env.step(2)
    head = np.argwhere(seen[0] == 1)
    assert head.shape == (1, 2)
    assert seen[1, head[0, 0] + 1, head[0, 1]] > 0, "the neck lies below the head"
    assert (seen[1] > 0).sum() == 2
    assert (seen[3] == 1).all()


@pytest.mark.parametrize("observation", ["window", "planes"])
def test_a_restored_vector_continues_identically(observation):
    config = Snake(size=7, observation=observation, window=5)
    rng = np.random.default_rng(0)
    env = config.make_vector(17)
    env.reset(seed=5)
    for _ in range(50):
        env.step(rng.integers(0, 3, 17))
    snapshot = env.snapshot()
    other = config.make_vector(17)
    other.restore(snapshot)
    for _ in range(200):
        actions = rng.integers(0, 3, 17)
        for mine, theirs in zip(env.step(actions)[:4], other.step(actions)[:4], strict=True):
            np.testing.assert_array_equal(mine, theirs)
    assert not np.array_equal(snapshot["boards"], env.snapshot()["boards"]), "a snapshot does not change"


def test_vector_and_single_agree_and_ends_are_told():
    config = Snake(size=6, observation="window", window=3)
    vector, single = config.make_vector(1), config.make_single()
    seen, _ = vector.reset(seed=4)
    single.reset(seed=0)
    single._snake["key"], single._snake["draws"] = vector._snakes["key"], 0
    start_episode(single._snake[0], single._board[0], single._rules[0])
    np.testing.assert_array_equal(seen[0], single._observation())
    for action in [0, 1, 0, 1, 1, 2, 1, 1, 1, 1]:
        seen, reward, terminated, _, infos = vector.step(np.array([action]))
        expected, expected_reward, ended, _, info = single.step(action)
        assert reward[0] == expected_reward
        if ended:
            assert terminated[0]
            np.testing.assert_array_equal(infos["final_obs"][0], expected)
            assert infos["final_info"]["score"][0] == info["score"]
            return
        np.testing.assert_array_equal(seen[0], expected)
    raise AssertionError("the game should have ended at a wall")


def test_boards_of_one_vector_differ_and_seeds_repeat():
    env = Snake().make_vector(8)
    first, _ = env.reset(seed=1)
    assert len({row.tobytes() for row in first}) > 1
    np.testing.assert_array_equal(first, env.reset(seed=1)[0])
    assert not np.array_equal(first, env.reset(seed=2)[0])


@pytest.mark.parametrize(
    "wrong",
    [{"size": 4}, {"size": 65}, {"window": 8}, {"size": 7, "window": 9}, {"window": 1}, {"starvation": 0}],
)
def test_boards_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ConfigError, match="expected"):
        Snake(**wrong)


def test_the_rules_record_has_no_padding_that_could_hold_garbage():
    assert SNAKE.itemsize == sum(SNAKE.fields[name][0].itemsize for name in SNAKE.names)
    assert RULES.itemsize == 48
