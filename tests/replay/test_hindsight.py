"""Rows with other goals against lists of frames; what an environment says of goals, held against what it gives."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from hydrahive.core.errors import ConfigError
from hydrahive.core.replayed import Draw
from hydrahive.envs.gym.config import Gym
from hydrahive.replay.config import Hindsight
from hydrahive.replay.episodes import JudgedGoals
from replay.rounds import COLUMNS, LAYOUT, Rounds

KEPT = 70
STRATEGIES = ("future", "final", "episode")


def judge(achieved, desired):
    """What was reached is the frame's number; every seventh goal ends the episode when it is reached."""
    return 1000 * desired[:, 0] + achieved[:, 0], (desired == achieved)[:, 0] & (desired[:, 0] % 7 == 0)


GOALS = JudgedGoals(achieved=slice(1, 2), desired=slice(0, 1), judge=judge)


def memory_of(n_step, goals="future", **options):
    layout = replace(LAYOUT, steps=n_step, goals=GOALS)
    return Hindsight(capacity=KEPT * COLUMNS, goals=goals, **options).build(layout)


def filled(memory, rounds, count):
    for _ in range(count):
        memory.insert(*rounds.next())
    return memory


def reachable(goals, frames, i, cut, newest, oldest):
    """Numbers that an episode reached: later than its frame i, at its end, or at any time."""
    later = [frame[1] for frame in frames[i + 1 :]]
    if cut:
        later.append(-(frames[-1][1] + 1))  # its last observation
    if cut is None:
        later = [number for number in later if number <= newest]
    if goals == "final":
        return set(later[-1:])
    return (
        set(later) if goals == "future" else {number for _, number in frames if oldest <= number <= newest} | set(later)
    )


@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 2**32 - 1), n_step=st.integers(1, 4), next_step=st.booleans(), goals=st.sampled_from(STRATEGIES)
)
def test_goals_are_what_the_episode_reached_and_rewards_what_they_are_worth(seed, n_step, next_step, goals):
    rounds = Rounds(seed, next_step)
    memory = filled(memory_of(n_step, goals), rounds, 17)
    played = {frame: (frames, i, cut) for frames, cut, _ in rounds.ended for i, frame in enumerate(frames)}
    for frames in rounds.frames:
        played |= {frame: (frames, i, None) for i, frame in enumerate(frames)}
    by_number = {frame[1] + 10_000 * frame[0]: frame for frame in played}
    (batch,) = memory.sample(np.random.default_rng(seed), Draw(1, 6_000)).transitions
    places = memory._rows.places(batch.keys)
    plain = memory._rows.transitions(places, batch.probabilities, batch.rows)
    seen, others = {}, 0
    for s in range(len(batch.keys)):
        column, number = (int(value) for value in plain.observations[s])
        frames, i, cut = played[by_number[number + 10_000 * column]]
        goal = int(batch.observations[s][0])
        assert batch.observations[s][1] == number, "nothing but the goal is another"
        np.testing.assert_array_equal(batch.actions[s], plain.actions[s])
        if plain.terminated[s] or (goal == column and not relabels(batch, plain, s)):
            np.testing.assert_array_equal(batch.rewards[:, s], plain.rewards[:, s])
            continue
        others += 1
        oldest = min(f[1] for f in played if f[0] == column and f[1] >= rounds.count[column] - KEPT - 1)
        assert goal in reachable(goals, frames, i, cut, rounds.count[column] - 1, oldest)
        seen.setdefault((column, number), set()).add(goal)
        steps, ended = int(plain.steps[s]), False
        for k in range(n_step):
            end = int(plain.following[s][1]) if k == steps - 1 else number + k + 1
            expected = 0.0 if ended or k >= steps else 1000 * goal + end
            assert batch.rewards[k, s] == np.float32(expected)
            if not ended and k < steps and end == goal and goal % 7 == 0:
                ended = True
                assert batch.steps[s] == k + 1
        assert batch.terminated[s] == ended
        if not ended:
            assert batch.steps[s] == steps
            assert batch.following[s][0] == goal
            assert batch.following[s][1] == plain.following[s][1]
    assert others > 0.5 * (~plain.terminated).sum(), "four of five, where something was reached later"


def relabels(batch, plain, s):
    return not np.array_equal(batch.rewards[:, s], plain.rewards[:, s])


def test_one_of_five_rows_keeps_its_goal():
    memory = filled(memory_of(1), Rounds(4), 10)
    (batch,) = memory.sample(np.random.default_rng(0), Draw(1, 20_000)).transitions
    plain = memory._rows.transitions(memory._rows.places(batch.keys), batch.probabilities, batch.rows)
    able = ~plain.terminated
    share = (batch.rewards != plain.rewards)[0][able].mean()
    assert 0.72 < share < 0.81  # 0.8 but for the newest, behind which nothing was reached yet


@pytest.mark.parametrize("goals", STRATEGIES)
@pytest.mark.parametrize("rounds_before", [5, 40])
def test_a_restored_memory_goes_on_identically(goals, rounds_before):
    rounds, memory, blocks = Rounds(3), memory_of(3, goals), []
    for round_ in range(rounds_before):
        memory.insert(*rounds.next())
        if round_ % 4 == 3 or round_ == rounds_before - 1:
            blocks.append(memory.block_since(str(round_ - round_ % 4)))
    state = memory.state()
    other = memory_of(3, goals)
    other.restore(state, [block for block in blocks if block["numbers"][-1] >= state["oldest"][0]], "any")
    for number in range(30):
        drawn = [one.sample(np.random.default_rng(number), Draw(2, 32)).transitions for one in (memory, other)]
        for mine, theirs in zip(*drawn, strict=True):
            for name, value in vars(mine).items():
                np.testing.assert_array_equal(value, getattr(theirs, name), name)
        round_ = rounds.next()
        memory.insert(*round_)
        other.insert(*round_)


class Target(gymnasium.Env):
    """Move a point to another; `wrong` says what is wrong with what is said of goals."""

    def __init__(self, wrong=None, ends=False):
        box = spaces.Box(-10, 10, (2,), np.float64)
        self.observation_space = spaces.Dict({"observation": box, "achieved_goal": box, "desired_goal": box})
        self.action_space = spaces.Box(-1, 1, (2,), np.float32)
        self.wrong, self.calls = wrong, 0
        if ends:
            self.compute_terminated = lambda achieved, desired, info: self._is_there(achieved, desired)
        if wrong == "none":
            self.compute_reward = None

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at, self.goal = self.np_random.uniform(-1, 1, (2, 2))
        return self._seen(), {}

    def step(self, action):
        self.at = np.clip(self.at + action, -10, 10)
        reward = float(-np.linalg.norm(self.at - self.goal))
        ended = hasattr(self, "compute_terminated") and self._is_there(self.at, self.goal)
        return self._seen(), reward, ended, False, {"extra": 1.0}

    def _is_there(self, achieved, desired):
        return bool(np.linalg.norm(np.subtract(achieved, desired)) < 0.5)

    def _seen(self):
        return {"observation": self.at.copy(), "achieved_goal": self.at.copy(), "desired_goal": self.goal.copy()}

    def compute_reward(self, achieved, desired, info):
        self.calls += 1
        apart = -np.linalg.norm(np.subtract(achieved, desired), axis=-1)
        if self.wrong == "another":
            return apart + 1
        if self.wrong == "needs infos":
            return apart * info["extra"]
        if self.wrong == "where it stands":
            return apart + float(np.allclose(achieved[-1], self.at[-1])) + self.np_random.random() * 1e-2
        if self.wrong == "counts":
            return apart + 0.001 * (self.calls > 60)
        if self.wrong == "one at a time":
            assert np.ndim(achieved) == 1
        return apart


class Flat(Target):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.observation_space = spaces.Box(-10, 10, (2,), np.float64)


gymnasium.register("Target-v0", Target, max_episode_steps=20)
gymnasium.register("FlatTarget-v0", Flat, max_episode_steps=20)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("none", "one with compute_reward"),
        ("another", "says the same as it gave in those steps"),
        ("needs infos", "needs the two goals only (KeyError"),
        ("where it stands", "says the same as it"),
        ("counts", "says the same as it said before"),
    ],
)
def test_rewards_that_are_no_function_of_goals_are_refused_in_a_line(wrong, says):
    with pytest.raises(ConfigError) as refusal:
        Gym("Target-v0", kwargs={"wrong": wrong}).goal_judge()
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_environments_without_goals_are_refused():
    for config in (Gym("CartPole-v1"), Gym("FlatTarget-v0")):
        with pytest.raises(ConfigError, match="a Dict with observation, achieved_goal and desired_goal"):
            config.goal_judge()


@pytest.mark.parametrize("wrong", [None, "one at a time"])
@pytest.mark.parametrize("ends", [False, True])
def test_what_goals_are_worth_is_what_the_environment_says(wrong, ends):
    config = Gym("Target-v0", kwargs={"wrong": wrong, "ends": ends})
    achieved, desired = np.random.default_rng(0).normal(size=(2, 30, 2)).astype(np.float32)
    worth, ended = config.goal_judge()(achieved, desired)
    apart = np.linalg.norm(achieved.astype(np.float64) - desired, axis=-1)
    np.testing.assert_allclose(worth, -apart, rtol=1e-6)
    assert worth.dtype == np.float32
    np.testing.assert_array_equal(ended, (apart < 0.5) & ends)
