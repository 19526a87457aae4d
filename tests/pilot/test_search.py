"""Searches on a learner whose best learning rate is known: scores rise by how near it is."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydrahive.core.streams import stream
from hydrahive.pilot.config import Search
from hydrahive.pilot.helm import Helm
from hydrahive.pilot.search.backoff import Backoff
from hydrahive.pilot.search.momentum import Momentum
from hydrahive.pilot.search.population import Population
from hydrahive.pilot.search.router import Router, fitting
from hydrahive.pilot.search.searching import Searching
from hydrahive.pilot.search.spsa import Spsa

KEY, GOOD = "algorithm.learning_rate", 1.0e-3
SPACE = {KEY: {"log_uniform": [1.0e-5, 1.0e-1]}}


def searched(strategy: str, begin: float, seed: int, probes: int = 60) -> float:
    """The rate that is taken for best in the end; a boundary's score rises most with the good one, less with others."""
    helm = Helm({KEY: begin})
    search = Searching(Search(SPACE, strategy=strategy), helm, seed)
    noise, score, rate = stream(seed, "noise", 0), 0.0, begin
    curve, due = [], begin
    for boundary in range(1, 5 * probes):
        score += 5 * math.exp(-((math.log10(rate / GOOD)) ** 2) / 0.5)
        curve.append((boundary, score + float(noise.standard_normal())))
        rate = due
        search.take(curve, max(s for _, s in curve), boundary + 1, 4)
        due = helm.value(KEY)
    return float(search._ranges[KEY].value_at(float(search._way.point[0])))


@pytest.mark.parametrize(
    ("strategy", "least"), [("spsa", 8), ("momentum", 8), ("backoff", 4), ("population", 4), ("auto", 8)]
)
@pytest.mark.parametrize("begin", [3.0e-5, 3.0e-2])
def test_a_bad_rate_is_moved_near_the_good_one(strategy, least, begin):
    """Within a factor of three, of ten seeds; the population, which learns nothing from where its best lie, least."""
    ended = [searched(strategy, begin, seed) for seed in range(10)]
    near = [abs(math.log10(rate / GOOD)) < math.log10(3) for rate in ended]
    assert sum(near) >= least, (strategy, begin, [f"{rate:.2g}" for rate in ended])


def test_the_same_seed_searches_alike_and_another_does_not():
    assert searched("auto", 3.0e-5, 1) == searched("auto", 3.0e-5, 1)
    assert searched("auto", 3.0e-5, 1) != searched("auto", 3.0e-5, 2)


@pytest.mark.parametrize("kind", [Spsa, Momentum, Backoff, Population])
@given(gains=st.lists(st.floats(-10, 10), min_size=1, max_size=40), place=st.floats(0, 1))
def test_points_stay_inside(kind, gains, place):
    way = kind(np.array([place, 1 - place]), 0.1, 0.15, 3)
    for gain in gains:
        tried = way.next()
        assert ((tried >= 0) & (tried <= 1)).all()
        way.hear(tried, gain)
        assert ((way.point >= 0) & (way.point <= 1)).all()


def test_spsa_goes_where_more_is_gained_and_looks_closer_once_that_is_clear():
    way = Spsa(np.array([0.5]), 0.1, 0.15, 3)
    plus = way.next()
    way.hear(plus, 5.0)
    minus = way.next()
    assert minus == pytest.approx(1 - plus)
    way.hear(minus, -5.0)
    assert np.sign(way.point - 0.5) == np.sign(plus - 0.5)
    assert way.point == pytest.approx(0.5 + 0.15 * np.sign(plus - 0.5))
    assert abs(way.next() - way.point) == pytest.approx(0.08)


def test_spsa_looks_further_where_there_is_nothing_but_noise_and_then_rests():
    way = Spsa(np.array([0.5]), 0.1, 0.15, 3)
    for _ in range(12):
        way.hear(way.next(), 0.0)
    assert way.point == 0.5
    assert way.is_at_rest


def test_which_way_fits():
    steady = list(stream(5, "router", 0).standard_normal(20) * 0.1 + 100)
    assert fitting(steady[:5], 100) == "spsa"
    assert fitting([*steady, 50.0], 100) == "population"
    assert fitting(list(np.arange(20.0) + 100), 119) == "momentum"
    assert fitting([100 + (-1) ** i for i in range(20)], 101) == "backoff"


def test_a_way_is_held_and_another_must_be_wanted_three_times():
    router = Router()
    rising = list(np.arange(20.0) + 100)
    assert [router.route(rising, 119) for _ in range(5)] == [False, False, False, True, False]
    assert router.choice == "momentum"
