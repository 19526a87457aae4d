"""The coordinator over a real SQLite file, with a clock that the test moves."""

import pytest

from hydrahive.core.errors import UsageError
from hydrahive.runtime.coordinator.coordinator import Coordinator
from hydrahive.runtime.coordinator.registry import Member
from hydrahive.runtime.roles.heart import Heart, Sign, Work

SIGN = Sign(shard=3, round=7, busy_s=0.1)


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "session" / "coordinator.sqlite"


def member(name, run="run"):
    return Member(name, run, "env-worker", "alice", "node", "10.0.0.1", 42, "x86/torch")


def pass_time(coordinator, clock, seconds, beating=()):
    for _ in range(int(seconds)):
        clock.now += 1
        coordinator.call("run", "name", "running", 0)
        for name in beating:
            coordinator.beat(name, SIGN)


def test_silence_is_first_late_then_dead(path, clock):
    coordinator = Coordinator(path, clock)
    coordinator.register(member("a"))
    coordinator.register(member("b"))
    pass_time(coordinator, clock, 9, beating=["b"])
    assert coordinator.health("run")["a"].state == "alive"
    pass_time(coordinator, clock, 2, beating=["b"])
    assert coordinator.health("run")["a"].state == "late"
    pass_time(coordinator, clock, 5, beating=["b"])
    health = coordinator.health("run")
    assert health["a"].state == "dead"
    assert health["b"].state == "alive"
    assert health["b"].sign == SIGN
    coordinator.leave("a", "dead")
    assert set(coordinator.health("run")) == {"b"}


def test_its_own_sleep_is_held_against_nobody(path, clock):
    coordinator = Coordinator(path, clock)
    coordinator.register(member("a"))
    clock.now += 60  # nobody was heard: this process stood still
    assert coordinator.call("run", "name", "running", 0).health["a"].state == "alive"


def test_a_restart_keeps_the_rows_and_gives_everyone_time(path, clock):
    first = Coordinator(path, clock)
    first.register(member("a"))
    first.lease("run", {0: "a", 1: "a"}, 0)
    first.lease("run", {1: "b"}, 12)
    first.call("run", "name", "running", 5)
    first.ask("name", "pause")
    clock.now += 1000
    second = Coordinator(path, clock)
    assert second.health("run")["a"].state == "alive"
    assert second.members("run")[0]["shards"] == [0]
    told = second.call("run", "name", "running", 6).request
    assert told.request == "pause"
    assert second.call("run", "name", "paused", 6, told.id).request is None
    assert second.runs()[0] | {"called_at": 0} == {
        "run_id": "run",
        "name": "name",
        "state": "paused",
        "env_steps": 6,
        "called_at": 0,
        "live": True,
    }


def test_requests_are_told_in_order_until_they_are_heard(path, clock):
    """An answer may be lost with the process that gave it."""
    coordinator = Coordinator(path, clock)
    coordinator.call("run", "name", "running", 5)
    for request in ("pause", "continue", "stop"):
        coordinator.ask("name", request)
    first = coordinator.call("run", "name", "running", 5).request
    assert Coordinator(path, clock).call("run", "name", "running", 5).request == first, "told again by the next"
    second = coordinator.call("run", "name", "running", 5, first.id).request
    third = coordinator.call("run", "name", "running", 5, second.id).request
    assert [one.request for one in (first, second, third)] == ["pause", "continue", "stop"]
    assert coordinator.call("run", "name", "running", 5, third.id).request is None


def test_only_a_live_run_can_be_asked(path, clock):
    coordinator = Coordinator(path, clock)
    coordinator.call("run", "name", "running", 0)
    with pytest.raises(UsageError, match="no run 'other' is being trained on this cluster; live runs: name"):
        coordinator.ask("other", "stop")
    coordinator.call("run", "name", "ended", 0)
    with pytest.raises(UsageError, match="live runs: none"):
        coordinator.ask("name", "stop")


def test_a_heart_beats_on_when_nobody_listens():
    beats = []

    def send(sign):
        beats.append(sign)
        heart.stop()
        raise ConnectionError("the coordinator is away")

    work = Work()
    work.begin(1, 2, 0.0)
    heart = Heart(work, send)
    heart.start()
    heart.join(timeout=10)
    assert not heart.is_alive()
    assert (beats[0].shard, beats[0].round) == (1, 2)
    assert beats[0].busy_s > 0
