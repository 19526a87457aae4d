"""Curves of scores whose course is known, and what detectors make of them."""

from __future__ import annotations

import numpy as np

from hydrahive.core.streams import stream
from hydrahive.pilot.best import Champions, Falling
from hydrahive.pilot.config import Convergence, Regimes, Rollback
from hydrahive.pilot.convergence import Progressing
from hydrahive.pilot.seen import Validation
from hydrahive.pilot.trend import regime_of

LENGTH = 60
FELL_AT = 30

KINDS = ("rising", "flat", "noisy", "oscillating", "collapsing", "stepping")


def curve(kind: str, number: int, purpose: str = "validation") -> tuple[np.ndarray, float]:
    """One draw of a kind: scores, and the standard error that they were measured with."""
    t = np.arange(LENGTH)
    noise = stream(7, f"curve-{kind}-{purpose}", number).standard_normal(LENGTH)
    if kind == "rising":
        return 50 + 4 * t + 10 * noise, 10.0
    if kind == "flat":
        return 100 + 10 * noise, 10.0
    if kind == "noisy":
        return 100 + 40 * noise, 40.0
    if kind == "oscillating":
        return 100 + 30 * np.sin(2 * np.pi * t / 8) + 5 * noise, 5.0
    if kind == "collapsing":
        return np.where(t < FELL_AT, 50 + 5 * t, 40) + 10 * noise, 10.0
    assert kind == "stepping"
    return np.where(t < 20, 50.0, np.where(t < 40, 100.0, 150.0)) + 5 * noise, 5.0


def validations(kind: str, number: int) -> list[Validation]:
    scores, error = curve(kind, number)
    train, _ = curve(kind, number, "training")
    return [
        Validation(i + 1, i + 1, float(s), error, float(t)) for i, (s, t) in enumerate(zip(scores, train, strict=True))
    ]


def told_of(kind: str, number: int) -> dict[str, int | None]:
    """At which validation each detector first spoke; None for never."""
    champions, progress, falling = Champions(3, 2.0), Progressing(Convergence()), Falling(Rollback())
    told: dict[str, int | None] = {"dormant": None, "cooling": None, "fell": None, "crowned": None}
    seen: list[Validation] = []
    for i, one in enumerate(validations(kind, number)):
        seen.append(one)
        why = champions.take(one)
        if why and i >= 20:
            told["crowned"] = told["crowned"] or i
        best = champions.best
        progress.take(one, best.mean, is_new_best=why is not None)
        if progress.state in ("cooling", "dormant") and told["cooling"] is None:
            told["cooling"] = i
        if progress.state == "dormant" and told["dormant"] is None:
            told["dormant"] = i
        if falling.take(seen, [v.train for v in seen], 2.0) and told["fell"] is None:
            told["fell"] = i
    return told


def regimes_of(kind: str, number: int) -> str:
    scores, _ = curve(kind, number)
    config = Regimes()
    return regime_of(scores[20 : 20 + config.window].tolist(), config.volatile, config.trending)


def per_thousand(kind: str, draws: int) -> dict[str, float]:
    """How often each detector spoke at all, per 1,000 draws; and by when, on average."""
    told = [told_of(kind, number) for number in range(draws)]
    figures = {name: 1000 * sum(one[name] is not None for one in told) / draws for name in told[0]}
    late = [one["fell"] - FELL_AT for one in told if one["fell"] is not None]
    figures["early"] = 1000 * sum(one["fell"] is not None and one["fell"] < FELL_AT for one in told) / draws
    figures["fell_after"] = float(np.mean(late)) if late else float("nan")
    names = [regimes_of(kind, number) for number in range(draws)]
    return figures | {name: 1000 * names.count(name) / draws for name in ("trending", "ranging", "volatile")}
