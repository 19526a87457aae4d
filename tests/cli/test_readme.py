"""The README's commands run as they stand there, as forks (`forks.py`); `make train` begins from scratch."""

import os
import re
import shlex
import subprocess

import pytest

from conftest import ROOT, wait_for
from forks import Fork

README = (ROOT / "README.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]


def test_every_hydrahive_command_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    environment = {name: value for name, value in os.environ.items() if name != "HYDRAHIVE_RUNS"}
    ours = [command for command in COMMANDS if command.startswith("hydrahive ")]
    assert len(ours) >= 8
    for command in ours:
        words = shlex.split(command.removesuffix(" &"), comments=True)[1:]
        process = Fork(words, environment)
        if command.endswith(" &"):
            background = process
            metrics = tmp_path / "runs" / words[words.index("--name") + 1] / "metrics.jsonl"
            wait_for(lambda path=metrics: path.exists() and path.stat().st_size > 0, command)
            continue
        said = process.communicate(timeout=300)
        assert process.returncode == 0, f"{command}\n{said}"
    assert (tmp_path / "cartpole.gif").exists()
    assert background.wait(timeout=60) == 0


@pytest.mark.parametrize("target", sorted({word for c in COMMANDS if c.startswith("make ") for word in c.split()[1:]}))
def test_every_make_target_of_the_readme_exists(target):
    assert subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True).returncode == 0


@pytest.mark.skipif(not (ROOT / ".venv" / "installed").exists(), reason="make has not set up .venv here")
def test_make_train_trains(tmp_path):
    result = subprocess.run(
        ["make", "train", f"RUNS={tmp_path}", "ARGS=--stop.env_steps 100_000"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    assert "digest" in result.stdout
    assert (tmp_path / "snake-vtrace-s1970" / "episode.gif").exists()


def test_the_readmes_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / target.partition("#")[0]).exists(), target
