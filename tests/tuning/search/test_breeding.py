"""Who copies whom is a function of the scores and the sweep's seed."""

from hypothesis import given
from hypothesis import strategies as st

from hydrahive.pilot.space import Choice, Range
from hydrahive.tuning.config import Pbt
from hydrahive.tuning.search.breeding import donors, explored, ranked

SCORES = st.dictionaries(st.integers(0, 30), st.none() | st.floats(-100, 100), min_size=2, max_size=20)
DOMAINS = {"a.rate": Range(1e-4, 1e-2, log=True), "a.discount": Choice((0.9, 0.95, 0.99))}


@given(scores=SCORES, quantile=st.floats(0.01, 0.5), seed=st.integers(0, 9), most=st.booleans())
def test_the_worst_copy_the_best(scores, quantile, seed, most):
    chosen = donors(Pbt(quantile=quantile), seed, 3, scores, most_is_best=most)
    order = ranked(scores, most_is_best=most)
    count = min(max(1, int(len(scores) * quantile)), len(scores) // 2)
    best = {trial for trial in order[:count] if scores[trial] is not None}
    assert set(chosen) == (set(order[len(order) - count :]) if best else set())
    assert set(chosen.values()) <= best
    assert not set(chosen) & set(chosen.values())
    assert chosen == donors(Pbt(quantile=quantile), seed, 3, dict(reversed(scores.items())), most_is_best=most)


def test_without_a_score_a_trial_is_the_worst_either_way():
    scores = {0: None, 1: -5.0, 2: 7.0, 3: 7.0}
    assert ranked(scores, most_is_best=True) == [2, 3, 1, 0]
    assert ranked(scores, most_is_best=False) == [1, 2, 3, 0]


def test_milestones_and_trials_draw_for_themselves():
    values = {"a.rate": 1e-3, "a.discount": 0.95}
    moved = [explored(Pbt(), 0, m, t, values, DOMAINS) for m in range(8) for t in range(8)]
    assert len({tuple(one.items()) for one in moved}) > 20
    assert explored(Pbt(), 0, 2, 5, values, DOMAINS) == moved[2 * 8 + 5]
    assert explored(Pbt(), 1, 2, 5, values, DOMAINS) != moved[2 * 8 + 5]


def test_values_move_by_a_factor_or_are_drawn_anew():
    values = {"a.rate": 1e-3, "a.discount": 0.95}
    moved = [explored(Pbt(resample=0.0), 0, m, 0, values, DOMAINS)["a.rate"] for m in range(40)]
    assert {round(value / 1e-3, 9) for value in moved} == {0.8, 1.25}
    drawn = {explored(Pbt(resample=1.0), 0, m, 0, values, DOMAINS)["a.rate"] for m in range(40)}
    assert len(drawn) == 40


def test_values_that_do_not_go_together_are_not_moved_together():
    """A11: half of all moves of two clips, the one at most the other, were refused, and their trials lost."""
    domains = {"a.c": Range(0.1, 4.0, log=True), "a.rho": Range(0.1, 4.0, log=True)}

    def accepts(values):
        return values["a.c"] <= values["a.rho"]

    values, seen = {"a.c": 1.0, "a.rho": 1.0}, set()
    for milestone in range(60):
        moved = explored(Pbt(), 0, milestone, 0, values, domains, accepts)
        assert accepts(moved)
        seen.add(tuple(moved.values()))
    free = [explored(Pbt(), 0, m, 0, values, domains) for m in range(60)]
    assert sum(not accepts(one) for one in free) > 10
    assert all(tuple(one.values()) in seen for one in free if accepts(one)), "what goes together is moved as ever"
