"""Dishonest workers among plain objects, without Ray: who is caught, what is taken back, and who is paid."""

import dataclasses
import json

import numpy as np
import pytest

from conftest import digests_of, full_only
from hydrahive.core.errors import HydrahiveError
from hydrahive.ledger.ledger import Ledger
from hydrahive.ledger.statements import audits, balances, work_credits
from hydrahive.ledger.verification import verify
from hydrahive.runtime.config.parsing import load_run_config
from hydrahive.runtime.config.shipped import shipped_experiments
from hydrahive.runtime.runs.run_folder import RunFolder
from hydrahive.runtime.training import train as training
from volunteers import SIZES, Honest, VolunteerFleet

STEPS_A_ROUND = 3 * 4 * 8


class MadeUpRewards(Honest):
    def __init__(self, from_round=0):
        self.from_round = from_round

    def simulate(self, worker, shards, round_, version, weights):
        fragments, summaries = worker.simulate(shards, round_, version, weights)
        for fragment in fragments:
            fragment.rewards[:] += round_ >= self.from_round
        return fragments, summaries


class FewerSteps(Honest):
    """Claims steps that are none: their rows are those of the step before."""

    def simulate(self, worker, shards, round_, version, weights):
        fragments, summaries = worker.simulate(shards, round_, version, weights)
        for fragment in fragments:
            fragment.observations[4] = fragment.observations[3]
        return fragments, summaries


class StaleWeights(Honest):
    def __init__(self, from_round=0):
        self.from_round = from_round

    def simulate(self, worker, shards, round_, version, weights):
        self.first = weights.copy() if round_ <= self.from_round else self.first
        return worker.simulate(shards, round_, version, self.first)


class BetterScores(Honest):
    """Its bytes are honest; what it says of its episodes is not."""

    def simulate(self, worker, shards, round_, version, weights):
        fragments, summaries = worker.simulate(shards, round_, version, weights)
        return fragments, [dataclasses.replace(s, scores=s.scores + 5, env_steps=s.env_steps) for s in summaries]


class ForgedSnapshot(Honest):
    def snapshot(self, state):
        return {**state, "returns": state["returns"] + 1}


def kinds(events):
    return [event["kind"] for event in events]


def test_honest_work_is_paid_and_found_valid_and_nothing_changes(trained):
    summary, fleet, ledger, _ = trained("a", Honest())
    unaudited, *_ = trained("b", Honest(), workers="none")
    assert digests_of(summary) == digests_of(unaudited)
    assert (summary["segments"], summary["tainted"], fleet.quarantined) == (1, False, [])
    rows = {row["owner"]: row for row in balances(ledger.journal)}
    assert rows["alice"]["replayed_share"] == rows["bob"]["replayed_share"] == 1.0
    assert 0 < rows["alice"]["audited_share"] < 1.0
    assert rows["me"]["replayed_share"] == 0.0
    assert verify(ledger.journal).problem is None


HONEST = {}
"""The digests of the same run without a dishonest worker, once it was trained."""


def honest_digests(trained):
    if not HONEST:
        HONEST["digests"] = digests_of(trained("honest", None)[0])
    return HONEST["digests"]


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (MadeUpRewards(), "in round 0: the environments show something else"),
        (FewerSteps(), "in round 0: the environments show something else"),
        (StaleWeights(), "in round 2: the policy of version 1 says something else"),
        (BetterScores(), "the episodes that ended are not those that were told"),
        (ForgedSnapshot(), "at the end: the state that was given at the end is not the one that follows"),
    ],
)
def test_dishonesty_from_the_start_is_caught_in_the_first_interval(trained, spoil, what):
    honest = honest_digests(trained)
    summary, fleet, ledger, events = trained("caught", spoil)
    assert digests_of(summary) == honest
    assert fleet.quarantined == ["w1"]
    assert (summary["segments"], summary["tainted"]) == (2, False)
    caught = next(event for event in events if event["kind"] == "audit_failed")
    assert what in caught["text"]
    assert (caught["from_round"], caught["until_round"], caught["owner"]) == (0, 5, "alice")
    runs = {row["run_id"] for row in work_credits(ledger.journal) if row["run"] == "caught"}
    mine = [row for row in work_credits(ledger.journal) if row["run_id"] in runs]
    assert {row["state"] for row in mine if row["owner"] == "alice"} == {"voided"}
    assert {row["state"] for row in mine if row["owner"] != "alice"} == {"paid"}
    assert verify(ledger.journal).problem is None


def test_made_up_rewards_are_caught_in_the_interval_that_they_begin_in_even_of_a_trusted_worker(trained):
    honest = honest_digests(trained)
    summary, _, ledger, events = trained("caught", MadeUpRewards(from_round=73))
    assert digests_of(summary) == honest
    caught = next(event for event in events if event["kind"] == "audit_failed")
    assert (caught["from_round"], caught["until_round"]) == (70, 75)
    # Intervals since it was trusted were never computed again in full: what they earned is taken back.
    states = [
        row["state"] for row in work_credits(ledger.journal) if row["owner"] == "alice" and row["run"] == "caught"
    ]
    assert states.count("paid") == sum(
        row["until_round"] - row["from_round"]
        for row in audits(ledger.journal, "caught")
        if row["outcome"] == "verified" and row["workers"] == "w1" and row["until_round"] <= 70
    )
    assert states.count("clawed") > 0
    back = next(event for event in events if event["kind"] == "taken_back")["updates"]
    first_unverified = min(
        row["from_round"]
        for row in audits(ledger.journal, "caught")
        if row["outcome"] == "replayed" and "w1" in row["workers"]
    )
    assert back <= first_unverified
    assert verify(ledger.journal).problem is None


@pytest.mark.parametrize("spoil", [Honest(), MadeUpRewards(from_round=13)])
def test_actions_are_kept_of_whom_one_audits_and_made_again_of_others_before_them(trained, monkeypatch, spoil):
    kept = {}

    def update(fleet, version, parts, leased, sample, *, keep_actions):
        told = super(VolunteerFleet, fleet).update(version, parts, leased, sample, keep_actions=keep_actions)
        for part in told[1].consumed:
            for one in part:
                kept.setdefault((one.id.round, one.id.shard), one.actions is not None)
        return told

    def workers(fleet):
        return sorted(fleet._workers) if fleet._learner.version >= 12 or fleet.quarantined else [0]

    monkeypatch.setattr(VolunteerFleet, "workers", workers)
    monkeypatch.setattr(VolunteerFleet, "update", update)
    summary, fleet, ledger, _ = trained("late", spoil, dishonest=(2,))
    assert not any(kept[round_, shard] for round_, shard in kept if round_ < 12), "nobody is audited yet"
    assert any(kept.values())
    assert not all(kept[50, shard] for shard in range(3)), "of one's own worker nobody asks"
    moved = [row for row in audits(ledger.journal, "late") if row["from_round"] == 10 and row["segment"] == 0]
    assert len(moved) == 2
    assert {row["outcome"] for row in moved} == ({"verified"} if type(spoil) is Honest else {"verified", "invalid"})
    assert fleet.quarantined == ([] if type(spoil) is Honest else ["w2"])
    assert digests_of(summary) == honest_digests(trained)


class MoreEpisodes(Honest):
    """It tells of an episode that did not end."""

    def simulate(self, worker, shards, round_, version, weights):
        fragments, summaries = worker.simulate(shards, round_, version, weights)
        more = [
            dataclasses.replace(s, scores=np.append(s.scores, 9.0), lengths=np.append(s.lengths, 9)) for s in summaries
        ]
        return fragments, more


MEMORY = ["--policy.core=Gru", "--policy.core.hidden=8", "--replay=Ath", "--replay.capacity=1200"]


@full_only
def test_a_policy_with_memory_and_a_replay_are_audited_likewise(trained):
    summary, fleet, *_ = trained("a", Honest(), *MEMORY)
    assert (summary["segments"], fleet.quarantined) == (1, [])
    for name, spoil in (("b", StaleWeights()), ("c", MoreEpisodes())):
        caught, fleet, *_ = trained(name, spoil, *MEMORY)
        assert (caught["segments"], fleet.quarantined) == (2, ["w1"])
        assert digests_of(caught) == digests_of(summary)


def test_a_lazy_worker_is_caught_by_a_draw(trained):
    honest = honest_digests(trained)
    summary, fleet, ledger, events = trained("caught", StaleWeights(from_round=52), at_least=0.5, trust_after=2)
    assert fleet.quarantined == ["w1"]
    assert digests_of(summary) == honest
    caught = next(event for event in events if event["kind"] == "audit_failed")
    assert 50 <= caught["from_round"] <= 85
    assert verify(ledger.journal).problem is None


def test_what_reaches_back_further_than_the_window_taints_the_run(trained):
    summary, _, ledger, events = trained("a", MadeUpRewards(from_round=83), window=2, trust_after=1)
    assert summary["tainted"] is True
    assert "tainted" in kinds(events)
    back = next(event for event in events if event["kind"] == "taken_back")["updates"]
    assert back == 80
    assert verify(ledger.journal).problem is None


def test_two_dishonest_workers_are_both_caught(trained):
    honest = honest_digests(trained)
    summary, fleet, ledger, _ = trained("caught", MadeUpRewards(from_round=23), dishonest=(1, 2))
    assert digests_of(summary) == honest
    assert sorted(fleet.quarantined) == ["w1", "w2"]
    assert summary["segments"] == 3
    assert verify(ledger.journal).problem is None


def test_the_run_goes_on_honestly_when_the_driver_dies_right_after_it_was_taken_back(trained, tmp_path, monkeypatch):
    honest = honest_digests(trained)
    taken_back = VolunteerFleet.quarantine

    class Death(BaseException):
        """No way out of the house's knows it."""

    def die(self, worker, why):
        raise Death

    monkeypatch.setattr(VolunteerFleet, "quarantine", die)
    with pytest.raises(Death):
        trained("a", MadeUpRewards(from_round=33))
    monkeypatch.setattr(VolunteerFleet, "quarantine", taken_back)
    summary, _, ledger, _ = trained("a", None)
    assert digests_of(summary) == honest
    assert (summary["segments"], summary["resumed"]) == (2, True)
    assert verify(ledger.journal).problem is None
    invalid = [row for row in audits(ledger.journal, "a") if row["outcome"] == "invalid"]
    assert len(invalid) == 1


def test_a_machine_that_does_not_compute_the_same_twice_ends_an_inline_run(tmp_path, monkeypatch):
    from hydrahive.runtime.roles.shard import Shard

    step, calls = Shard._step, []

    def faulty(self, t, actions, record):
        step(self, t, actions, record)
        calls.append(t)
        if len(calls) == 400:
            record.rewards[t, 0] += 1

    monkeypatch.setattr(Shard, "_step", faulty)
    options = ["--workers=0", "--audit.workers=all"]
    config = load_run_config(shipped_experiments()["snake/vtrace"], [*SIZES, *options])
    request = training.Request(config, RunFolder(tmp_path / "a"), runs=tmp_path)
    with pytest.raises(HydrahiveError, match="does not compute the same twice"):
        training.train(request)
    assert verify(Ledger(tmp_path / "ledger.sqlite").journal).problem is None


PILOT = {
    "every": 1,
    "episodes": 4,
    "guards": None,
    "convergence": {"widest": 1},
    "search": {"space": {"algorithm.learning_rate": {"log_uniform": [1.0e-4, 1.0e-2]}}, "settle": 2},
}


@pytest.mark.parametrize("from_round", [0, 33, 73])
def test_a_pilot_decides_the_same_whoever_is_caught(trained, tmp_path, from_round):
    options = f"--pilot={json.dumps(PILOT)}"
    honest, *_ = trained("honest", None, options)
    summary, fleet, ledger, _ = trained("caught", MadeUpRewards(from_round=from_round), options)
    assert digests_of(summary) == digests_of(honest)
    assert (fleet.quarantined, summary["segments"]) == (["w1"], 2)
    assert summary["pilot"] == honest["pilot"]
    said = [
        [json.loads(line) for line in (tmp_path / name / "pilot.jsonl").read_text().splitlines()]
        for name in ("honest", "caught")
    ]
    assert [(line["seen"], line["order"]) for line in said[0]] == [(line["seen"], line["order"]) for line in said[1]]
    assert any(line["order"]["moves"] for line in said[0])
    assert verify(ledger.journal).problem is None
