"""Whoever computes something else than was asked is caught, and the run ends as if he had never been there.

On a real Ray cluster: volunteers join with `hydrahive worker`; the dishonest ones run edited code (`tests/dishonest`).
"""

import json
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager

import pytest

from chaos.harness import cluster
from conftest import FULL, ROOT, TINY, Hydrahive, digests_of, full_only

OPTIONS = [*TINY[2:], "--shards", 4, "--boundary_every", 5, "--stop.env_steps", 60_000]
OPTIONS += ["--checkpoint.every_boundaries", 2]

REFUSED = ("nan", "actions", "nothing", "error")
"""What a worker sends that was not asked for."""

LOOK = """
import json, sys
import ray
from hydrahive.runtime.cluster.capacity import trusted_selector
from hydrahive.runtime.cluster.connecting import place_of
from hydrahive.serving.config import ServingConfig
from hydrahive.serving.gate import _actor_options
from hydrahive.tuning.phase import PLACE, _reserved

ray.init(address=sys.argv[1], namespace="hydrahive", log_to_driver=False, logging_level="ERROR")
nodes = {node["NodeID"]: node["Labels"] for node in ray.nodes()}
others = {node for node, labels in nodes.items() if "hydrahive.owner" in labels or "hydrahive.volunteer" in labels}

class Liar:
    def about(self):
        return next(iter(nodes))

def places(**options):
    spread = {} if options else {"scheduling_strategy": "SPREAD"}
    kind = ray.remote(num_cpus=0, **spread, **options)(Liar)
    made = [kind.remote() for _ in range(12)]
    ray.get([one.about.remote() for one in made])
    return [place_of(one) for one in made]

def where(options):
    return [node in others for node, _, _ in places(**{k: v for k, v in options.items() if k != "num_cpus"})]

group = _reserved([PLACE, {"CPU": 1.0}])()
ray.get(group.ready(), timeout=60)
bundles = ray.util.placement_group_table(group)["bundles_to_node_id"]
crew = {}
for row in ray._private.state.actors().values():
    crew.setdefault(row["ActorClassName"], set()).add(row["Address"]["NodeID"] in others)
print(json.dumps({
    "others": len(others), "anywhere": where({}), "replicas": where(_actor_options(ServingConfig())),
    "trial": [node in others for node in bundles.values()], "true": all(
        node in nodes and pid > 0 and ip for node, ip, pid in places()),
    "crew": {name: sorted(found) for name, found in crew.items()},
}))
"""
"""Where Ray puts whom, as a driver sees it."""

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


@full_only
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
        assert [event["owner"] for event in refused] == ["trudy"], [
            event["text"]
            for event in events
            if "refused" in event["text"] or "lost" in event["kind"] or "recover" in event["kind"]
        ]
        with_key = Hydrahive(hydrahive.runs, {**hydrahive.environment, "HYDRAHIVE_KEY": key})
        again = with_key("worker", "--owner", "trudy", "--address", nodes.address, "--cpus", 1, code=1)
        assert "'trudy' was caught 1 times" in again.stderr
        assert "forgiven" in hydrahive("ledger", "accounts", "forgive", "trudy").stdout
        report.add("Accounts", f"- {refused[0]['text']}; digest as honest")
    assert rows_of(hydrahive, "audit", "--strikes")[0]["account"] == "trudy"
    assert "conserved" in hydrahive("ledger", "verify").stdout


@full_only
def test_who_gives_other_gradients_is_found_out_before_they_count(volunteers, report):
    """Env workers find slices' gradients, too; another account's are found again until it is trusted."""
    hydrahive, nodes = volunteers
    options = [*OPTIONS, "--policy.encoder.hidden", "[256, 256]", "--envs_per_shard", 64, "--learner.slices", 4]
    options += ["--stop.env_steps", 600_000]
    honest = hydrahive.train("snake/vtrace", "honest-slices", *options, "--workers", 0)
    key = hydrahive("ledger", "accounts", "open", "sybil").stdout.strip()
    edited = {"PYTHONPATH": str(ROOT / "tests" / "dishonest"), "DISHONEST": "slices"}
    with volunteer(hydrahive, nodes.address, key, owner="sybil", **edited):
        command = [*options, "--workers", 2, "--learner.workers", "auto", "--address", nodes.address]
        summary = hydrahive.train("snake/vtrace", "slices", *command)
    assert digests_of(summary) == digests_of(honest)
    assert (summary["segments"], summary["tainted"]) == (1, False)
    events = [json.loads(line) for line in (hydrahive.runs / "slices" / "events.jsonl").read_text().splitlines()]
    refused = [event for event in events if event["kind"] == "work_refused"]
    assert [event["owner"] for event in refused] == ["sybil"]
    assert "another gradient" in refused[0]["text"]
    assert rows_of(hydrahive, "balance", "sybil")[0]["learning"] == 0
    assert "conserved" in hydrahive("ledger", "verify").stdout
    report.add("Accounts", f"- {refused[0]['text']}; digest as honest")


def test_dishonest_workers_are_caught_and_the_run_has_the_honest_digest(volunteers, report):
    hydrahive, nodes = volunteers
    honest = hydrahive.train("snake/vtrace", "honest", *OPTIONS, "--workers", 0)
    key = hydrahive("ledger", "accounts", "open", "mallory").stdout.strip()
    edited = {"PYTHONPATH": str(ROOT / "tests" / "dishonest")}
    others = hydrahive("ledger", "accounts", "open", "eve").stdout.strip()
    for way, from_round in WAYS.items():
        forging = {**edited, "DISHONEST": way, "DISHONEST_FROM_ROUND": str(from_round)}
        with ExitStack() as machines:
            machines.enter_context(volunteer(hydrahive, nodes.address, key, **forging))
            if not FULL:  # beside him somebody who sends what was not asked for
                sending = {**edited, "DISHONEST": "nan", "DISHONEST_FROM_ROUND": "7"}
                machines.enter_context(volunteer(hydrahive, nodes.address, others, owner="eve", **sending))
            options = [*OPTIONS, "--workers", 2 if FULL else 3, "--address", nodes.address]
            summary = hydrahive.train("snake/vtrace", way, *options)
        hydrahive("ledger", "accounts", "forgive", "mallory")
        events = [json.loads(line) for line in (hydrahive.runs / way / "events.jsonl").read_text().splitlines()]
        refused = [event["owner"] for event in events if event["kind"] == "work_refused"]
        assert refused == ([] if FULL else ["eve"])
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


@full_only
def test_what_is_believed_is_on_ones_own_nodes(volunteers):
    """T3, T6: where somebody is, Ray says; and whoever is believed, or sees customers' keys, is on nodes of one's own.

    One of the other nodes names an account, one only says that it is a volunteer's.
    """
    hydrahive, nodes = volunteers
    nodes.add(labels={"hydrahive.owner": "mallory"})
    nodes.add(labels={"hydrahive.volunteer": "yes"})
    options = [*OPTIONS, "--workers", 1, "--stop.env_steps", 10_000, "--evaluate_every", 2, "--audit.workers", "all"]
    hydrahive.train("snake/vtrace", "placed", *options, "--address", nodes.address)
    told = subprocess.run([sys.executable, "-c", LOOK, nodes.address], capture_output=True, text=True, timeout=120,
                          check=False)  # fmt: skip
    assert told.returncode == 0, told.stderr
    placed = json.loads(told.stdout.splitlines()[-1])
    assert placed["others"] >= 2
    assert placed["true"], "a node, a process and an address for everybody"
    for who in ("LearnerActor", "EvaluatorActor", "AuditorActor", "CoordinatorActor"):
        assert placed["crew"][who] == [False], who
    assert True in placed["anywhere"], "others would be, where nobody says otherwise"
    assert set(placed["replicas"]) == {False}
    assert placed["trial"] == [False, False]
