"""Rows against lists of frames, priorities against sums, and a memory that is restored."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hydrahive.core.fragment import MASKED
from hydrahive.core.replayed import Draw, Judgement
from hydrahive.replay.config import Rows
from hydrahive.replay.sum_tree import SumTree
from replay.rounds import COLUMNS, LAYOUT, STEPS, Rounds

KEPT = 70
"""Steps of each column that the memories here keep: whole rounds of `STEPS`."""


def memory_of(n_step, **options):
    return Rows(capacity=KEPT * COLUMNS, **options).build(replace(LAYOUT, steps=n_step))


def filled(memory, rounds, count):
    for _ in range(count):
        memory.insert(*rounds.next())
    return memory


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), n_step=st.integers(1, 5), next_step=st.booleans())
def test_what_is_drawn_is_what_was_played(seed, n_step, next_step):
    """Every row that is kept and whose next steps are known is drawn, and nothing else; with what came of it."""
    rounds = Rounds(seed, next_step)
    memory = filled(memory_of(n_step), rounds, 17)
    # Frames by (column, number): which episode, and where in it. A reset row takes a step, but no number.
    played = {frame: (frames, i, cut) for frames, cut, _ in rounds.ended for i, frame in enumerate(frames)}
    for frames in rounds.frames:
        played |= {frame: (frames, i, None) for i, frame in enumerate(frames)}
    sample = memory.sample(np.random.default_rng(seed), Draw(3, 4_000))
    drawn = set()
    for batch in sample.transitions:
        for s, frame in enumerate(map(tuple, batch.observations)):
            frames, i, cut = played[frame]
            column = int(frame[0])
            left = len(frames) - i
            steps = min(n_step, left) if cut is not None else n_step
            ends = cut is not None and left <= n_step
            drawn.add(frame)
            assert batch.actions[s] == frame[1]
            assert batch.steps[s] == steps
            rewards = [sum(one) for one in frames[i : i + steps]] + [0] * (n_step - steps)
            np.testing.assert_array_equal(batch.rewards[:, s], rewards)
            assert batch.terminated[s] == (ends and not cut)
            if ends and cut:
                assert tuple(batch.following[s]) == (column, -(frames[-1][1] + 1))
            elif not ends:
                assert tuple(batch.following[s]) == frames[i + steps]
    assert len(drawn) == memory.figures()["replay_drawable"]
    newest = {frame for frames in rounds.frames for frame in frames}
    missing = set(played) - drawn - newest
    # Who is missing is too old, or too new for its next steps to be known.
    for column in range(COLUMNS):
        numbers = sorted(frame[1] for frame in drawn if frame[0] == column)
        assert {number for c, number in missing if c == column and numbers[0] <= number <= numbers[-1]} == set()
        assert rounds.count[column] - 1 - numbers[-1] <= 2 * n_step


@settings(deadline=None, max_examples=30)
@given(
    weights=st.lists(st.integers(0, 2**40), min_size=1, max_size=3_000),
    changes=st.lists(st.tuples(st.integers(0, 2_999), st.integers(0, 2**40)), max_size=40),
)
def test_the_tree_finds_what_a_sum_finds(weights, changes):
    tree, plain = SumTree(len(weights)), np.array(weights, np.int64)
    tree.set(np.arange(len(weights)), plain)
    for place, weight in changes:
        plain[place % len(weights)] = weight
    tree.set(np.array([place % len(weights) for place, _ in changes], np.int64), np.array([w for _, w in changes]))
    assert tree.total == plain.sum()
    if tree.total:
        ranks = np.random.default_rng(0).integers(0, tree.total, 500)
        ranks[:2] = 0, tree.total - 1
        np.testing.assert_array_equal(tree.find(ranks), np.searchsorted(plain.cumsum(), ranks, side="right"))


def test_judged_rows_are_drawn_as_often_as_they_were_far_off():
    memory = filled(memory_of(1, priority_exponent=0.5, priority_epsilon=1e-9), Rounds(1), 10)
    (batch,) = memory.sample(np.random.default_rng(0), Draw(1, 2_000)).transitions
    keys = np.unique(batch.keys)
    errors = np.where(keys % 2, 9.0, 1.0).astype(np.float32)
    memory.judge(Judgement(keys, errors))
    (batch,) = memory.sample(np.random.default_rng(0), Draw(1, 200_000)).transitions
    odd = (batch.keys % 2 == 1).mean()
    expected = 3 * (keys % 2).sum() / np.sqrt(errors).sum()
    assert abs(odd - expected) < 0.01
    np.testing.assert_allclose(batch.probabilities, np.where(batch.keys % 2, 3, 1) / np.sqrt(errors).sum(), rtol=1e-5)
    before = memory.figures()["replay_drawable"]
    memory.judge(Judgement(np.array([-5, 0]), np.ones(2, np.float32)))  # of rows that have left, or never were
    assert memory.figures()["replay_drawable"] == before


@pytest.mark.parametrize("exponent", [0.0, 0.7])
@pytest.mark.parametrize("rounds_before", [5, 40])
def test_a_restored_memory_goes_on_identically(exponent, rounds_before):
    rounds, memory, blocks = Rounds(3), memory_of(3, priority_exponent=exponent), []
    generator = np.random.default_rng(0)
    for round_ in range(rounds_before):
        memory.insert(*rounds.next())
        if memory.can_draw(Draw(1, 16)):
            (batch,) = memory.sample(generator, Draw(1, 16)).transitions
            memory.judge(Judgement(batch.keys, generator.random(16).astype(np.float32) * 5))
        if round_ % 4 == 3 or round_ == rounds_before - 1:
            blocks.append(memory.block_since(str(round_ - round_ % 4)))
    state = memory.state()
    needed = [block for block in blocks if block["numbers"][-1] >= state["oldest"][0]]
    assert len(needed) < 6, "what has left is not needed"
    other = memory_of(3, priority_exponent=exponent)
    other.restore(state, needed, "any")
    for _ in range(30):
        told = rounds.next()
        samples = []
        for one in (memory, other):
            one.insert(*told)
            (batch,) = one.sample(np.random.default_rng(1), Draw(1, 64)).transitions
            one.judge(Judgement(batch.keys, batch.rewards[0] % 7))
            samples.append(batch)
        for name, value in vars(samples[0]).items():
            np.testing.assert_array_equal(value, getattr(samples[1], name), err_msg=name)
        for name, array in memory.state().items():
            np.testing.assert_array_equal(array, other.state()[name], err_msg=name)


def test_agents_that_vanish_without_an_end_teach_nothing_about_where_that_led():
    rounds = Rounds(4)
    memory = memory_of(2)
    for _ in range(4):
        fragments, summaries = rounds.next()
        fragments[0].valid[2:5, 0] = False
        memory.insert(fragments, summaries)
    (batch,) = memory.sample(np.random.default_rng(0), Draw(1, 3_000)).transitions
    times = np.unique(batch.keys[batch.keys % COLUMNS == 0] // COLUMNS)
    assert not np.isin(times % STEPS, [2, 3, 4]).any(), "nobody played in these rows"
    assert not np.isin(times % STEPS, [0, 1]).all()


def test_stacked_frames_are_kept_once_and_laid_out_as_they_were_seen():
    """Against the fragments' own whole observations, also where an episode has just begun, or the ring goes round."""
    stack, rounds = 3, Rounds(5)
    layout = replace(LAYOUT, observation_shape=(stack, 2), stack=stack, steps=2)
    memory = Rows(capacity=KEPT * COLUMNS).build(layout)
    seen = {}
    tail = np.zeros((stack - 1, COLUMNS, 2), np.float32)
    for round_ in range(25):
        fragments, summaries = rounds.next()
        stacked = []
        for shard, fragment in enumerate(fragments):
            own = slice(2 * shard, 2 * shard + 2)
            frames = np.concatenate([tail[:, own], fragment.observations])
            cuts = np.stack([fragment.cut_observations] * stack, axis=1)
            stacked.append(replace(fragment, observations=frames, cut_observations=cuts))
            whole = stacked[-1].whole_observations()
            for t in range(STEPS):
                for b in range(2):
                    seen[round_ * STEPS + t, own.start + b] = whole[t, b]
        ended = np.concatenate([f.terminated[-1] | f.truncated[-1] for f in fragments])
        frames = np.concatenate([f.observations[-stack:-1] for f in stacked], axis=1)
        begun = np.concatenate([f.terminated | f.truncated for f in fragments], axis=1)
        for age in range(stack - 1):  # of a new episode earlier frames show nothing
            frames[: stack - 1 - age, begun[-1 - age]] = 0
        tail = np.where(ended[None, :, None], 0, frames).astype(np.float32)
        memory.insert(stacked, summaries)
    assert Rows(capacity=100).stored_bytes(layout) < 100 * (layout.frame_bytes - 2 * 2 * 4)
    (batch,) = memory.sample(np.random.default_rng(0), Draw(1, 2_000)).transitions
    for s, key in enumerate(batch.keys.tolist()):
        np.testing.assert_array_equal(batch.observations[s], seen[divmod(key, COLUMNS)])


def test_what_is_legal_where_a_row_led_to():
    memory = Rows(capacity=KEPT * COLUMNS).build(replace(LAYOUT, masks=3))
    rounds = Rounds(6)
    for _ in range(6):
        fragments, summaries = rounds.next()
        for fragment in fragments:
            odd = fragment.observations[:-1, :, 1] % 2 == 1
            fragment.behaviour[..., 0] = np.where(odd, np.float32(MASKED), -np.inf)
        memory.insert(fragments, summaries)
    (batch,) = memory.sample(np.random.default_rng(0), Draw(1, 1_000)).transitions
    going_on = ~batch.terminated & (batch.following[:, 1] > 0)
    np.testing.assert_array_equal(batch.legal[going_on, 0], batch.following[going_on, 1] % 2 == 0)
    assert batch.legal[:, 1:].all()
    assert batch.legal[batch.terminated].all()


def test_memory_is_close_to_the_raw_rows():
    layout = replace(LAYOUT, columns=32, fragment_length=32, observation_shape=(4, 84, 84), stack=4)
    layout = replace(layout, observation_dtype=np.dtype(np.uint8))
    config = Rows(capacity=50_000)
    assert config.build(layout).nbytes <= 1.05 * config.stored_bytes(layout)
    assert replace(config, capacity=1_000_000).stored_bytes(layout) < 8e9
