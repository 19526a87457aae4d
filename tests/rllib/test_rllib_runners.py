"""What RLlib's env runners see of our vectors: the same episodes, rewards and ends that our own workers see."""

from __future__ import annotations

import numpy as np
import pytest

from hydrahive.envs.gym.config import Gym
from hydrahive.envs.pettingzoo.config import PettingZoo
from hydrahive.envs.snake.config import Snake
from hydrahive.envs.swarm.config import Swarm
from hydrahive.rllib.config import Rllib
from hydrahive.rllib.runners import COUNTED
from hydrahive.rllib.shown import Shown
from hydrahive.rllib.tallies import Counted
from hydrahive.rllib.trained import ENV, configured, make_env
from rays import ray_inside


@pytest.fixture(scope="module", autouse=True)
def cluster():
    with ray_inside(1):
        yield


def runner_of(env, count=3, name="PPO", **keys):
    from functools import partial

    from ray.tune.registry import register_env

    register_env(ENV, partial(make_env, env))
    built = configured(Rllib(name, {"num_envs_per_env_runner": count, **keys}), env, 7, 0)
    return built.env_runner_cls(config=built, worker_index=1)


def counted_of(runner):
    told = runner.get_metrics()[COUNTED].peek(compile=False)
    return [Counted.of(text).tally for text in told]


@pytest.mark.parametrize("env", [Snake(size=8, window=5), Gym("CartPole-v1"), Gym("CartPole-v1", vectorization="sync")])
def test_the_very_steps_of_the_vector(env):
    """One environment, so that chunks come in order: replayed on a vector of our own, all is the same."""
    runner = runner_of(env, 1)
    seed = runner.env.unwrapped.seed
    chunks = [one for _ in range(4) for one in runner.sample(num_timesteps=40, random_actions=True)]
    vector = env.make_vector(1)
    shown = Shown(vector.single_observation_space)
    expected, _ = vector.reset(seed=seed)
    ended = False
    for chunk in chunks:
        observations, actions = np.array(chunk.get_observations()), chunk.get_actions()
        for t, action in enumerate(actions):
            if ended and vector.resets_on_next_step:
                expected, *_ = vector.step(np.array([action]))
            ended = False
            np.testing.assert_allclose(observations[t], shown.rows(expected)[0], rtol=1e-6)
            expected, rewards, terminated, truncated, infos = vector.step(np.array([action]))
            assert chunk.get_rewards()[t] == pytest.approx(rewards[0])
            ended = bool(terminated[0] or truncated[0])
            if ended:
                assert t == len(actions) - 1
                assert (chunk.is_terminated, chunk.is_truncated) == (bool(terminated[0]), bool(truncated[0]))
                last = expected if vector.resets_on_next_step else infos["final_obs"]
                np.testing.assert_allclose(observations[t + 1], shown.rows(np.stack(list(last)))[0], rtol=1e-6)
    assert sum(chunk.is_done for chunk in chunks) >= 3
    runner.stop()


@pytest.mark.parametrize("env", [Snake(size=8, window=5), Gym("CartPole-v1")])
def test_steps_and_episodes_are_counted_as_rllib_counts_them(env):
    runner = runner_of(env, 5)
    chunks = [one for _ in range(6) for one in runner.sample(num_timesteps=100)]
    tallies = counted_of(runner)
    assert sum(tally.env_steps for tally in tallies) == sum(len(chunk) for chunk in chunks)
    scores = [score for tally in tallies for score in tally.scores]
    assert len(scores) == sum(chunk.is_done for chunk in chunks) > 5
    if not isinstance(env, Snake):  # whose score is food, not reward
        lengths = [length for tally in tallies for length in tally.lengths]
        assert lengths == scores
    runner.stop()


def test_no_two_runners_begin_alike():
    first, other = runner_of(Gym("CartPole-v1"), 2), runner_of(Gym("CartPole-v1"), 2)
    again = first.env.unwrapped.seed
    assert again == other.env.unwrapped.seed
    from hydrahive.rllib.runners import seed

    seed(other, since=100)
    assert other.env.unwrapped.seed != again
    other.worker_index = 2
    seed(other)
    assert other.env.unwrapped.seed != again


@pytest.mark.parametrize("name", ["PPO", "DQN"])
def test_masks_hold_and_worlds_begin_anew(name):
    """Connect four ends with -1 and all others 0 at the first illegal move; with masks nobody makes one."""
    pytest.importorskip("pettingzoo.classic.connect_four_v3")
    from hydrahive.rllib.masks import module_spec
    from hydrahive.rllib.shown import spaces_of

    env = PettingZoo("pettingzoo.classic.connect_four_v3")
    vector = env.make_vector(2)
    built = configured(Rllib(name, {}), env, 7, 0)
    from functools import partial

    from ray.tune.registry import register_env

    register_env(ENV, partial(make_env, env))
    built.rl_module(rl_module_spec=module_spec(built, *spaces_of(vector)))
    runner = built.env_runner_cls(config=built, worker_index=1)
    episodes = [one for _ in range(4) for one in runner.sample(num_timesteps=60)]
    for episode in episodes:
        for agent in episode.agent_ids:
            single = episode.agent_episodes[agent]
            seen, actions = single.get_observations(), single.get_actions()
            for t, action in enumerate(actions):
                assert seen["action_mask"][t][action] == 1
    done = [episode for episode in episodes if episode.is_done]
    tallies = counted_of(runner)
    assert sum(len(tally.scores) for tally in tallies) == 2 * len(done) > 4
    assert all(abs(score) in (0, 1) for tally in tallies for score in tally.scores)
    runner.stop()


def test_a_swarm_is_a_world_of_several():
    runner = runner_of(Swarm(), 1)
    episodes = runner.sample(num_timesteps=30)
    agents = Swarm().group
    assert sum(tally.env_steps for tally in counted_of(runner)) == agents * sum(len(one) for one in episodes)
    runner.stop()
