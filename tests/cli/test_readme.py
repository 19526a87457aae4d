"""The README's commands run as they stand there, as forks (`forks.py`); `make train` begins from scratch."""

import os
import re
import shlex
import subprocess

import pytest

from conftest import ROOT, wait_for
from forks import Fork
from golden.record import FOLDER
from golden.recording import golden_path, read_golden

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


def golden():
    """What `make golden` wrote for the machine class that the README names, and that class."""
    (named,) = re.findall(r"^machine class  (\S+)$", README, re.MULTILINE)
    kept = read_golden(golden_path(FOLDER, named))
    assert kept is not None, f"no golden digests of the README's machine class, {named}"
    return kept["readme"], named


def test_the_readmes_digests_are_those_of_the_class_that_it_names():
    kept, named = golden()
    assert {run["machine_class"] for run in kept.values()} == {named}
    known = {run["digest"] for run in kept.values()}
    shown = set(re.findall(r"\b[0-9a-f]{12,64}\b", README))
    assert {kept["train"]["digest"], kept["table"]["digest"][:12], kept["table, another seed"]["digest"][:12]} == shown
    for digest in shown:
        assert any(one.startswith(digest) for one in known), digest


def test_the_block_of_make_train_is_what_it_prints():
    run = golden()[0]["train"]
    block = next(text for text in README.split("```")[1::2] if "starting" in text)
    lines = re.findall(r"([\d,]+) steps  .*?score (\S+) best (\S+)", block)
    assert len(lines) >= 5
    for steps, mean, best in lines:
        kept_mean, kept_best = run["scores"][steps.replace(",", "")]
        assert (mean, best) == (f"{kept_mean:.2f}", f"{kept_best:.2f}"), steps
    mean, best = run["scores"][str(run["env_steps"])]
    assert f"score          mean {mean:.2f} (last 100 episodes), best {best:.2f}\n" in block
    for name, key in {"env steps": "env_steps", "updates": "updates", "episodes": "episodes"}.items():
        assert re.search(rf"^{name} +{run[key]:,}( |$)", block, re.MULTILINE), name


def test_every_section_of_figures_names_its_machine_and_date():
    figures = README.partition("## Figures")[2].partition("\n## ")[0]
    for paragraph in re.findall(r"(?:Measured|measured) [^\n]*\n[^\n]*", figures):
        assert re.search(r"EPYC|Xeon", paragraph), paragraph
        assert re.search(r"\d{1,2} \w+ 2026", paragraph), paragraph


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
    assert (tmp_path / "snake-ppo-s1970" / "episode.gif").exists()


def test_the_readmes_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / target.partition("#")[0]).exists(), target
