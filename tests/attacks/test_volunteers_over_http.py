"""Volunteers through a real gateway: honest ones are paid, dishonest ones change nothing and get nothing."""

import dataclasses
import json
from contextlib import contextmanager

import pytest

import robbers
from conftest import FULL, digests_of
from gateways import HttpFleet
from hydrahive.ledger.audit_rules import AuditConfig
from hydrahive.ledger.ledger import Ledger
from hydrahive.ledger.statements import balances
from hydrahive.ledger.verification import verify
from hydrahive.runtime.config.parsing import load_run_config
from hydrahive.runtime.config.remote import RemoteConfig
from hydrahive.runtime.config.shipped import shipped_experiments
from hydrahive.runtime.runs.run_folder import RunFolder
from hydrahive.runtime.training import train as training
from volunteers import SIZES


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """Trains with people: (summary, fleet, ledger, events); without a gateway where there are none."""

    def train(name, people, *options, trust_after=2):
        fleets = []

        @contextmanager
        def gathered(config, run_id, *_):
            fleets.append(HttpFleet(config, run_id, people, tmp_path / "ledger.sqlite"))
            yield fleets[-1]
            fleets[-1].close()

        if people:
            monkeypatch.setattr(training, "gathered_fleet", gathered)
        config = load_run_config(
            shipped_experiments()["snake/vtrace"],
            [*SIZES, "--stop.env_steps=20000", "--look=none", "--workers=0", "--shards=12", *options],
        )
        remote = RemoteConfig(share=1.0)
        config = dataclasses.replace(config, audit=AuditConfig(trust_after=trust_after), remote=remote, recording=False)
        folder = RunFolder(tmp_path / name)
        outcome = training.train(training.Request(config, folder, runs=tmp_path))
        events = [json.loads(line) for line in folder.events.read_text().splitlines()]
        return outcome.summary, (fleets or [None])[0], Ledger(tmp_path / "ledger.sqlite"), events

    return train


def paid(ledger):
    return {row["owner"]: row["env_steps"] for row in balances(ledger.journal)}


def test_honest_volunteers_and_dishonest_ones_at_once(trained):
    alone, *_ = trained("alone", {})
    honest = {f"honest{i}": None for i in range(2)}
    ways = robbers.WAYS if FULL else [*robbers.WAYS[:4], robbers.forged_class, robbers.anothers_lease]
    people = honest | {f"robber{i}-{way.__name__}": way for i, way in enumerate(ways)}
    lent, fleet, ledger, events = trained("lent", people)
    assert digests_of(lent) == digests_of(alone)
    earned = paid(ledger)
    assert all(earned[name] > 300 for name in honest), earned
    assert not [name for name in people if name.startswith("robber") and earned.get(name, 0)], earned
    accused = {one.account.partition("-")[2] for one in fleet.accused}
    assert {"made_up_actions", "made_up_behaviour", "stale_weights"} <= accused
    assert not [one for one in fleet.accused if one.account in honest]
    assert not [event for event in events if event["kind"] in ("caught", "taken_back", "failed", "recovering")], events
    turned = fleet.volunteers[next(name for name in people if "forged_class" in name)].error
    assert "it computes other bytes" in str(turned)
    assert verify(ledger.journal).problem is None
