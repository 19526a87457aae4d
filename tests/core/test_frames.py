import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hydrahive.core.frames import stack_rows, whole_observations


@given(st.integers(2, 5), st.integers(1, 9), st.integers(1, 4), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=60)
def test_observations_are_what_an_environment_showed(stack, steps, columns, seed):
    random = np.random.default_rng(seed)
    ended = random.random((steps, columns)) < 0.3
    shown = random.integers(0, 255, (steps + 1, columns, 2), np.uint8)
    first = random.integers(0, 255, (columns, stack, 2), np.uint8)
    first[:, -1] = shown[0]
    observations, now = [first.copy()], first.copy()
    for t in range(steps):
        now[:, :-1] = now[:, 1:]
        now[ended[t], :-1] = 0  # the next episode has shown nothing yet
        now[:, -1] = shown[t + 1]
        observations.append(now.copy())
    frames = np.concatenate([first[:, :-1].swapaxes(0, 1), shown])
    np.testing.assert_array_equal(whole_observations(frames, ended), np.stack(observations))


@pytest.mark.parametrize("stack", [2, 4])
def test_rows_point_behind_the_frames_where_there_was_none(stack):
    rows = stack_rows(np.array([[True], [False]]), stack)
    assert rows[1, 0].tolist() == [2 + stack] * (stack - 1) + [stack]
