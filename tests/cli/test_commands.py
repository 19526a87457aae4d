import json
import subprocess
import sys

import pytest
from torch.cuda import is_available

from conftest import COMMAND, TINY


def test_help_needs_neither_torch_nor_ray():
    code = (
        "import sys; from hydrahive.cli.main import main; main(['--help']);"
        "sys.exit(bool({'torch', 'ray', 'gymnasium'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
    code = code.replace("['--help']", "['train', '--help']").replace(", 'gymnasium'", "")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_help_of_every_command_explains_it(hydrahive):
    for command in ["train", "evaluate", "play", "digest", "runs", "bench"]:
        assert "usage: hydrahive" in hydrahive(command, "--help").stdout
    text = hydrahive("train", "--help").stdout
    for words in [
        "--stop.env_steps",
        "Master seed",
        "Weight of a reward one step later",
        "snake/vtrace",
        "--init-from",
    ]:
        assert words in text


def test_a_trained_run_is_evaluated_played_digested_and_listed(hydrahive, tmp_path):
    summary = hydrahive.train("snake/vtrace", "a", *TINY, "--stop.env_steps", 20_000)
    hydrahive.train("snake/vtrace", "b", *TINY, "--stop.env_steps", 20_000, "--seed", 2)
    figures = json.loads(hydrahive("evaluate", "a", "--episodes", 33, "--json").stdout)
    assert figures["episodes"] == 33
    assert figures["mean_low"] <= figures["mean"] <= figures["mean_high"]
    assert hydrahive("evaluate", "a", "--episodes", 33, "--json").stdout == json.dumps(figures) + "\n"
    assert "score" in hydrahive("play", "a", "--out", tmp_path / "a.gif").stdout
    assert (tmp_path / "a.gif").read_bytes().startswith(b"GIF8")
    printed = hydrahive("digest", "a").stdout.split()
    assert printed == [summary["digest"], summary["machine_class"]]
    listing = hydrahive("runs").stdout
    assert "a" in listing
    assert summary["digest"][:12] in listing
    comparison = hydrahive("runs", "a", "b").stdout
    assert "seed" in comparison
    assert [json.loads(line)["run"] for line in hydrahive("runs", "--json").stdout.splitlines()] == ["a", "b"]


@pytest.mark.parametrize(("against", "why"), [([], "1 GPUs are needed"), (["--against", "rllib"], "RLlib's learner")])
def test_a_race_on_gpus_that_cannot_be_is_refused(hydrahive, against, why):
    if is_available():
        pytest.skip("has a GPU")
    refused = hydrahive("bench", "train", "cartpole/vtrace", *against, "--learner.device", "cuda", code=2)
    assert why in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_a_network_larger_than_memory_is_told_in_one_line(tmp_path):
    train = [*COMMAND, "train", "cartpole/vtrace", "--workers", "0", "--runs", str(tmp_path / "runs")]
    options = ["--policy.encoder.hidden", "[65536,65536]", "--learner.device", "cpu"]
    limited = subprocess.run(
        ["bash", "-c", 'ulimit -v 12000000; exec "$@"', "limited", *train, *options], capture_output=True, text=True
    )
    assert limited.returncode == 1
    (line,) = limited.stderr.splitlines()
    assert line.startswith("hydrahive: error: not enough memory: ")
    assert "17179869184" in line


def test_the_simulation_is_benched(hydrahive, tmp_path):
    out = hydrahive("bench", "sim", "snake/vtrace", "--seconds", 1, "--windows", 1, "--json", tmp_path / "b.json")
    assert "env steps/s" in out.stdout
    assert json.loads((tmp_path / "b.json").read_text())["steps_per_second"] > 0


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["fly"], "unknown command"),
        (["train"], "CONFIG is missing"),
        (["train", "snake/vtrac"], "snake/vtrace"),
        (["train", "snake/vtrace", "--name", "../x"], "--name"),
        (["train", "snake/vtrace", "--resume", "required"], "--resume required"),
        (["train", "snake/vtrace", "--shards", "-1"], "shards"),
        (["train", "snake/vtrace", "--nme", "x"], "nme"),
        (["train", "snake/vtrace", "--env.size", "5", "--env.window", "7"], "env.init_args.window"),
        (["train", "snake/vtrace", "--init-from", "nobody"], "nobody"),
        (["train", "snake/vtrace", "--workers", "0", "--learner.device", "cuda"], "learner.device"),
        (["train", "cartpole/vtrace", "--workers", "0", "--policy.encoder", "Conv"], "policy.encoder"),
        (["evaluate", "nobody"], "nobody"),
        (["evaluate", "nobody", "--episodes", "0"], "--episodes"),
        (["play", "nobody", "--out", "x.png"], ".gif"),
        (["digest"], "RUN"),
        (["bench", "sim", "snake/vtrace", "--windows", "0"], "--windows"),
    ],
)
def test_bad_arguments_get_one_line_exit_2_and_nothing_written(hydrahive, arguments, hint):
    refused = hydrahive(*arguments, code=2)
    assert refused.stderr.startswith("hydrahive: error: ")
    assert refused.stderr.count("\n") == 1
    assert hint in refused.stderr
    assert not hydrahive.runs.exists()
