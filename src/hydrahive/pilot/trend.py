"""Whether a curve of scores rises, by its slope's t-test; and what kind of curve it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

FEWEST = 4
"""Points below which no slope has an error."""

TINY = 1e-12

CHANCE = 0.05
"""Probability of a slope by chance above which it makes no trend."""


@dataclass(frozen=True)
class Slope:
    """A line through equally spaced points.

    Attributes:
        slope: A point.
        probability: Of a slope this steep, in either direction, where there is none.
        effective: Points that it rests on once those that repeat their neighbours are counted as less.
        correlation: Of the residuals, one point apart.
        rise: Over all points.
    """

    slope: float
    probability: float
    effective: float
    correlation: float
    rise: float


def smoothed(scores: Sequence[float], span: int) -> np.ndarray:
    """Means of the last `span` scores, of fewer at the beginning."""
    values = np.array(scores, np.float64)
    first = [float(values[: i + 1].mean()) for i in range(min(span - 1, len(values)))]
    if len(values) < span:
        return np.array(first)
    return np.concatenate([first, np.lib.stride_tricks.sliding_window_view(values, span).mean(axis=-1)])


def unrest(scores: Sequence[float]) -> float:
    """How much scores go up and down from one to the next: a robust deviation, that one fall does not move.

    Of independent scores successive differences have sqrt(2) times their deviation; 1.4826 times the median absolute
    deviation is a normal one's. Where most scores repeat the one before, as at a cap or without any reward, the median
    says nothing, and von Neumann's mean square does.
    """
    steps = np.abs(np.diff(np.array(scores)))
    if not len(steps):
        return 0.0
    robust = float(np.median(steps)) * 1.4826
    return (robust or math.sqrt(float((steps * steps).mean()))) / math.sqrt(2)


def lag_one_correlation(values: np.ndarray) -> float:
    """r_1 of a series about its mean; 0 of one that stands still."""
    around = values - values.mean()
    power = float((around * around).sum())
    return float((around[1:] * around[:-1]).sum()) / power if power > TINY else 0.0


def slope_of(values: np.ndarray) -> Slope:
    """The least-squares line, and a two-sided t-test of its slope.

    Neighbours that are correlated beyond chance, |r_1| > 2 / sqrt(n), count as n (1 - r_1) / (1 + r_1) points.
    """
    n = len(values)
    x = np.arange(n) - (n - 1) / 2
    spread = float((x * x).sum())
    slope = float((x * (values - values.mean())).sum()) / spread if n > 1 else 0.0
    rise = slope * (n - 1)
    if n < FEWEST:
        return Slope(slope, 1.0, float(n), 0.0, rise)
    residuals = values - values.mean() - slope * x
    correlation = lag_one_correlation(residuals)
    effective = float(n)
    if correlation > 2 / math.sqrt(n):
        effective = max(3.0, n * (1 - correlation) / (1 + correlation))
    # s_b^2 = s^2 / S_xx, which n_eff points estimate as if there were so many of them
    variance = float((residuals * residuals).sum()) / (n - 2) / spread * (n / effective)
    scale = max(float(np.abs(values).max()), abs(slope))
    if variance <= TINY * scale * scale:
        return Slope(slope, 1.0 if abs(slope) <= math.sqrt(TINY) * scale else 0.0, effective, correlation, rise)
    return Slope(slope, t_tails(slope / math.sqrt(variance), effective - 2), effective, correlation, rise)


def t_tails(t: float, freedom: float) -> float:
    """P(|T| >= |t|) of Student's distribution: I_x(freedom / 2, 1 / 2) with x = freedom / (freedom + t^2)."""
    return incomplete_beta(freedom / (freedom + t * t), freedom / 2, 0.5)


def incomplete_beta(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b), by its continued fraction (Lentz 1976; DLMF 8.17.22)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(1 - x, b, a)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)) / a
    value, upper, lower = 1.0, 1.0, 0.0
    for i in range(400):
        m = i // 2
        if i == 0:
            part = 1.0
        elif i % 2 == 0:
            part = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        else:
            part = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        lower = 1 / (_apart(1 + part * lower))
        upper = _apart(1 + part / upper)
        value *= lower * upper
        if abs(1 - lower * upper) < 1e-14:
            break
    return front * (value - 1)


def _apart(value: float) -> float:
    return value if abs(value) > 1e-300 else 1e-300


Regime = Literal["trending", "ranging", "volatile"]


def regime_of(scores: Sequence[float], volatile: float, trending: float) -> Regime:
    """What kind of curve it is.

    Args:
        scores: The newest last; of fewer than three nothing is said, which is `ranging`.
        volatile: Deviation about the line, of the mean's size, from which on it is volatile.
        trending: Slope of the line, of the mean's size, from which on it follows a trend, if it is none by chance.
    """
    if len(scores) < 3:
        return "ranging"
    values = np.array(scores)
    line, size = slope_of(values), abs(float(values.mean())) + TINY
    x = np.arange(len(values)) - (len(values) - 1) / 2
    residuals = values - values.mean() - line.slope * x
    if float(residuals.std()) / size > volatile:
        return "volatile"
    is_chance = line.probability > CHANCE
    return "trending" if abs(line.slope) / size > trending and not is_chance else "ranging"
