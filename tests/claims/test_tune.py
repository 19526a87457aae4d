"""Sweeps: what repeats, what survives, and what a failing trial does. Small here, at full size with `make claims`."""

import json
import os
import signal

import yaml
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

from chaos.harness import titled
from conftest import FULL, full_only, wait_for

SMALL = {
    "experiment": "snake/vtrace",
    "fixed": {"boundary_every": 3, "envs_per_shard": 16, "env.size": 10},
    "space": {
        "algorithm.learning_rate": {"log_uniform": [1e-4, 1e-2]},
        "algorithm.entropy_cost": {"log_uniform": [1e-4, 1e-1]},
        "algorithm.discount": {"uniform": [0.9, 0.999]},
    },
    "budget": {"trials": 4 if FULL else 3, "env_steps": 800_000 if FULL else 30_000, "milestones": 8 if FULL else 3},
    "search": "RandomSearch",
    "cpus_per_trial": 0.5 if FULL else 1.0,
    "again": {"top": 1, "seeds": 2} if FULL else {"top": 0},
}
BRED = {**SMALL, "scheduler": "Pbt"}
TPE = {"class_path": "Optuna", "init_args": {"startup_trials": 2}}
ASKED = {
    **SMALL,
    "search": TPE,
    "budget": {**SMALL["budget"], "trials": 8 if FULL else 3},
    "again": {"top": 2 if FULL else 0},
}


def story(folder):
    """Everything that a sweep decides and makes, without clocks."""
    reports = {path.parent.name: path.read_text().splitlines() for path in folder.glob("*/milestones.jsonl")}
    digests = {name: [json.loads(line)["state_digest"] for line in lines] for name, lines in reports.items()}
    lineage = folder / "lineage.jsonl"
    decided = lineage.read_text() if lineage.exists() else None
    return json.loads((folder / "winner.json").read_text()), decided, digests


def killed_at(hydrahive, path, sweep, milestones):
    """Run a sweep and kill it, with SIGKILL, once so many milestones have been reported."""
    folder = hydrahive.runs / path.stem
    path.write_text(yaml.safe_dump(sweep))
    process = hydrahive.start("tune", "run", path)
    reported = lambda: sum(len(one.read_text().splitlines()) for one in folder.glob("*/milestones.jsonl"))  # noqa: E731
    wait_for(lambda: reported() >= milestones, "milestones", deadline_s=180)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def test_population_based_training_repeats_survives_and_replays(hydrahive, tune, report, tmp_path):
    first = story(tune("a", BRED))
    assert any(json.loads(line)["exploits"] for line in first[1].splitlines())
    for milestones in (3, 9, 17, 30) if FULL else (4,):
        killed_at(hydrahive, tmp_path / "c.yaml", BRED, milestones)
    # Half as many at a time, so that trials hand their processes on; and at full size one process dies.
    fewer = ["--cpus_per_trial", 2 * SMALL["cpus_per_trial"]]
    process = hydrahive.start("tune", "run", tmp_path / "c.yaml", *fewer)
    if FULL:
        wait_for(lambda: titled("ray::TrialProcess") or process.poll() is not None, "a trial")
        for pid in titled("ray::TrialProcess")[:1]:
            os.kill(pid, signal.SIGKILL)
    assert process.wait(timeout=600) == 0, process.communicate()
    assert story(hydrahive.runs / "c") == first
    if FULL:  # the README's small sweep is replayed in test_readme.py
        replayed = json.loads(hydrahive("tune", "replay", "a", timeout_s=300).stdout)
        assert replayed == {"sweep": "a", "digest": first[0]["digest"], "winner": first[0]["digest"], "equal": True}
        assert story(tune("b", BRED)) == first
        exported = hydrahive.train(hydrahive.runs / "a" / "winner.yaml", "exported", "--workers", 1)
        assert exported["digest"] == first[0]["digest"]
    report.add(
        "Tune",
        f"- population-based training, {SMALL['budget']['trials']} trials of {SMALL['budget']['env_steps']:,} env steps: run "
        f"twice (with all and with half of the trials at a time), killed several times and resumed, and its winner trained from scratch: "
        f"`{first[0]['digest']}`",
    )


@full_only
def test_optuna_one_trial_at_a_time_repeats_and_survives(hydrahive, tune, report, tmp_path):
    first = story(tune("a", ASKED))
    assert len(first[2]) == ASKED["budget"]["trials"] + (2 * 3 if FULL else 0)
    killed_at(hydrahive, tmp_path / "b.yaml", ASKED, 4)
    assert story(tune("b", ASKED)) == first
    report.add(
        "Tune", f"- Optuna, {ASKED['budget']['trials']} trials, run and killed and resumed: `{first[0]['digest']}`"
    )


@full_only
def test_stopped_trials_are_listed_with_reasons_and_stay_stopped(hydrahive, tune):
    asha = {"class_path": "Asha", "init_args": {"reduction": 3 if FULL else 2}}
    sweep = {
        **(SMALL if FULL else ASKED),
        "scheduler": asha,
        "budget": {**SMALL["budget"], "trials": 6 if FULL else 4},
        "again": {"top": 0},
    }
    folder = tune("a", sweep)
    endings = [json.loads(path.read_text()) for path in sorted(folder.glob("*/ending.json"))]
    pruned = [ending for ending in endings if ending["status"] == "pruned"]
    assert 1 <= len(pruned) < len(endings) == sweep["budget"]["trials"]
    assert all("Asha stopped it at milestone" in ending["reason"] for ending in pruned)
    page = (folder / "report.html").read_text()
    assert "Not repeatable" in page
    assert "Asha stopped it at milestone" in page
    shown = EventMultiplexer().AddRunsFromDirectory(str(folder / "tb"))
    shown.Reload()
    assert set(shown.Runs()) == {".", *(f"trial-{number:03d}" for number in range(len(endings)))}
    told = shown.GetAccumulator("trial-000").PluginTagToContent("hparams")
    assert "_hparams_/session_start_info" in told
    if FULL:
        before = story(folder)
        assert story(tune("a", sweep)) == before


@full_only
def test_asynchronous_breeding_works_and_says_that_it_does_not_repeat(tune):
    scheduler = {"class_path": "Pbt", "init_args": {"synchronous": False}}
    folder = tune("a", {**BRED, "scheduler": scheduler, "again": {"top": 0}})
    decided = [json.loads(line) for line in (folder / "lineage.jsonl").read_text().splitlines()]
    assert all(len(one["scores"]) == 1 for one in decided)
    assert "asynchronous" in (folder / "report.html").read_text()


@full_only
def test_trials_with_env_workers_are_trained_in_placement_groups(hydrahive, tune):
    folder = tune("a", {**BRED, "budget": {**BRED["budget"], "trials": 2}, "workers": 1, "again": {"top": 0}})
    rows = hydrahive("ledger", "balance", "--run", "a", "--json").stdout.splitlines()
    paid = sum(json.loads(row)["env_steps"] for row in rows)
    told = [
        json.loads(path.read_text().splitlines()[-1])["env_steps"] for path in folder.glob("trial-*/milestones.jsonl")
    ]
    assert paid >= max(told)
    assert json.loads((folder / "accounts.json").read_text())[0]["env_steps"] == paid
    assert json.loads(hydrahive("tune", "replay", "a", timeout_s=300).stdout)["equal"]
    hydrahive("ledger", "verify")
