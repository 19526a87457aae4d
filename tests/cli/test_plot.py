"""Curves of several runs: one for what differs in seeds only, with intervals; what is drawn is what the files say."""

import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from hydrahive.telemetry.curves import Group, curve_of, improvement, interquartile_mean, interval, median, smoothed

NUMBERS = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=12)


@settings(deadline=None, max_examples=40)
@given(values=NUMBERS)
def test_the_interquartile_mean_is_scipys(values):
    assert interquartile_mean(np.array(values)) == pytest.approx(stats.trim_mean(values, 0.25), abs=1e-9)


@settings(deadline=None, max_examples=40)
@given(values=NUMBERS, window=st.integers(1, 15))
def test_smoothing_is_a_mean_of_what_was_before(values, window):
    expected = [np.mean(values[max(0, i - window + 1) : i + 1]) for i in range(len(values))]
    np.testing.assert_allclose(smoothed(np.array(values), window), expected, atol=1e-9)


@settings(deadline=None, max_examples=20)
@given(mine=NUMBERS, theirs=NUMBERS)
def test_being_better_is_mann_whitneys_u(mine, theirs):
    better, low, high = improvement(np.array(mine), np.array(theirs))
    u = stats.mannwhitneyu(mine, theirs).statistic / (len(mine) * len(theirs))
    assert better == pytest.approx(u)
    assert 0 <= low <= high <= 1


def test_runs_are_drawn_where_all_of_them_are():
    x = [np.array([0.0, 10, 20]), np.array([5.0, 15, 40])]
    curve = curve_of(Group("a", x, [2 * x[0], 2 * x[1]]), "median")
    assert (curve.x[0], curve.x[-1]) == (5, 20)
    np.testing.assert_allclose(curve.y, 2 * curve.x)
    np.testing.assert_allclose(curve.low, curve.high)


def test_an_interval_holds_what_it_is_of_as_often_as_it_says():
    draws, hits = np.random.default_rng(0), 0
    for _ in range(100):
        low, high = interval(draws.normal(3.0, 1.0, (12, 1)), median)
        hits += bool(low[0] <= 3.0 <= high[0])
    assert hits >= 85


def run_of(runs, name, scores, seed=1, **config):
    folder = runs / name
    folder.mkdir(parents=True)
    plain = {
        "experiment": "toy",
        "seed": seed,
        "workers": seed,
        "algorithm": {"class_path": "PPO", "init_args": config},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(plain))
    (folder / "run.json").write_text(json.dumps({"run_id": name, "machine_class": "any", "format": 1}))
    rows = [
        {"updates": i + 1, "env_steps": 100 * (i + 1), "seconds": i / 10, "loss": 0.1, "score_mean": s}
        for i, s in enumerate(scores)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def plotted(hydrahive, tmp_path):
    for seed in (1, 2, 3):
        run_of(hydrahive.runs, f"a-{seed}", [1, 2, 3 + seed], seed, discount=0.9)
        run_of(hydrahive.runs, f"b-{seed}", [1, 1, seed], seed, discount=0.5)

    def plot(*words, code=0):
        return hydrahive("plot", *words, code=code)

    return plot


def test_runs_of_one_kind_are_one_curve_and_kinds_are_compared(plotted, tmp_path):
    names = [f"{kind}-{seed}" for kind in "ab" for seed in (1, 2, 3)]
    facts = json.loads(plotted(*names, "--out", tmp_path / "c.svg", "--json").stdout)
    assert [fact["curve"] for fact in facts] == ["toy, algorithm.discount 0.9", "toy, algorithm.discount 0.5"]
    assert [(fact["runs"], fact["env_steps"], fact["end"]) for fact in facts] == [(3, 300, 5), (3, 300, 2)]
    assert facts[0]["low"] == 4
    assert facts[0]["high"] == 6
    assert facts[1]["better_than_first"] == 0
    root = ElementTree.parse(tmp_path / "c.svg").getroot()
    assert root.tag.endswith("svg")
    told = plotted(*names, "--out", tmp_path / "c.html", "--of", "iqm", "--x", "seconds", "--smooth", 3)
    assert "better than the first" in told.stdout
    page = (tmp_path / "c.html").read_text()
    assert "<svg" in page
    assert "toy, algorithm.discount 0.5" in page
    assert "src=" not in page
    assert 'href="http' not in page


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["a-1", "--y", "los"], "'a-1' has no 'los' to draw; it has env_steps, loss, score_mean, seconds, updates"),
        (["a-9"], "nearest: a-"),
        (["a-1", "--out", "c.png"], "expected a file name that ends in .svg or .html"),
        (["a-1", "--out", "/nowhere/c.svg"], "the folder /nowhere does not exist"),
        (["a-1", "--smooth", "0"], "--smooth"),
        (["a-1", "--of", "mode"], "--of"),
        ([], "RUN"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(plotted, words, says):
    refused = plotted(*words, code=2)
    assert says in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1


def test_a_run_without_rows_yet_says_so(plotted, hydrahive):
    run_of(hydrahive.runs, "new", [])
    assert "it has no rows yet" in plotted("new", code=2).stderr
