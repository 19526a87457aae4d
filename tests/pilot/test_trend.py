"""Statistics of curves, against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

from hydrahive.core.streams import stream
from hydrahive.pilot.trend import (
    incomplete_beta,
    lag_one_correlation,
    regime_of,
    slope_of,
    smoothed,
    t_tails,
    unrest,
)


def test_the_beta_function_is_scipys():
    random = stream(1, "beta", 0)
    for _ in range(2000):
        a, b, x = random.uniform(0.3, 80), random.uniform(0.3, 80), random.uniform()
        assert incomplete_beta(x, a, b) == pytest.approx(special.betainc(a, b, x), abs=1e-12)
    assert incomplete_beta(0.0, 2, 3) == 0.0
    assert incomplete_beta(1.0, 2, 3) == 1.0


@pytest.mark.parametrize("freedom", [1, 1.5, 4, 30, 300])
def test_students_tails_are_scipys(freedom):
    for t in np.linspace(-30, 30, 61):
        assert t_tails(float(t), freedom) == pytest.approx(2 * stats.t.sf(abs(t), freedom), abs=1e-12)


def test_a_slope_without_correlation_has_the_textbooks_probability():
    values = stream(2, "slope", 0).standard_normal(12) + 0.2 * np.arange(12)
    line, known = slope_of(values), stats.linregress(np.arange(12), values)
    assert line.effective == 12, "these draws are not correlated"
    assert line.slope == pytest.approx(known.slope)
    assert line.probability == pytest.approx(known.pvalue)
    assert line.rise == pytest.approx(known.slope * 11)


def test_correlated_points_count_as_fewer():
    """n (1 - r) / (1 + r), where r is beyond 2 / sqrt(n)."""
    values = np.sin(np.arange(24) / 3)
    line = slope_of(values)
    assert line.correlation > 2 / np.sqrt(24)
    assert line.effective == pytest.approx(max(3.0, 24 * (1 - line.correlation) / (1 + line.correlation)))
    assert line.probability > stats.linregress(np.arange(24), values).pvalue


def test_of_flat_noise_so_many_slopes_are_believed_as_was_said():
    """At a significance of 5%, 20,000 draws: within four standard errors."""
    random = stream(3, "flat", 0)
    believed = [slope_of(random.standard_normal(10)).probability < 0.05 for _ in range(20_000)]
    assert abs(np.mean(believed) - 0.05) < 4 * np.sqrt(0.05 * 0.95 / 20_000)


@pytest.mark.parametrize("values", [[], [3.0], [3.0, 5.0], [3.0, 5.0, 9.0]])
def test_few_points_say_nothing(values):
    line = slope_of(np.array(values)) if values else None
    assert line is None or line.probability == 1.0
    assert len(smoothed(values, 2)) == len(values)
    assert regime_of(values[:2], 0.1, 0.1) == "ranging"


def test_points_on_a_line_are_certain_and_those_that_stand_are_not():
    assert slope_of(np.arange(8.0)).probability == 0.0
    assert slope_of(np.full(8, 3.0)).probability == 1.0
    assert lag_one_correlation(np.full(8, 3.0)) == 0.0


def test_a_smoothed_curve_begins_with_what_there_is():
    assert smoothed([1, 3, 5, 7], 2).tolist() == [1, 2, 4, 6]


def test_ups_and_downs_are_a_normal_deviation_that_one_fall_does_not_move():
    values = stream(4, "unrest", 0).standard_normal(4000) * 3
    assert unrest(values.tolist()) == pytest.approx(3, rel=0.05)
    fallen = np.concatenate([values[:2000], values[2000:] - 1000])
    assert unrest(fallen.tolist()) == pytest.approx(unrest(values.tolist()), rel=0.01)
    assert unrest([5.0]) == 0.0


@pytest.mark.parametrize(
    ("values", "regime"),
    [
        (100 + 5 * np.arange(10), "trending"),
        (100 - 5 * np.arange(10), "trending"),
        (np.full(10, 100.0), "ranging"),
        (100 + 40 * (-1.0) ** np.arange(10), "volatile"),
    ],
)
def test_regimes(values, regime):
    assert regime_of(values.tolist(), 0.15, 0.01) == regime
