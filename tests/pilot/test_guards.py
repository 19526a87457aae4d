"""Guards, forks and the meta-rule."""

from __future__ import annotations

import pytest

from hydrahive.pilot.config import Dormant, Guards, Search
from hydrahive.pilot.guards import Watch, watched_of
from hydrahive.pilot.helm import ENTROPY, RATE, Helm
from hydrahive.pilot.meta import forked, verdict_on
from hydrahive.pilot.seen import Validation


def helm(rate=1.0e-3, entropy=0.01):
    return Helm({RATE: rate, ENTROPY: entropy})


def test_a_loss_far_above_its_mean_halves_the_rate_down_to_a_floor_and_calm_brings_it_back():
    it = helm()
    watch = Watch(Guards(), it)
    for loss in (1.0, 1.1, 0.9, 1.0, 1.05, 0.95):
        assert watch.take({"loss": loss}) == []
    (told,) = watch.take({"loss": 50.0})
    assert told.kind == "pilot_alarm"
    assert it.value(RATE) == 5.0e-4
    for _ in range(8):
        watch.take({"divergence": 1.0})
    assert it.value(RATE) == pytest.approx(1.0e-4), "a tenth, and no less"
    eased = [told for _ in range(40) for told in watch.take({"divergence": 0.0})]
    assert {told.kind for told in eased} == {"pilot_eased"}
    assert it.value(RATE) == 1.0e-3


def test_an_entropy_that_is_lost_costs_more_within_its_bound():
    it = helm()
    watch = Watch(Guards(), it)
    for _ in range(10):
        watch.take({"entropy": 0.01})
    assert it.value(ENTROPY) == pytest.approx(0.1)
    for _ in range(60):
        watch.take({"entropy": 1.0})
    assert it.value(ENTROPY) == 0.01


def test_what_an_algorithm_has_not_is_not_moved():
    it = Helm({RATE: None})
    watch = Watch(Guards(entropy=None), it)
    assert watch.take({"entropy": 0.0, "divergence": 9.0}) == []
    assert it.moves(3) == ()


def test_a_schedule_is_moved_as_a_whole():
    it = helm(rate={"start": 1.0, "end": 0.0, "env_steps": 100})
    Watch(Guards(), it).take({"divergence": 1.0})
    (move,) = it.moves(8)
    assert (move.from_update, move.key) == (8, RATE)
    assert move.value == {"start": 0.5, "end": 0.0, "env_steps": 100}
    assert it.moves(9) == (), "that was told"


def test_figures_are_found_under_each_algorithms_own_names():
    assert watched_of({"loss": 1.0, "behaviour_kl": 2.0, "other": 3.0}) == {"loss": 1.0, "divergence": 2.0}
    assert watched_of({"divergence": 4.0}) == {"divergence": 4.0}


def rested(scores, gaps):
    return [Validation(i, i, s, 1.0, s + g) for i, (s, g) in enumerate(zip(scores, gaps, strict=True))]


@pytest.mark.parametrize(
    ("scores", "gaps", "does"),
    [
        ([100.0] * 10, [0.0] * 10, "spawn"),
        ([100.0] * 10, [50.0] * 10, "prune"),
        ([100.0] * 10, [3.0 * i for i in range(10)], "prune"),
        ([100.0 + 5 * i for i in range(10)], [0.0] * 10, "go_on"),
        ([100.0, 100.0], [0.0, 0.0], "go_on"),
    ],
)
def test_the_meta_rule(scores, gaps, does):
    assert verdict_on(rested(scores, gaps), Dormant()).does == does


@pytest.mark.parametrize("does", ["stop", "go_on"])
def test_a_config_may_decide_it(does):
    assert verdict_on(rested([100.0] * 10, [50.0] * 10), Dormant(does=does)).does == does


def test_a_forks_values_lie_near_and_inside_and_are_drawn_by_number():
    ranges = Search({RATE: {"log_uniform": [1.0e-5, 1.0e-1]}}).ranges
    drawn = [forked({RATE: 1.0e-3}, ranges, 0.1, 7, number)[RATE] for number in range(200)]
    assert len(set(drawn)) == 200
    assert all(1.0e-5 <= value <= 1.0e-1 for value in drawn)
    assert 3.0e-4 < sorted(drawn)[100] < 3.0e-3
    assert drawn[3] == forked({RATE: 1.0e-3}, ranges, 0.1, 7, 3)[RATE]
