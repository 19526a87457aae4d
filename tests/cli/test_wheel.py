"""The wheel, outside of the checkout: with what its core needs alone, and each extra that is missing named in one line."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile

import pytest

from conftest import FULL, ROOT, full_only
from hydrahive.core.errors import EXTRAS, SAID

BLOCKING = """
import importlib.abc, sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {packages!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
"""
"""A Python without the packages that extras bring."""

TOLD = {
    "watch small": "watch",
    "serve small": "serve",
    "tune run sweeps/snake-pbt": "tune",
    "train atari/pong --workers 0": "atari",
    "train mujoco/hopper --workers 0": "mujoco",
    "train cartpole/ppo --workers 1 --name many": "ray",
    "volunteer https://127.0.0.1:1 --key-file key": "volunteer",
}
if FULL:
    TOLD |= {
        "train classic/lunarlander --workers 0": "box2d",
        "train minigrid/doorkey --workers 0": "minigrid",
        "export small": "export",
        "bench train snake/vtrace --workers 1 --seconds 1 --against rllib": "rllib",
        "bench score cartpole/ppo --mark 400 --against sb3": "sb3",
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    place = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(place), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return next(place.glob("*.whl"))


@pytest.fixture(scope="module")
def outside(wheel, tmp_path_factory):
    """Calls the installed command in an empty folder, in a terminal of its own, and gives what it said."""
    home = tmp_path_factory.mktemp("outside")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(home / "site")
    (home / "site" / "sitecustomize.py").write_text(BLOCKING.format(packages=set(EXTRAS)))
    (home / "work").mkdir()
    (home / "work" / "key").write_text("hh_key")
    (home / "work" / "key").chmod(0o600)

    def run(*words):
        command = [sys.executable, "-m", "hydrahive.cli.main", *words]
        shell = ["script", "-qec", " ".join(f"'{word}'" for word in command), "/dev/null"]
        environment = {**os.environ, "PYTHONPATH": str(home / "site"), "COLUMNS": "200"}
        environment.pop("HYDRAHIVE_RUNS", None)
        done = subprocess.run(
            shell, cwd=home / "work", env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        return done.returncode, done.stdout

    return run


def test_it_trains_in_any_folder_with_its_core_alone(outside):
    code, said = outside("train", "snake/vtrace", "--name", "small", "--workers", "0", "--stop.env_steps", "20_000")
    assert code == 0, said
    assert "digest" in said
    assert "Traceback" not in said


def test_what_is_missing_is_named_in_one_line(outside):
    for words, extra in TOLD.items():
        code, said = outside(*words.split())
        last = [line for line in said.splitlines() if "error" in line]
        assert code != 0, words
        assert f"pip install 'hydrahive[{extra}]'" in " ".join(last), f"{words}: {said}"
        assert "Traceback" not in said, words


def test_every_extra_that_is_named_is_one():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = set(project["optional-dependencies"])
    assert extras >= {*EXTRAS.values(), *SAID.values()}
    assert not any("docs" in one for one in project["dependencies"])
    text = "\n".join(path.read_text() for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
    for named in re.findall(r"hydrahive\[([\w,-]+)\]", text):
        assert set(named.split(",")) <= extras, named


@full_only
def test_it_installs_into_an_empty_environment(wheel, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "-q", "-c", str(ROOT / "constraints.txt"), str(wheel)]
    subprocess.run(install, check=True, cwd=tmp_path)
    train = [str(python.parent / "hydrahive"), "train", "snake/vtrace", "--workers", "0", "--stop.env_steps", "20_000"]
    done = subprocess.run(train, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert "digest" in done.stdout
    code = (
        "import importlib.util as u; print(*[p for p in ('textual', 'optuna', 'fastapi', 'ale_py') if u.find_spec(p)])"
    )
    assert not subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
