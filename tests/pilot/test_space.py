"""Domains: what they draw, what is near, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydrahive.core.errors import ConfigError
from hydrahive.pilot.space import Choice, Range, domain_of

NUMBERS = st.floats(1e-6, 1e6)


@given(low=NUMBERS, width=NUMBERS, log=st.booleans(), seed=st.integers(0, 2**31), value=st.floats(0, 1))
def test_a_range_draws_and_moves_within_its_ends(low, width, log, seed, value):
    domain, random = Range(low, low + width, log), np.random.default_rng(seed)
    inside = low + value * width
    for drawn in (domain.drawn(random), domain.neighbour(inside, random, (0.8, 1.25)), *domain.grid(4)):
        assert low <= drawn <= low + width
        assert isinstance(drawn, float)


@given(low=st.integers(1, 50), width=st.integers(1, 50), log=st.booleans(), seed=st.integers(0, 2**31))
def test_whole_numbers_stay_whole_and_move_if_they_can(low, width, log, seed):
    domain, random = Range(low, low + width, log, whole=True), np.random.default_rng(seed)
    assert {type(value) for value in (domain.drawn(random), *domain.grid(3), *domain.extremes())} == {int}
    moved = domain.neighbour(low, random, (0.99, 1.01))
    assert moved in (low, low + 1)


def test_logarithms_spread_values_over_orders_of_magnitude():
    random = np.random.default_rng(0)
    drawn = np.array([Range(1e-4, 1e-2, log=True).drawn(random) for _ in range(2000)])
    assert 0.45 < (drawn < 1e-3).mean() < 0.55
    assert Range(1, 100, log=True).grid(3) == pytest.approx([1, 10, 100])


def test_every_whole_number_of_a_range_is_as_likely():
    random = np.random.default_rng(0)
    counts = np.bincount([Range(1, 3, whole=True).drawn(random) for _ in range(3000)])
    assert counts[1:].min() > 900


def test_a_choice_moves_to_what_stands_beside_it():
    domain, random = Choice(("a", "b", "c")), np.random.default_rng(0)
    assert {domain.neighbour("b", random, (0.5, 2.0)) for _ in range(50)} == {"a", "c"}
    assert {domain.neighbour("a", random, (0.5, 2.0)) for _ in range(50)} == {"a", "b"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ({"normal": [0, 1]}, "one of uniform"),
        ([0, 1], "one of uniform"),
        ({"uniform": [1, 0]}, "the first is smaller"),
        ({"uniform": [0, 1, 2]}, "two finite numbers"),
        ({"uniform": [0, float("inf")]}, "finite"),
        ({"uniform": ["a", "b"]}, "two finite numbers"),
        ({"log_uniform": [0, 1]}, "above 0"),
        ({"integer": [0.5, 2]}, "whole"),
        ({"choice": []}, "not empty"),
        ({"choice": [1], "uniform": [0, 1]}, "one of uniform"),
    ],
)
def test_what_is_no_domain_is_refused_by_its_key(text, says):
    with pytest.raises(ConfigError, match=says) as refused:
        domain_of("algorithm.discount", text)
    assert str(refused.value).startswith("space.algorithm.discount: ")
