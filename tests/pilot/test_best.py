"""The best boundary, and falls from it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hydrahive.pilot.best import Champions, Falling
from hydrahive.pilot.config import Rollback
from hydrahive.pilot.seen import Validation


def seen(*means: float, error: float = 1.0) -> list[Validation]:
    return [Validation(i + 1, 10 * i, float(mean), error) for i, mean in enumerate(means)]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), st.floats(0, 1e3))
def test_the_best_is_never_lowered_and_the_top_holds_the_highest(means, error):
    champions, before = Champions(3, 2.0), None
    for one in seen(*means, error=error):
        champions.take(one)
        assert before is None or champions.best.mean >= before
        before = champions.best.mean
    assert champions.ranked[0].mean == max(means)
    assert champions.best.updates in champions.held
    assert len(champions.ranked) <= 3


def test_a_score_beyond_noise_is_the_best_at_once():
    champions = Champions(3, 2.0)
    first, lucky, better = seen(10, 12, 13)
    assert champions.take(first) == "the first"
    assert champions.take(lucky) is None, "2 above, noise 2.8"
    assert "above the best" in champions.take(better)
    assert champions.best is better


def test_three_in_a_row_above_it_confirm_the_highest_of_them():
    champions = Champions(2, 2.0)
    for one in seen(10, 11, 12):
        champions.take(one)
    assert champions.best.mean == 10
    assert champions.take(Validation(4, 40, 11.5, 1.0)) is not None
    assert champions.best.mean == 12
    assert {1} - champions.held, "it may be forgotten"


def test_one_below_begins_the_count_anew():
    champions = Champions(3, 2.0)
    for one in seen(10, 11, 12, 9, 11, 12):
        champions.take(one)
    assert champions.best.mean == 10


def test_a_fall_is_confirmed_by_validations_and_by_training():
    falling, height = Falling(Rollback()), [100.0] * 12
    both = [falling.take(seen(*height, *([20.0] * n)), [*height, *([20.0] * n)], 2.0) for n in range(1, 8)]
    assert any(both)
    falling = Falling(Rollback())
    only = [falling.take(seen(*height, *([20.0] * n)), [*height, *([100.0] * n)], 2.0) for n in range(1, 8)]
    assert not any(only)


def test_a_run_that_has_just_begun_does_not_fall():
    falling = Falling(Rollback())
    scores = [9.0, 60.0, 60.0, 60.0, 9.0, 9.0, 9.0, 9.0, 9.0]
    assert not any(falling.take(seen(*scores[:n]), scores[:n], 2.0) for n in range(1, 10))


def test_an_average_is_of_those_near_the_best():
    champions = Champions(3, 2.0)
    for one in seen(100, 95, 50):
        champions.take(one)
    assert [one.mean for one in champions.averaged()] == [100, 95]
    alone = Champions(3, 2.0)
    for one in seen(100, 50):
        alone.take(one)
    assert alone.averaged() == []
