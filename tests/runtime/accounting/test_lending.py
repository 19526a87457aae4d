"""Acting that is lent: one digest whoever acts, everybody paid for what was his, and nobody who made something up."""

import dataclasses
import json
from contextlib import contextmanager

import numpy as np
import pytest

import lenders
from conftest import digests_of
from hydrahive.ledger.audit_rules import AuditConfig, node_of
from hydrahive.ledger.ledger import Ledger
from hydrahive.ledger.statements import audits, balances, strikes, work_credits
from hydrahive.ledger.verification import verify
from hydrahive.runtime.config.parsing import load_run_config
from hydrahive.runtime.config.remote import RemoteConfig
from hydrahive.runtime.config.shipped import shipped_experiments
from hydrahive.runtime.roles.lending.layout import Layout, RefusedLentError
from hydrahive.runtime.roles.lending.pace import COLD_SECONDS, Pace
from hydrahive.runtime.runs.run_folder import RunFolder
from hydrahive.runtime.training import train as training
from lenders import LentFleet
from volunteers import SIZES

LSTM = ["--policy.core.class_path=Lstm", "--policy.core.init_args.hidden=8"]


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """Trains with volunteers: (summary, fleet, ledger, events); without any where `spoils` is empty."""

    def train(name, spoils, *options, experiment="snake/vtrace", most=None, fleet=LentFleet, **audit):
        fleets = []

        @contextmanager
        def gathered(config, run_id, *_):
            fleets.append(fleet(config, run_id, spoils, most))
            yield fleets[-1]
            fleets[-1].close()

        monkeypatch.setattr(training, "gathered_fleet", gathered)
        config = load_run_config(
            shipped_experiments()[experiment], [*SIZES, "--look=none", "--recording=false", *options]
        )
        config = dataclasses.replace(config, audit=AuditConfig(**audit), remote=RemoteConfig(share=1.0))
        folder = RunFolder(tmp_path / name)
        outcome = training.train(training.Request(config, folder, runs=tmp_path))
        events = [json.loads(line) for line in folder.events.read_text().splitlines()]
        return outcome.summary, fleets[0], Ledger(tmp_path / "ledger.sqlite"), events

    return train


def earned(ledger):
    return {row["owner"]: row["env_steps"] for row in balances(ledger.journal) if row["env_steps"]}


def outcomes(ledger):
    return {row["outcome"] for row in audits(ledger.journal)}


@pytest.mark.parametrize("options", [(), (*LSTM, "--lag=3")], ids=["feed-forward", "recurrent, lag 3"])
def test_one_digest_whoever_acts_and_each_is_paid_for_what_was_his(trained, options):
    alone, *_ = trained("alone", [], *options)
    lent, fleet, ledger, _ = trained("lent", [None, None], *options, trust_after=2)
    assert digests_of(lent) == digests_of(alone)
    paid = earned(ledger)
    assert paid["p1"] > 1000
    assert paid["p2"] > 1000
    assert not fleet.people[1].accused
    assert not fleet.quarantined
    assert {"bonded", "verified", "replayed"} <= outcomes(ledger)  # newcomers in full, and later not always
    assert verify(ledger.journal).problem is None


LIES = [lenders.other_actions, lenders.other_behaviour, lenders.nan, lenders.short, lenders.again]


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_a_newcomer_who_lies_changes_nothing_and_is_paid_nothing(trained, lie):
    alone, *_ = trained("alone", [])

    def from_the_third(person, lease, shard, lent, body):
        return lie(person, lease, shard, lent, body) if lease.round >= 3 or lie is lenders.again else body

    lent, fleet, ledger, events = trained("lent", [from_the_third, None])
    assert digests_of(lent) == digests_of(alone)
    assert len(fleet.people[1].accused) == 1
    assert f"round {1 if lie is lenders.again else 3}" in fleet.people[1].accused[0]
    assert not fleet.people[2].accused
    assert earned(ledger)["p2"] > 1000
    assert "p1" not in earned(ledger)  # nor for the rounds before, in which he was honest
    assert {row["account"] for row in strikes(ledger.journal)} == {"p1"}
    assert not [event for event in events if event["kind"] in ("taken_back", "recovering", "failed")]
    assert verify(ledger.journal).problem is None


def test_who_turns_dishonest_once_trusted_is_caught_by_audits_and_the_run_goes_back(trained):
    alone, *_ = trained("alone", [])
    turned = []

    def later(person, lease, shard, lent, body):
        if lease.round < 40:
            return body
        turned.append(lease.round)
        return lenders.other_behaviour(person, lease, shard, lent, body)

    lent, fleet, ledger, events = trained("lent", [later, None], trust_after=2, at_least=0.5)
    assert turned
    assert node_of("p1") in fleet.quarantined
    assert [event for event in events if event["kind"] == "taken_back"]
    assert {row["account"] for row in strikes(ledger.journal)} == {"p1"}
    his = [row for row in work_credits(ledger.journal) if row["owner"] == "p1"]
    bond = [row for row in his if row["audit"] == "bonded"]
    assert bond  # what was right before he was trusted
    assert {row["state"] for row in bond} == {"clawed"}
    assert {row["audit"] for row in his if row["state"] == "paid"} <= {"verified"}
    assert lent["env_steps"] == alone["env_steps"]
    assert not lent["tainted"]
    assert verify(ledger.journal).problem is None


def test_a_lie_in_what_is_carried_on_is_his_who_told_it_whoever_went_on_from_it(trained):
    """The round after it was acted here, from what he had said: its bytes differ first, and are not held against us."""
    lied = []

    def lies(person, lease, shard, lent, body):
        if lease.round < 40 or lied:
            return None if lied else body
        lied.append(lease.round)
        carried = {name: array + np.float32(0.25) for name, array in lent.carried.items()}
        return person.layout.packed(dataclasses.replace(lent, carried=carried))

    lent, fleet, ledger, events = trained("lent", [lies, None], *LSTM, trust_after=2, at_least=1.0 - 1e-9)
    assert lied
    assert fleet.quarantined == [node_of("p1")]
    assert {row["account"] for row in strikes(ledger.journal)} == {"p1"}
    assert [event for event in events if event["kind"] == "taken_back"]
    assert lent["env_steps"] >= 9000


def test_who_is_silent_is_paid_nothing(trained):
    alone, *_ = trained("alone", [])
    lent, fleet, ledger, _ = trained("lent", [lenders.nothing, None])
    assert digests_of(lent) == digests_of(alone)
    assert "p1" not in earned(ledger)
    assert not fleet.people[1].accused
    assert earned(ledger)["p2"] > 1000


def test_a_late_answer_is_refused(trained):
    _, fleet, ledger, _ = trained("lent", [lenders.slow(0.4)])
    assert fleet.people[1].was_late
    assert not fleet.people[1].accused
    assert "p1" not in earned(ledger)


def test_actions_that_the_environment_does_not_take_are_refused_before_it_is_stepped(small):
    layout = Layout(small)
    good = layout.packed(lent_like(layout, small))
    assert layout.unpacked(good).equals(lent_like(layout, small))
    for what, body in {
        "bytes": good + b"\0",
        "memories": b"\xff\xff\xff\xff" + good[4:],
        "actions": good[:4] + b"\xfe" + good[5:],
    }.items():
        with pytest.raises(RefusedLentError, match=what):
            layout.unpacked(body)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_patience_grows_with_what_a_round_takes_here_and_ends_at_the_deadline():
    pace = Pace(RemoteConfig(share=1, deadline_seconds=2))
    assert pace.patience_s(1) == COLD_SECONDS
    pace.note_own(0.2)
    assert pace.patience_s(2) == pytest.approx(0.4)
    assert pace.in_time(0.0, 2, is_trusted=False)
    assert pace.patience_s(2) == pytest.approx(1.2)
    pace.note_own(100)
    assert pace.patience_s(1) == 2


def test_who_is_never_in_time_rests_ever_longer_and_costs_little():
    clock = Clock()
    pace, waited, rounds = Pace(RemoteConfig(share=1), clock), 0.0, 0
    pace.note_own(0.1)
    while clock.now < 600:
        rounds += 1
        clock.now += 0.1
        if pace.rests:
            continue
        if not waited:
            pace.begin()
        clock.now += pace.patience_s(1)
        waited += pace.patience_s(1)
        if pace.late(1) and pace.is_tired:
            tired_at = clock.now
            break
    assert rounds * 0.1 / clock.now > 0.7  # of the speed without him
    assert 10 < tired_at < 60


@pytest.mark.parametrize("is_trusted", [False, True])
def test_who_comes_just_in_time_every_time_is_late_all_the_same(is_trusted):
    pace = Pace(RemoteConfig(share=1), Clock())
    pace.note_own(0.1)
    waits = [pace.in_time(0.29, 1, is_trusted=is_trusted) for _ in range(20)]
    assert waits.index(False) < 8
    assert all(pace.in_time(0.1 if is_trusted else 0.02, 1, is_trusted=is_trusted) for _ in range(50))


def test_who_is_slow_to_begin_comes_in_time_after_a_while():
    clock = Clock()
    pace = Pace(RemoteConfig(share=1), clock)
    pace.note_own(0.1)
    pace.begin()
    for _ in range(8):
        clock.now += 0.2
        assert not pace.late(1)
    assert pace.in_time(0.0, 1, is_trusted=False)
    assert not pace.rests
    assert pace.patience_s(1) == pytest.approx(0.3)


@pytest.fixture
def small():
    return load_run_config(shipped_experiments()["snake/vtrace"], SIZES)


def lent_like(layout, config):
    """A fragment's worth of acting, all of it zeros but what the policy says."""
    rows = config.fragment_length, config.envs_per_shard
    from hydrahive.runtime.roles.lending.layout import Lent

    behaviour = np.linspace(-1, 0, rows[0] * rows[1] * 3, dtype=np.float32).reshape(*rows, 3)
    none = np.zeros(0, np.int64)
    return Lent(np.zeros(rows, np.int64), behaviour, np.zeros((0, 0), np.float32), {}, none)
