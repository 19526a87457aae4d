"""The pilot as a fold: what is seen again is decided again, and each of its parts has its say."""

from __future__ import annotations

import itertools
import json

import pytest

from hydrahive.core.streams import stream
from hydrahive.pilot.config import Convergence, Dormant, PilotConfig, Regimes, Rollback, Search
from hydrahive.pilot.pilot import Course, Pilot
from hydrahive.pilot.seen import Seen, Validation

RATE, ENTROPY = "algorithm.learning_rate", "algorithm.entropy_cost"
COURSE = Course(4, 1, 7, {RATE: 1.0e-3, ENTROPY: 0.01})
SEARCH = Search({RATE: {"log_uniform": [1.0e-5, 1.0e-1]}}, settle=2)


def steps(score, boundaries=80, error=1.0, train=None):
    """What is seen of a run whose score at a boundary is `score(i)`."""
    for i in range(1, boundaries + 1):
        yield i, score(i), score(i) if train is None else train(i), error


def flown(config, score, boundaries=80, error=1.0, train=None, course=COURSE):
    """A pilot that has seen it, and what it said; a roll-back ends it."""
    pilot, said, seen = Pilot(config, course), [], []
    scores = {}
    for i, mean, trained, deviation in steps(score, boundaries, error, train):
        updates = 4 * i
        scores[updates] = Validation(updates, 100 * i, mean, deviation, trained)
        of = pilot.decides(updates)
        seen.append(Seen(updates, 100 * i, {"loss": 1.0}, None if of is None else scores[of], trained))
        said.append(pilot.take(seen[-1]))
        if said[-1].ends or said[-1].back_to is not None:
            break
    return pilot, said, seen


def noisy(kind, level=100.0, deviation=1.0):
    noise = stream(9, "pilot-" + kind, 0).standard_normal(500)
    return lambda i: level + deviation * float(noise[i])


def test_what_is_seen_again_is_decided_again_through_json_too():
    config = PilotConfig(every=1, search=SEARCH)
    _, said, seen = flown(config, noisy("again", 50, 10))
    again = Pilot(config, COURSE)
    for order, one in zip(said, seen, strict=True):
        assert again.take(Seen.from_plain(json.loads(json.dumps(one.as_plain())))) == order


def test_a_decision_follows_its_validation_by_the_delay_and_acts_ahead_of_what_is_under_way():
    _, said, seen = flown(PilotConfig(every=2, delay=3, search=SEARCH), noisy("delay"))
    asked = [one.updates for order, one in zip(said, seen, strict=True) if order.validate]
    assert asked[:3] == [8, 16, 24]
    decided = [one.updates for one in seen if one.validation]
    assert decided[:3] == [16, 24, 32], "asked two boundaries before, and it acts at the third"
    for order, one in zip(said, seen, strict=True):
        assert all(move.from_update == one.updates + 4 for move in order.moves)


def test_validations_come_less_often_while_nothing_rises():
    config = PilotConfig(every=1, convergence=Convergence(cooling=3, dormant=60, widest=4), regimes=None)
    _, said, seen = flown(config, noisy("rest"))
    asked = [one.updates for order, one in zip(said, seen, strict=True) if order.validate]
    gaps = [b - a for a, b in itertools.pairwise(asked)]
    assert gaps[0] == 4
    assert max(gaps) == 16
    assert gaps == sorted(gaps)


@pytest.mark.parametrize(("does", "ends"), [("stop", "stop"), ("decide", "spawn"), ("go_on", None)])
def test_a_run_at_rest_ends_as_the_config_says(does, ends):
    config = PilotConfig(
        every=1, convergence=Convergence(cooling=2, dormant=6, earliest=8, widest=1), dormant=Dormant(does)
    )
    pilot, said, _ = flown(config, noisy("end"))
    assert pilot.ends == said[-1].ends == ends
    if ends:
        assert not said[-1].validate
        assert not said[-1].moves


def test_a_target_ends_it_once_it_was_held():
    config = PilotConfig(every=1, target=90.0, held=4)
    pilot, _, seen = flown(config, lambda i: 50.0 if i < 10 else 95.0)
    assert pilot.ends == "target"
    assert seen[-1].validation.updates == 4 * 13, "the fourth of those from the tenth boundary on"


def test_a_fall_goes_back_to_the_best_with_a_gentler_rate():
    config = PilotConfig(every=1, guards=None, rollback=Rollback(after=2, earliest=5, gentler=0.25))
    pilot, said, _ = flown(config, lambda i: 10.0 * i if i < 20 else 5.0)
    (move,) = said[-1].moves
    assert said[-1].back_to == 76
    assert (move.from_update, move.key, move.value) == (76, RATE, 2.5e-4)
    assert pilot.champions.best.updates == 76
    assert max(one.updates for one in pilot.validations) == 76
    assert pilot.awaited == ()


def test_each_return_to_the_same_boundary_is_gentler_and_they_are_counted():
    config = PilotConfig(every=1, guards=None, rollback=Rollback(after=2, earliest=5, gentler=0.5, most=2))
    pilot, said, _ = flown(config, lambda i: 10.0 * i if i < 20 else 5.0)
    values = [said[-1].moves[0].value]
    for _ in range(2):
        for i in range(20, 60):
            of = pilot.decides(4 * i)
            fell = None if of is None else Validation(of, 100 * i, 5.0, 1.0, 5.0)
            order = pilot.take(Seen(4 * i, 100 * i, {}, fell, 5.0))
            if order.back_to is not None:
                values.append(order.moves[0].value)
                break
    assert values == [5.0e-4, 2.5e-4], "twice, and not once more"
    assert [move.value for move in pilot.moves if move.key == RATE] == [2.5e-4], "only the last is on the line"


def test_entropy_costs_more_while_scores_range_and_the_run_cools():
    config = PilotConfig(
        every=1, guards=None, convergence=Convergence(cooling=3, dormant=60, widest=1), regimes=Regimes(entropy=2.0)
    )
    _, said, _ = flown(config, noisy("range", 100, 2))
    moved = [move.value for order in said for move in order.moves if move.key == ENTROPY]
    assert moved[0] == 0.02


def test_it_holds_what_is_being_validated_and_its_best():
    pilot, _, _ = flown(PilotConfig(every=1, top=2, rollback=None), lambda i: float(i), boundaries=9)
    assert pilot.held >= {36, 32}
    assert pilot.champions.best.updates in pilot.held
    assert len(pilot.held) <= 2 + 3 + 2
