"""Whoever computes something else than was asked is caught, and the run ends as if he had never been there.

On a real Ray cluster: volunteers join with `hydrahive worker`; the dishonest ones run edited code (`tests/dishonest`).
"""

import json
import signal
from contextlib import contextmanager

import pytest

from chaos.harness import cluster
from conftest import FULL, ROOT, TINY, Hydrahive, digests_of, full_only

OPTIONS = [*TINY[2:], "--shards", 4, "--boundary_every", 5, "--stop.env_steps", 60_000]
OPTIONS += ["--checkpoint.every_boundaries", 2]

REFUSED = ("nan", "actions", "nothing", "error") if FULL else ("nan",)
"""What a worker sends that was not asked for."""

WAYS = {"rewards": 12, "steps": 0, "weights": 0, "snapshot": 0} if FULL else {"rewards": 12}
"""How a worker is dishonest, and from which round on."""


@contextmanager
def volunteer(hydrahive, address, key, owner="mallory", **environment):
    """A machine that has joined and works for somebody."""
    command = Hydrahive(hydrahive.runs, {**hydrahive.environment, "HYDRAHIVE_KEY": key, **environment})
    process = command.start("worker", "--owner", owner, "--address", address, "--cpus", 1)
    try:
        line = process.stderr.readline()
        assert line.startswith("joined "), line + process.stderr.read()
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=90)


@pytest.fixture(scope="module")
def on_cluster(tmp_path_factory):
    """A cluster with a node for the learner and one for an honest worker; its head knows the ledger."""
    ledger = tmp_path_factory.mktemp("cluster") / "ledger.sqlite"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYDRAHIVE_LEDGER", str(ledger))
        with cluster(nodes=2) as nodes:
            yield nodes, ledger


@pytest.fixture
def volunteers(hydrahive, on_cluster):
    """The command beside that cluster, and its address."""
    nodes, ledger = on_cluster
    hydrahive.environment["HYDRAHIVE_LEDGER"] = str(ledger)
    return hydrahive, nodes


def rows_of(hydrahive, *command):
    return [json.loads(line) for line in hydrahive("ledger", *command, "--json").stdout.splitlines()]


def test_who_sends_what_was_not_asked_for_is_done_without(volunteers, report):
    """Nothing is learned from it, so the run is not taken back; and who was caught does not come again at once."""
    hydrahive, nodes = volunteers
    honest = hydrahive.train("snake/vtrace", "honest", *OPTIONS, "--workers", 0)
    key = hydrahive("ledger", "accounts", "open", "trudy").stdout.strip()
    for way in REFUSED:
        edited = {"PYTHONPATH": str(ROOT / "tests" / "dishonest"), "DISHONEST": way, "DISHONEST_FROM_ROUND": "7"}
        with volunteer(hydrahive, nodes.address, key, owner="trudy", **edited):
            options = [*OPTIONS, "--workers", 2, "--address", nodes.address]
            summary = hydrahive.train("snake/vtrace", way, *options)
        assert digests_of(summary) == digests_of(honest)
        assert (summary["segments"], summary["tainted"]) == (1, False)
        events = [json.loads(line) for line in (hydrahive.runs / way / "events.jsonl").read_text().splitlines()]
        refused = [event for event in events if event["kind"] == "work_refused"]
        assert [event["owner"] for event in refused] == ["trudy"]
        with_key = Hydrahive(hydrahive.runs, {**hydrahive.environment, "HYDRAHIVE_KEY": key})
        again = with_key("worker", "--owner", "trudy", "--address", nodes.address, "--cpus", 1, code=1)
        assert "'trudy' was caught 1 times" in again.stderr
        assert "forgiven" in hydrahive("ledger", "accounts", "forgive", "trudy").stdout
        report.add("Accounts", f"- {refused[0]['text']}; digest as honest")
    assert rows_of(hydrahive, "audit", "--strikes")[0]["account"] == "trudy"
    assert "conserved" in hydrahive("ledger", "verify").stdout


def test_dishonest_workers_are_caught_and_the_run_has_the_honest_digest(volunteers, report):
    hydrahive, nodes = volunteers
    honest = hydrahive.train("snake/vtrace", "honest", *OPTIONS, "--workers", 0)
    key = hydrahive("ledger", "accounts", "open", "mallory").stdout.strip()
    for way, from_round in WAYS.items():
        edited = {"PYTHONPATH": str(ROOT / "tests" / "dishonest"), "DISHONEST": way}
        with volunteer(hydrahive, nodes.address, key, **edited, DISHONEST_FROM_ROUND=str(from_round)):
            options = [*OPTIONS, "--workers", 2, "--address", nodes.address]
            summary = hydrahive.train("snake/vtrace", way, *options)
        hydrahive("ledger", "accounts", "forgive", "mallory")
        assert digests_of(summary) == digests_of(honest)
        assert (summary["segments"], summary["tainted"]) == (2, False)
        invalid = [row for row in rows_of(hydrahive, "audit", "--run", way) if row["outcome"] == "invalid"]
        assert len(invalid) == 1
        assert invalid[0]["from_round"] == from_round // 5 * 5
        report.add("Accounts", f"- dishonest worker ({way} from round {from_round}): {invalid[0]['text']}, shard "
                   f"{invalid[0]['shard']}, rounds {invalid[0]['from_round']} to {invalid[0]['until_round']}; digest as honest")  # fmt: skip
    standing = {(row["run"], row["owner"]): row["state"] for row in rows_of(hydrahive, "audit", "--workers")}
    for way in WAYS:
        assert standing[way, "mallory"] == "quarantined"
    assert "conserved" in hydrahive("ledger", "verify").stdout


@full_only
def test_a_label_without_its_key_earns_nothing(volunteers, monkeypatch):
    hydrahive, nodes = volunteers
    monkeypatch.setenv("HYDRAHIVE_KEY", "hh_guessed")
    hydrahive("ledger", "accounts", "open", "alice")
    refused = hydrahive("worker", "--owner", "alice", "--address", nodes.address, "--cpus", 1, code=1)
    assert refused.stderr.splitlines() == ["hydrahive: error: account 'alice': this is not its key"]
    nodes.add(labels={"hydrahive.owner": "alice"})
    options = [*OPTIONS, "--workers", 2, "--address", nodes.address]
    hydrahive.train("snake/vtrace", "a", *options)
    owners = {row["owner"]: row["env_steps"] for row in rows_of(hydrahive, "balance")}
    assert owners["alice"] == 0
    refusals = [row["code"] for row in rows_of(hydrahive, "audit", "--refusals") if row["subject"] == "alice"]
    assert refusals == ["wrong-key", "no-key"]
