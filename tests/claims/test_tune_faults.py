"""Sweeps whose trials fail, and who is paid for trials. Small here, at full size with `make claims`."""

import json
import signal

import yaml

from chaos.harness import cluster
from conftest import ROOT, full_only

SMALL = {
    "experiment": "snake/vtrace",
    "fixed": {"boundary_every": 3, "envs_per_shard": 16, "env.size": 10},
    "space": {"algorithm.learning_rate": {"log_uniform": [1e-4, 1e-2]}},
    "search": "RandomSearch",
    "again": {"top": 0},
}

FAILING = {
    "experiment": "cartpole/vtrace",
    "fixed": {"boundary_every": 2, "shards": 1, "envs_per_shard": 4, "fragment_length": 10, "faults.attempts": 2},
    "space": {"env.id": {"choice": ["CartPole-v1", "poison:Raises-v0", "poison:Dies-v0", "poison:Hungry-v0"]}},
    "budget": {"trials": 4, "env_steps": 2_000, "milestones": 5},
    "search": "GridSearch",
    "cpus_per_trial": 0.5,
    "attempts": 2,
    "again": {"top": 0},
}


@full_only
def test_a_trial_that_fails_is_marked_and_the_others_go_on(hydrahive, tune):
    hydrahive.environment["PYTHONPATH"] = str(ROOT / "tests" / "poison")
    folder = tune("a", FAILING)
    endings = {n: json.loads((folder / f"trial-{n:03d}" / "ending.json").read_text()) for n in range(4)}
    assert [endings[n]["status"] for n in range(4)] == ["done", "failed", "died", "out of memory"]
    assert "the simulator is on fire" in endings[1]["reason"]
    assert json.loads((folder / "winner.json").read_text())["trial"] == 0
    page = (folder / "report.html").read_text()
    assert "the simulator is on fire" in page


@full_only
def test_a_population_goes_on_without_those_that_diverge(tune):
    choice = {"choice": [1e-3, 1e20]}
    breeding = {
        "search": "GridSearch",
        "scheduler": "Pbt",
        "budget": {"trials": 2, "env_steps": 20_000, "milestones": 3},
    }
    sweep = {**SMALL, **breeding, "space": {"algorithm.learning_rate": choice}, "cpus_per_trial": 0.5}
    folder = tune("a", sweep)
    endings = [json.loads((folder / f"trial-00{n}" / "ending.json").read_text()) for n in range(2)]
    assert [ending["status"] for ending in endings] == ["done", "diverged"]
    assert json.loads((folder / "winner.json").read_text())["trial"] == 0


@full_only
def test_all_failing_ends_the_sweep_with_the_first_error(hydrahive, tmp_path):
    hydrahive.environment["PYTHONPATH"] = str(ROOT / "tests" / "poison")
    path = tmp_path / "a.yaml"
    space = {"env.id": {"choice": ["poison:Raises-v0", "poison:Dies-v0"]}}
    path.write_text(yaml.safe_dump({**FAILING, "space": space, "attempts": 1}))
    failed = hydrahive("tune", "run", path, code=1, timeout_s=300)
    last = failed.stderr.splitlines()[-1]
    assert "all 2 trials failed; the first, trial-000: failed" in last
    assert "the simulator is on fire" in last
    assert "Traceback" not in failed.stderr


@full_only
def test_a_trials_work_is_credited_to_the_owner_of_its_node(hydrahive, tmp_path, monkeypatch):
    ledger = tmp_path / "ledger.sqlite"
    monkeypatch.setenv("HYDRAHIVE_LEDGER", str(ledger))
    hydrahive.environment["HYDRAHIVE_LEDGER"] = str(ledger)
    key = json.loads(hydrahive("ledger", "accounts", "open", "alice", "--json").stdout)["key"]
    budget = {
        "trials": 3,
        "env_steps": 600_000,
        "milestones": 3,
    }  # long enough that the second trial needs a node of its own
    sweep = {**SMALL, "cpus_per_trial": 1.0, "budget": budget}
    path = tmp_path / "a.yaml"
    path.write_text(yaml.safe_dump(sweep))
    with cluster(nodes=1) as nodes:
        hydrahive.environment["HYDRAHIVE_KEY"] = key
        machine = hydrahive.start("worker", "--owner", "alice", "--address", nodes.address, "--cpus", 1)
        try:
            line = machine.stderr.readline()
            assert line.startswith("joined "), line + machine.stderr.read()
            hydrahive("tune", "run", path, "--address", nodes.address, timeout_s=300)
        finally:
            machine.send_signal(signal.SIGINT)
            machine.communicate(timeout=90)
    rows = [json.loads(row) for row in hydrahive("ledger", "balance", "--run", "a", "--json").stdout.splitlines()]
    paid = {row["owner"]: row["env_steps"] for row in rows}
    assert paid.pop("alice") > 0
    (mine,) = paid.values()
    assert mine > 0
    last = [
        json.loads(one.read_text().splitlines()[-1]) for one in (hydrahive.runs / "a").glob("trial-*/milestones.jsonl")
    ]
    assert sum(row["env_steps"] for row in rows) == sum(report["env_steps"] for report in last)
    hydrahive("ledger", "verify")
