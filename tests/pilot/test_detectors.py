"""False alarms and misses of the detectors, on curves whose course is known."""

from __future__ import annotations

import pytest
from curves import KINDS, per_thousand

from conftest import FULL, Report

DRAWS = 1000 if FULL else 150

MOST = {
    "rising": {"dormant": 10, "fell": 10, "volatile": 10},
    "flat": {"fell": 20, "trending": 80},
    "noisy": {"fell": 20, "ranging": 50},
    "oscillating": {"fell": 20},
    "collapsing": {"early": 20},
    "stepping": {"fell": 20, "volatile": 20},
}
"""Of 1,000 draws, most that may be so: false alarms."""

LEAST = {
    "rising": {"crowned": 950, "trending": 750},
    "flat": {"dormant": 850, "ranging": 850},
    "noisy": {"dormant": 900, "volatile": 900},
    "oscillating": {"cooling": 950, "volatile": 950},
    "collapsing": {"fell": 980, "dormant": 700},
    "stepping": {"crowned": 980},
}
"""And least: the rest are misses."""


@pytest.mark.parametrize("kind", KINDS)
def test_each_detector_on_each_curve(kind: str, report: Report) -> None:
    figures = per_thousand(kind, DRAWS)
    for name, most in MOST[kind].items():
        assert figures[name] <= most, (name, figures)
    for name, least in LEAST[kind].items():
        assert figures[name] >= least, (name, figures)
    if kind == "collapsing":
        assert figures["fell_after"] <= 4
    names = ("cooling", "dormant", "crowned", "fell", "trending", "ranging", "volatile")
    report.add("The pilot's detectors", f"- {kind}: " + ", ".join(f"{name} {figures[name]:.0f}" for name in names))
