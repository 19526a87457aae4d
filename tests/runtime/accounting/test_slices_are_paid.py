"""Slice workers among plain objects: paid for what was taken, audited, caught, and the run honest all the same."""

import dataclasses
import json
from contextlib import contextmanager

import pytest

from conftest import digests_of
from hydrahive.ledger.audit_rules import AuditConfig, slicing
from hydrahive.ledger.ledger import Ledger
from hydrahive.ledger.posting import WorkerFacts
from hydrahive.ledger.statements import audits, balances
from hydrahive.ledger.verification import verify
from hydrahive.runtime.config.parsing import load_run_config
from hydrahive.runtime.config.shipped import shipped_experiments
from hydrahive.runtime.runs.run_folder import RunFolder
from hydrahive.runtime.training import train as training
from slicers import PlainLine
from volunteers import SIZES, VolunteerFleet

SLICERS = {11: "alice", 12: "bob", 13: "me"}


class SlicingFleet(VolunteerFleet):
    """Three more workers, that find slices' gradients."""

    def __init__(self, config, run_id, lies):
        super().__init__(config, run_id)
        self._people |= SLICERS
        self.line, self.gone, self.shares = PlainLine(config, (), lies), set(), []

    def facts(self, worker):
        return WorkerFacts(f"w{worker}", self._people[worker], f"node-{worker}")

    def audits(self, worker):
        return super().audits(worker) and self._config.audit.workers != "none"

    def oversee(self, secret, standings):
        self._secret, self._share = secret, standings.share

    def update(self, *arguments, **more):
        there = [number for number in SLICERS if number not in self.gone]
        shares = {n: self._share(slicing(f"node-{n}")) if self.audits(self.facts(n)) else 0.0 for n in there}
        self.shares.append(shares)
        self._learner.help_from(self.line, self._secret, shares)
        return super().update(*arguments, **more)

    def refuse(self, worker, refused):
        self.gone.add(worker)
        self.refused.append((self.facts(worker), refused))

    def quarantine(self, worker, why):
        super().quarantine(worker, why)
        self.gone.add(int(worker.name[1:]))


@pytest.fixture
def trained(tmp_path, monkeypatch):

    def train(name, lies=lambda worker, steps: False, *options, **audit):
        fleets = []

        @contextmanager
        def gathered(config, run_id, *_):
            fleets.append(SlicingFleet(config, run_id, lies))
            yield fleets[-1]

        monkeypatch.setattr(training, "gathered_fleet", gathered)
        config = load_run_config(
            shipped_experiments()["snake/vtrace"],
            [*SIZES, "--learner.slices=4", "--ledger.microtokens_per_row=3", *options],
        )
        config = dataclasses.replace(config, audit=AuditConfig(**audit))
        folder = RunFolder(tmp_path / name)
        outcome = training.train(training.Request(config, folder, runs=tmp_path))
        events = [json.loads(line) for line in folder.events.read_text().splitlines()]
        return outcome.summary, fleets[0], Ledger(tmp_path / "ledger.sqlite"), events

    return train


def test_what_was_taken_is_paid_by_the_row_and_told_apart_from_acting(trained):
    summary, fleet, ledger, _ = trained("paid")
    assert fleet.line.done > 50
    rows = {row["owner"]: row for row in balances(ledger.journal)}
    steps = summary["env_steps"]
    found = sum(row["gradient_rows"] for row in rows.values())
    # One gradient step an update, four slices: the learner finds at least one of them itself.
    assert 0.3 * steps < found <= 0.75 * steps
    for row in rows.values():
        assert row["learning"] == 3 * row["gradient_rows"]
        assert row["acting"] == 10 * row["env_steps"]
        assert row["earned"] == row["acting"] + row["learning"]
        assert (row["received"], row["pending"]) == (0, 0)
    told = summary["ledger"]
    assert (told["credited_gradient_rows"], told["credited_learning_microtokens"]) == (found, 3 * found)
    assert told["conservation_difference"] == 0
    assert verify(ledger.journal).problem is None
    # Whoever works for another account is found again until it is trusted; the user's own never is.
    assert fleet.shares[0] == {11: 1.0, 12: 1.0, 13: 0.0}
    assert fleet.shares[-1][11] < 0.2


def test_a_lie_in_the_first_update_is_found_before_it_counts(trained):
    honest, *_ = trained("honest")
    summary, fleet, ledger, _ = trained("caught", lambda worker, steps: worker == 11)
    assert digests_of(summary) == digests_of(honest)
    assert (summary["segments"], summary["tainted"]) == (1, False), "nothing of it was used"
    assert fleet.gone == {11}
    refused = [row for row in audits(ledger.journal, "caught") if row["outcome"] == "refused"]
    assert [(row["workers"], row["text"]) for row in refused] == [("w11", "another gradient than the learner")]
    assert verify(ledger.journal).problem is None


def test_who_begins_to_lie_when_he_is_trusted_is_caught_and_the_run_goes_back_before_it(trained):
    honest, *_ = trained("honest")
    summary, fleet, ledger, events = trained("caught", lambda worker, steps: worker == 11 and steps >= 30)
    assert digests_of(summary) == digests_of(honest)
    assert (summary["segments"], summary["tainted"]) == (2, False)
    assert "w11" in fleet.quarantined
    caught = next(event for event in events if event["kind"] == "audit_failed")
    assert "another gradient" in caught["text"]
    assert "slices of update" in caught["text"]
    # What nobody had found again is taken back; what was verified stays paid.
    states = dict(
        ledger.journal.db.execute(
            "SELECT l.state, sum(l.rows) FROM learning l JOIN workers w ON w.id = l.worker JOIN runs r ON r.id = l.run "
            "WHERE w.name = 'w11' AND r.name = 'caught' AND l.checked < l.rows GROUP BY l.state"
        )
    )
    assert set(states) <= {"clawed"}
    assert verify(ledger.journal).problem is None


def test_that_lie_unnoticed_would_change_the_digest(trained):
    """So that the tests above can fail."""
    honest, *_ = trained("honest")
    summary, *_ = trained("lied", lambda worker, steps: worker == 11 and steps >= 30, workers="none")
    assert digests_of(summary) != digests_of(honest)
