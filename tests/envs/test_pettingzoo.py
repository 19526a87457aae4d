"""Parallel environments of many agents: their order, who has left, and what is refused."""

import sys

import numpy as np
import pytest

from conftest import ROOT
from hydrahive.core.errors import ConfigError, HydrahiveError
from hydrahive.envs.pettingzoo.config import PettingZoo

sys.path.append(str(ROOT / "tests" / "games"))


def test_agents_that_leave_are_absent_until_the_world_begins_anew():
    env = PettingZoo("leaving").make_vector(6)
    first, _ = env.reset(seed=1)
    assert first.tolist() == [[0, 0], [1, 0], [2, 0]] * 2
    present = [[True] * 3, [True] * 3, [False, True, True], [False, False, True]]
    ends = [[False] * 3, [True, False, False], [False, True, False], [False, False, True]]
    for step in range(4):
        here = env.present()
        assert (np.ones(6, bool) if here is None else here).tolist() == present[step] * 2
        observations, rewards, terminated, truncated, infos = env.step(np.array([0, 1, 2] * 2))
        assert rewards.tolist() == [k * p for k, p in enumerate(present[step])] * 2
        assert (terminated | truncated).tolist() == ends[step] * 2
        for k in np.flatnonzero(terminated | truncated):
            assert infos["final_obs"][k].tolist() == [k % 3, step + 1]
    assert truncated.tolist() == [False, False, True] * 2
    assert not terminated.any()
    assert observations.tolist() == first.tolist()
    assert env.present() is None


def test_a_restored_world_continues_identically():
    config = PettingZoo("pettingzoo.classic.rps_v2", {"max_cycles": 9})
    env, other = config.make_vector(6), config.make_vector(6)
    random = np.random.default_rng(0)
    for _ in range(5):
        env.step(random.integers(0, 3, 6))
    other.restore(env.snapshot())
    for _ in range(20):
        actions = random.integers(0, 3, 6)
        for mine, theirs in zip(env.step(actions)[:4], other.step(actions)[:4], strict=True):
            np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("nowhere.at_all",), "imported"),
        (("pettingzoo.classic.all_modules",), "parallel_env or env"),
        (("leaving", {"speed": 3}), "speed"),
        (("leaving", {"unlike": True}), "agent_0 and agent_1 differ in action_space"),
        (("leaving", {"unlike": True}, "captured", {"all": ["agent_*"]}), "groups: .*differ in action_space"),
        (("leaving", {}, "captured", {"all": ["agent_*"], "one": ["agent_1"]}), "agent_1 is in 2"),
        (("leaving", {}, "captured", {"some": ["agent_1", "agent_0"]}), "agent_2 is in none"),
        (("leaving", {}, "captured", {"all": ["agent_*"], "wolves": ["wolf_*"]}), "agent_0, agent_1, agent_2"),
    ],
)
def test_what_cannot_be_made_is_refused(given, says):
    with pytest.raises(ConfigError, match=says) as refused:
        PettingZoo(*given)
    assert "\n" not in str(refused.value)


def test_groups_see_rows_of_their_own_and_may_do_what_theirs_may():
    groups = {"odd": ["agent_1"], "even": ["agent_0", "agent_2"]}
    env = PettingZoo("leaving", {"unlike": True}, groups=groups).make_vector(3)
    first, _ = env.reset(seed=1)
    assert env.single_observation_space.widths == (2, 2)
    assert first.tolist() == [[0, 0, 0, 1], [1, 0, 1, 0], [2, 0, 0, 1]]
    assert env.single_action_space.n == 3
    assert env.legal_actions().tolist() == [[True] * 3, [True, True, False], [True] * 3]
    for _ in range(5):  # past the world's end, and into the next
        env.step(np.array([2, 1, 2]))
        assert env.legal_actions()[1].tolist() == [True, True, False]


def test_unlike_agents_of_a_game_of_others():
    groups = {"speakers": ["speaker_*"], "listeners": ["listener_*"]}
    config = PettingZoo("mpe2.simple_speaker_listener_v4", groups=groups)
    env, other = config.make_vector(4), config.make_vector(4)
    seen, _ = env.reset(seed=3)
    assert env.single_observation_space.widths == (3, 11)
    assert seen.shape == (4, 13)
    assert not seen[0::2, 3:11].any()
    assert seen[:, 11:].tolist() == [[1, 0], [0, 1]] * 2
    random = np.random.default_rng(0)
    legal = lambda: np.array([random.choice(np.flatnonzero(row)) for row in env.legal_actions()])  # noqa: E731
    for _ in range(7):
        env.step(legal())
    other.restore(env.snapshot())
    for _ in range(60):
        actions = legal()
        for mine, theirs in zip(env.step(actions)[:4], other.step(actions)[:4], strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_a_world_whose_state_cannot_be_taken_out_is_told_what_to_say():
    config = PettingZoo("hydrahive.envs.swarm.swarm_v0", {"agents": 3})
    with pytest.raises(ConfigError, match="snapshots: none"):
        config.make_vector(3)


@pytest.mark.parametrize("game", ["connect_four_v3", "tictactoe_v3"])
def test_players_take_turns_by_masks_and_both_end_with_the_game(game):
    config = PettingZoo(f"pettingzoo.classic.{game}", snapshots="none")
    assert config.group == 2
    env = config.make_vector(6)
    env.reset(seed=0)
    random, games, turn = np.random.default_rng(0), 0, np.zeros(3, np.int64)
    for _ in range(200):
        legal = env.legal_actions().reshape(3, 2, -1)
        for world in range(3):
            waiting = legal[world, 1 - turn[world]]
            assert waiting.tolist() == [True] + [False] * (len(waiting) - 1)
            assert legal[world, turn[world]].any()
        actions = np.array([random.choice(np.flatnonzero(row)) for row in env.legal_actions()])
        _, rewards, terminated, truncated, _ = env.step(actions)
        ended = terminated.reshape(3, 2)
        assert (ended[:, 0] == ended[:, 1]).all()
        assert not truncated.any()
        pairs = rewards.reshape(3, 2)
        assert (pairs.sum(axis=1) == 0).all()
        assert (pairs[~ended[:, 0]] == 0).all()
        games += int(ended[:, 0].sum())
        turn = np.where(ended[:, 0], 0, 1 - turn)
    assert games > 5


def test_turns_can_be_captured_in_the_middle_of_a_game():
    config = PettingZoo("pettingzoo.classic.connect_four_v3")
    env, other = config.make_vector(4), config.make_vector(4)
    env.reset(seed=0)
    random = np.random.default_rng(0)
    legal_of = lambda: np.array([random.choice(np.flatnonzero(row)) for row in env.legal_actions()])  # noqa: E731
    for _ in range(5):
        env.step(legal_of())
    other.restore(env.snapshot())
    for _ in range(60):
        actions = legal_of()
        np.testing.assert_array_equal(env.legal_actions(), other.legal_actions())
        for mine, theirs in zip(env.step(actions)[:4], other.step(actions)[:4], strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_the_dead_stay_dead_and_whose_turn_it_is_may_do_what_the_game_says(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "games"))
    config = PettingZoo("dying", snapshots="none")
    env = config.make_vector(4)
    env.reset(seed=0)
    ends = np.zeros(4, np.int64)
    for _ in range(60):
        actions = np.array([np.flatnonzero(row)[0] for row in env.legal_actions()])
        _, rewards, terminated, truncated, _ = env.step(actions)
        assert not truncated.any()
        ends += terminated
        assert (rewards[terminated] != 0).all()
        if env.present() is None:
            assert len(set(ends.tolist())) == 1, "everybody ends once in a game"
    assert ends[0] > 3


def test_teams_share_what_they_earn(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "games"))
    alone = PettingZoo("far_worlds", kwargs={"does": "unequal"}).make_vector(4)
    team = PettingZoo("far_worlds", kwargs={"does": "unequal"}, team_rewards=True).make_vector(4)
    sides = {"as": ["a"], "bs": ["b"]}
    groups = PettingZoo("far_worlds", kwargs={"does": "unequal"}, team_rewards=True, groups=sides).make_vector(4)
    paid = []
    for env in (alone, team, groups):
        env.reset(seed=1)
        paid.append(env.step(np.zeros(4, np.int64))[1].tolist())
    assert paid == [[1, 3, 1, 3], [2, 2, 2, 2], [1, 3, 1, 3]]


@pytest.mark.parametrize("does", ["coin", "leaves"])
@pytest.mark.parametrize("groups", [None, {"as": ["a"], "bs": ["b"]}])
def test_what_a_world_says_of_itself_stands_behind_what_its_agents_see(monkeypatch, does, groups):
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "games"))
    plain, env = (
        PettingZoo("far_worlds", kwargs={"does": does}, groups=groups, central_state=state).make_vector(4)
        for state in (False, True)
    )
    width = plain.single_observation_space.shape[0]
    assert env.single_observation_space.shape == (width + 2,)
    seen = [env.reset(seed=3)[0]]
    plain.reset(seed=3)
    np.testing.assert_array_equal(seen[0][:, width], [world.coin for world in env.worlds for _ in range(2)])
    for step in range(1, 25):
        kept = env.snapshot()
        own, *_ = plain.step(np.zeros(4, np.int64))
        shown, rewards, terminated, _, infos = env.step(np.zeros(4, np.int64))
        np.testing.assert_array_equal(shown[:, :width], own)
        np.testing.assert_array_equal(shown[:, width + 1], [step % 8] * 4)
        assert (rewards == seen[-1][:, width]).all(), "the coin pays"
        assert (terminated == (step % 8 == 0)).all()
        if step % 8 == 0:
            last = np.stack(infos["final_obs"])
            np.testing.assert_array_equal(last[:, width + 1], [8 if does == "coin" else 7] * 4)
            assert (last[:, width] == seen[-1][:, width]).all(), "of the episode that ended"
        env.restore(kept)
        np.testing.assert_array_equal(env.step(np.zeros(4, np.int64))[0], shown)
        seen.append(shown)
    assert {row[0, width] for row in seen} == {-1, 1}, "both sides of the coin"
    assert any("left" in remark for remark in env.remarks) == (does == "leaves")


@pytest.mark.parametrize(("does", "says"), [("no state", "has no state_space"), ("wide state", r"state\(\)")])
def test_a_world_that_says_nothing_of_itself_or_something_else_is_refused(monkeypatch, does, says):
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "games"))
    with pytest.raises(HydrahiveError, match=says):
        PettingZoo("far_worlds", kwargs={"does": does}, central_state=True).make_vector(2)


def test_four_players_take_turns():
    config = PettingZoo("pettingzoo.classic.texas_holdem_v4", kwargs={"num_players": 4})
    pytest.importorskip("rlcard")
    env, ends = config.make_vector(8), 0
    env.reset(seed=1)
    random = np.random.default_rng(0)
    for _ in range(300):
        legal = env.legal_actions()
        assert (legal.reshape(2, 4, 4)[:, :, 1:].any(axis=2).sum(axis=1) <= 1).all(), (
            "one of them may do more than wait"
        )
        actions = np.array([random.choice(np.flatnonzero(row)) for row in legal])
        _, _, terminated, _, _ = env.step(actions)
        for world in range(2):
            if terminated[4 * world : 4 * world + 4].all():
                ends += 1
    assert ends > 5
