"""ATH against its literal model, and what its users know of it: gears, buckets, events."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hydrahive.core.errors import ConfigError
from hydrahive.replay.config import Ath, Uniform
from hydrahive.replay.episodes import Layout
from replay.ath_model import AthModel
from replay.rounds import COLUMNS, LAYOUT, STEPS, Rounds

SMALL = {"capacity": 600, "gears": [[2, 9], [3, 6], [5, 4], [9, 2]], "buckets": 6}

CONFIGS = st.builds(
    Ath,
    up_threshold=st.integers(8, 20),
    down_threshold=st.integers(0, 8),
    cooldown=st.integers(0, 6),
    record_restarts_cooldown=st.booleans(),
    stagnation_episodes=st.sampled_from([None, 5, 9]),
    reset_episodes=st.sampled_from([None, 20, 31]),
    depth=st.sampled_from(["relative", "absolute"]),
    hunting=st.booleans(),
    **{key: st.just(value) for key, value in SMALL.items()},
)


@settings(deadline=None, max_examples=40)
@given(config=CONFIGS, seed=st.integers(0, 2**32 - 1), next_step=st.booleans())
def test_the_fast_replay_agrees_with_the_literal_model(config, seed, next_step):
    replay, model, rounds = config.build(LAYOUT), AthModel(config), Rounds(seed, next_step)
    told = 0
    for _ in range(40):
        replay.insert(*rounds.next())
        for ended in rounds.ended[told:]:
            model.finish(*ended)
        told = len(rounds.ended)
        assert replay.gearbox.state.gear == model.gear
        assert replay.stagnant == (model.alerts > 0)
        assert replay.bucket_counts() == model.counts(model.gear)
        assert replay.frames == sum(len(frames) + cut for frames, cut in model.episodes)
        count = config.table()[model.gear - 1][1]
        which, where = np.random.default_rng(rounds.round).random((2, count))
        expected = model.draw(count, which, where)
        assert replay.can_draw() == (expected is not None)
        if expected is not None:
            compare(replay.draw(np.random.default_rng(rounds.round)), expected, model)


def compare(drawn, expected, model):
    """Sequences against lists of frames: what they hold, where they lead to, and how they end."""
    assert drawn.observations.shape[0] == len(drawn.actions) + 1
    ends = {frames[-1]: cut for frames, cut in model.episodes}
    for s, frames in enumerate(expected):
        length = len(frames)
        np.testing.assert_array_equal(drawn.valid[:, s], np.arange(len(drawn.actions)) < length)
        np.testing.assert_array_equal(drawn.observations[:length, s], frames)
        np.testing.assert_array_equal(drawn.actions[:length, s], [frame[1] for frame in frames])
        np.testing.assert_array_equal(drawn.rewards[:length, s], [sum(frame) for frame in frames])
        column, last = frames[-1]
        is_end, cut = frames[-1] in ends, ends.get(frames[-1], False)
        assert drawn.terminated[length - 1, s] == (is_end and not cut)
        assert drawn.truncated[length - 1, s] == cut
        assert drawn.terminated[:, s].sum() + drawn.truncated[:, s].sum() == is_end
        if cut or not is_end:
            leads_to = (column, -(last + 1)) if cut else (column, last + 1)
            assert tuple(drawn.observations[length, s]) == leads_to


@settings(deadline=None, max_examples=20)
@given(config=st.one_of(CONFIGS, st.just(Uniform(capacity=600, sequence=4, batch=6))), seed=st.integers(0, 2**32 - 1))
def test_a_restored_replay_goes_on_identically_and_its_blocks_hold_only_what_is_new(config, seed):
    replay, rounds = config.build(LAYOUT), Rounds(seed)
    replay.mark("0")
    blocks = []
    for cut in range(4):
        for _ in range(7):
            replay.insert(*rounds.next())
        state = replay.state()
        blocks.append(replay.block_since(str(cut)))
        replay.mark(str(cut + 1))
    numbers = [number for block in blocks for number in block["numbers"]]
    assert sorted(set(numbers)) == numbers, "no episode is written twice"
    replay.take_events()
    other = config.build(LAYOUT)
    other.restore(state, blocks, "4")
    for _ in range(10):
        fragments, summaries = rounds.next()
        replay.insert(fragments, summaries)
        other.insert(fragments, summaries)
        for name, array in replay.state().items():
            np.testing.assert_array_equal(array, other.state()[name], err_msg=name)
        assert replay.can_draw() == other.can_draw()
        if replay.can_draw():
            drawn = [one.draw(np.random.default_rng(seed)) for one in (replay, other)]
            for name in vars(drawn[0]):
                np.testing.assert_array_equal(getattr(drawn[0], name), getattr(drawn[1], name), err_msg=name)
    assert replay.take_events() == other.take_events()


def test_uniform_draws_every_chunk_equally_often():
    replay, rounds = Uniform(capacity=300, sequence=3, batch=50).build(LAYOUT), Rounds(5)
    for _ in range(60):
        replay.insert(*rounds.next())
    generator, seen, rows = np.random.default_rng(0), {}, set()
    for _ in range(400):
        sequences = replay.draw(generator)
        for first in map(tuple, sequences.observations[0]):
            seen[first] = seen.get(first, 0) + 1
        rows |= set(map(tuple, sequences.observations[:-1][sequences.valid]))
    stored = [episode.number for episode in replay._episodes.values()]
    assert rows == {frame for number in stored for frame in rounds.ended[number][0]}, "every row is drawn, L7"
    counts = np.array(list(seen.values()))
    assert len(counts) == replay._available()
    assert abs(counts / counts.mean() - 1).max() < 0.35


@pytest.mark.parametrize("memory", [0, 3])
def test_an_episode_that_never_ends_does_not_fill_the_memory(memory):
    """It is given up; those that come after it are kept whole."""
    replay, rounds = Ath(**SMALL, states_every=2).build(replace(LAYOUT, memory=memory)), Rounds(1, memory=memory)
    rounds.left[0] = 3_000
    for _ in range(450):
        replay.insert(*rounds.next())
        assert replay.unfinished_frames <= 600 + COLUMNS * STEPS
        assert replay.nbytes < 4 * 600 * LAYOUT.frame_bytes + 10_000
    events = [event for event in replay.take_events() if event.kind == "replay_too_long"]
    assert any("3,000 frames" in event.text for event in events)
    assert any(episode.number > events[-1].episode for episode in replay._episodes.values())


def test_the_classic_gears_and_the_formula_are_those_of_the_original():
    assert Ath(gears="classic").table() == (
        (4, 64),
        (8, 32),
        (16, 16),
        (24, 10),
        (32, 8),
        (40, 6),
        (48, 5),
        (56, 4),
        (64, 3),
    )
    formula = Ath().table()
    assert (formula[0], formula[1], formula[-1], len(formula)) == ((4, 128), (6, 85), (54, 9), 26)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"capacity": 1_000}, "capacity"),
        ({"capacity": 1_200, "gears": [[4, 400]]}, "capacity"),
        ({"up_threshold": 10, "down_threshold": 11}, "down_threshold"),
        ({"down_threshold": -1}, "down_threshold"),
        ({"gears": [[4, 8], [0, 4]]}, "gears"),
        ({"gears": [[4, 8], [8, 0]]}, "gears"),
        ({"gears": [[8, 8], [4, 8]]}, "gears"),
        ({"gears": []}, "gears"),
        ({"ratio": 1.5}, "ratio"),
        ({"ratio": -0.1}, "ratio"),
        ({"ratio": float("nan")}, "ratio"),
        ({"buckets": 2}, "buckets"),
        ({"cooldown": -1}, "cooldown"),
        ({"stagnation_episodes": 0}, "stagnation_episodes"),
    ],
)
def test_bad_settings_are_refused(options, key):
    with pytest.raises(ConfigError) as refused:
        Ath(**options)
    assert refused.value.key == key


def test_memory_is_close_to_the_raw_frames():
    layout = Layout(128, 32, (89,), np.dtype(np.float32), 3)
    replay = Ath(capacity=50_000).build(layout)
    assert replay.nbytes <= 1.01 * 50_000 * layout.frame_bytes
