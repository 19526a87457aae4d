"""Whoever waits looks after the members, does what people ask, and says what is waited for."""

import pytest

from hydrahive.runtime.fleet import waiting
from hydrahive.runtime.fleet.waiting import StopAsked, Waits


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(waiting.time, "monotonic", lambda: now[0])
    return now


def waits_that_tell():
    told = []
    waits = Waits(lambda: lambda kind, text, **_: told.append((kind, text)))
    return waits, told


def looked_for(wait, clock, seconds):
    for _ in range(int(seconds)):
        clock[0] += 1
        wait.look()


def test_what_takes_long_is_told_in_words_and_more_and_more_rarely(clock):
    waits, told = waits_that_tell()
    with waits.of("round", lambda: "round 7: env worker 2 (shards 4, 5)"):
        wait = waits.begin()
    looked_for(wait, clock, 10)
    assert not told
    looked_for(wait, clock, 500)
    assert [text for _, text in told] == [
        f"waiting for round 7: env worker 2 (shards 4, 5) since {seconds} s" for seconds in (11, 67, 403)
    ]
    assert {kind for kind, _ in told} == {"waiting"}


def test_a_kind_that_always_takes_long_is_not_told_each_time(clock):
    waits, told = waits_that_tell()
    for round_ in range(20):
        with waits.of("round", f"round {round_}"):
            wait = waits.begin()
        looked_for(wait, clock, 15)
    with waits.of("update", "the learner"):
        wait = waits.begin()
    looked_for(wait, clock, 12)
    assert [text.split(" since")[0] for _, text in told] == ["waiting for round 0", "waiting for the learner"]


def test_words_are_of_the_innermost_block(clock):
    waits, told = waits_that_tell()
    with waits.of("boundary", "a boundary"):
        with waits.of("state", "a state"):
            pass
        wait = waits.begin()
    looked_for(wait, clock, 12)
    assert "a boundary" in told[0][1]


def test_members_are_looked_after_in_each_look_and_what_is_asked_is_done_now_and_then(clock):
    waits, _ = waits_that_tell()
    seen = []
    waits.tend = lambda: seen.append("tended")
    waits.obey = lambda: seen.append("obeyed")
    wait = waits.begin()
    for _ in range(10):
        clock[0] += 0.1
        wait.look()
    assert seen.count("tended") == 10
    assert 2 <= seen.count("obeyed") <= 3

    def stop():
        raise StopAsked

    waits.obey = stop
    clock[0] += 1
    with pytest.raises(StopAsked):
        wait.look()
    assert not issubclass(StopAsked, Exception), "who deals with losses must not take it for one"
