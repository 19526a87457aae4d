"""Who works beside the training may freeze, hang or die: the run goes on, and says what is lost."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from conftest import ROOT, full_only, wait_for

SNAKE = ["snake/vtrace", "--env.size=7", "--env.window=5", "--policy.encoder.hidden=[16]", "--envs_per_shard=8"]
SNAKE += ["--fragment_length=8", "--boundary_every=5", "--recording=false", "--workers=1"]


def processes_of(kind, runs):
    """Ray's processes of this kind that belong to a run in the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            is_one = entry.name.isdigit() and (entry / "cmdline").read_bytes().startswith(kind.encode())
            if is_one and str(runs).encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def events_of(hydrahive, name):
    path = hydrahive.runs / name / "events.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@full_only
@pytest.mark.parametrize("what", [signal.SIGSTOP, signal.SIGKILL])
def test_an_evaluator_that_freezes_or_dies_is_done_without(hydrahive, what):
    options = ["--evaluate_every=20", "--evaluate_episodes=2000", "--stop.updates=300", "--faults.hang_seconds=20"]
    process = hydrahive.start("train", *SNAKE, *options, "--name", "a")
    wait_for(lambda: processes_of("ray::EvaluatorActor.evaluate", hydrahive.runs), "an evaluation", 90)
    (pid,) = processes_of("ray::EvaluatorActor.evaluate", hydrahive.runs)
    time.sleep(2.5)  # a beat
    os.kill(pid, what)
    _, said = process.communicate(timeout=240)
    assert process.returncode == 0, said
    kinds = [event["kind"] for event in events_of(hydrahive, "a")]
    assert "evaluation_lost" in kinds
    assert "finished" in kinds
    assert not Path(f"/proc/{pid}").exists(), "it was ended"


@full_only
def test_an_environment_that_hangs_in_an_evaluation_is_given_up(hydrahive, tmp_path):
    """It hangs in the evaluator only, whose environments are more than a shard's."""
    (tmp_path / "stuck.py").write_text(
        "import gymnasium, time, sys\n"
        "sys.path.insert(0, '" + str(ROOT / "tests" / "games") + "')\n"
        "from strangers import Walk\n"
        "made = []\n"
        "class Stuck(Walk):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        made.append(self)\n"
        "    def step(self, action):\n"
        "        while len(made) > 20 and self.steps == 3:\n"
        "            time.sleep(0.1)\n"
        "        return super().step(action)\n"
        "gymnasium.register('Stuck-v0', Stuck)\n"
    )
    hydrahive.environment["PYTHONPATH"] = str(tmp_path)
    options = ["--env.id=stuck:Stuck-v0", "--shards=2", "--envs_per_shard=2", "--fragment_length=8", "--workers=1"]
    options += ["--env.snapshots=reset", "--evaluate_every=5", "--stop.updates=10", "--faults.hang_seconds=4"]
    options += ["--recording=false", "--boundary_every=5", "--look=none"]
    hydrahive("train", "cartpole/vtrace", *options, "--name", "a", timeout_s=240)
    events = events_of(hydrahive, "a")
    assert [event for event in events if event["kind"] == "evaluation_lost"]
    assert events[-1]["kind"] == "finished"
