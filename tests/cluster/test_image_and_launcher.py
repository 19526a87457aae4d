"""The image's recipe and the launcher's file, as far as they can be tried without Docker and without machines."""

from __future__ import annotations

import configparser
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import jsonschema
import pytest
import ray
import yaml

from conftest import COMMAND, FULL, ROOT

DOCKERFILE = ROOT / "cluster" / "Dockerfile"
IGNORED = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile as (instruction, its arguments), continued lines joined."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")]
    text = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in text.splitlines() if line.strip()]


def stages() -> list[list[tuple[str, str]]]:
    """Its instructions by stage; what stands before the first is not among them."""
    found: list[list[tuple[str, str]]] = []
    for instruction, rest in instructions():
        if instruction == "FROM":
            found.append([])
        if found:
            found[-1].append((instruction, rest))
    return found


def test_the_image_is_small_pinned_and_nobodys() -> None:
    build, final = stages()
    version = next(rest for name, rest in instructions() if name == "ARG" and rest.startswith("PYTHON_VERSION="))
    assert re.fullmatch(r"PYTHON_VERSION=3\.1[1-9]\.\d+", version)
    for stage in (build, final):
        assert re.match(r"python:\$\{PYTHON_VERSION\}-slim-\w+", stage[0][1])
    assert dict(final)["USER"] == "1000:1000"
    assert all(name != "COPY" or rest.startswith("--from=build ") for name, rest in final), "only what was built"
    assert not any("pip" in rest for name, rest in final if name == "RUN")
    assert {"VARIANT=cpu"} <= {rest for name, rest in build if name == "ARG"}


def test_what_the_image_copies_is_sent_to_the_builder() -> None:
    for name, rest in stages()[0]:
        if name == "COPY":
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists()
                assert source.rstrip("/") in IGNORED, f".dockerignore leaves {source} out"


def pip_steps() -> list[str]:
    return [rest for name, rest in stages()[0] if name == "RUN" and "pip " in rest]


@pytest.mark.skipif(not FULL, reason="pip takes minutes; `make claims` runs the steps")
@pytest.mark.parametrize("variant", ["cpu", "gpu"])
def test_the_pip_steps_run_in_a_fresh_environment(tmp_path: Path, variant: str) -> None:
    """As they stand; for gpu pip resolves everything and stops before it installs: CUDA's torch takes gigabytes."""
    assert len(pip_steps()) == 3
    installs = variant == "cpu"
    for name, rest in stages()[0]:
        for source in rest.split()[:-1] if name == "COPY" else ():
            here, there = ROOT / source, tmp_path / "build" / source
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(here, there) if here.is_dir() else shutil.copy(here, there)
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    bin_ = tmp_path / "venv" / "bin"
    environment = {
        **os.environ, "PATH": f"{bin_}:{os.environ['PATH']}", "VARIANT": variant, "TORCH_INDEX": "",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }  # fmt: skip
    dry = [step.replace("pip install", "pip install --dry-run") for step in pip_steps()]
    for step in pip_steps() if installs else dry:
        done = subprocess.run(
            ["sh", "-c", step], cwd=tmp_path / "build", env=environment, capture_output=True, text=True, timeout=900
        )
        assert done.returncode == 0, f"{step}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    if installs:
        command = [str(bin_ / "hydrahive"), "train", "snake/vtrace", "--workers", "0", "--stop.env_steps", "20_000"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert "digest" in done.stdout, "the shipped experiments are in the image, too"


def test_what_the_image_holds_is_known_by_hash_and_is_what_the_constraints_say() -> None:
    lines = (ROOT / "cluster" / "requirements.lock").read_text().splitlines()[1:]
    locked = dict(re.fullmatch(r"(\S+)==(\S+) --hash=sha256:[0-9a-f]{64}", line).groups() for line in lines)
    constraints = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line]
    pinned = {name.lower().replace("_", "-"): version for name, version in (line.split("==") for line in constraints)}
    built = {"hatchling", "pathspec", "pluggy", "trove-classifiers", "packaging", "setuptools", "tomlkit"}
    for name, version in locked.items():
        assert pinned.get(name.replace("_", "-"), version if name in built else None) == version, name
    assert f"hatchling=={locked['hatchling']}" in (ROOT / "pyproject.toml").read_text()
    for name in ("ray", "numpy", "gymnasium", "fastapi", "grpcio"):
        assert name in locked
    assert not [line for line in pip_steps() if "-c constraints.txt" not in line and "--require-hashes" not in line]


def test_another_variant_is_refused(tmp_path: Path) -> None:
    environment = {**os.environ, "VARIANT": "tpu", "TORCH_INDEX": ""}
    done = subprocess.run(["sh", "-c", pip_steps()[0]], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert "VARIANT is cpu or gpu, not tpu" in done.stderr


def test_the_launchers_file_is_one() -> None:
    """By Ray's own schema, with the defaults that it fills in."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load((ROOT / "cluster" / "launcher.yaml").read_text())
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(config, schema)
    validate_config(prepare_config(config))
    token = next(source for target, source in config["file_mounts"].items() if target.endswith("auth_token"))
    assert token == "~/.ray/auth_token"
    assert any("chmod 600" in command for command in config["setup_commands"])
    for command in (*config["head_start_ray_commands"], *config["worker_start_ray_commands"]):
        script = shlex.split(command)[0].removeprefix("~/hydrahive/")
        assert os.access(ROOT / script, os.X_OK)


@pytest.mark.parametrize("script", sorted(path.name for path in (ROOT / "cluster").glob("*.sh")))
def test_scripts_are_bash(script: str) -> None:
    path = ROOT / "cluster" / script
    assert subprocess.run(["bash", "-n", str(path)], capture_output=True).returncode == 0
    if script != "common.sh":
        assert "set -euo pipefail" in path.read_text()


def test_no_token_is_committed() -> None:
    ignored = (ROOT / ".gitignore").read_text()
    for path in (*(ROOT / "cluster").rglob("*"), *(ROOT / "k8s").rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            found = re.search(r"(?<!--hash=sha256:)\b[0-9a-f]{64}\b", path.read_text())
            assert not found, f"{path} holds what looks like a token"
    assert "runs" in ignored


def test_what_makes_a_job_too_large_is_named(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("submit", ROOT / "cluster" / "submit.py")
    assert spec is not None
    assert spec.loader is not None
    submit = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(submit)
    (tmp_path / "data").mkdir()
    for name, megabytes in (("data/big", 30), ("small", 1), ("left-out", 50)):
        (tmp_path / name).write_bytes(bytes(megabytes * 10**6))
    (tmp_path / ".gitignore").write_text("left-out\n")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    said = submit.too_large(tmp_path)
    assert "carry 31 MB, most of it data/big (30 MB), small (1 MB)" in said
    assert ".gitignore" in said
    assert "left-out" not in said


def extras_of(names: str) -> set[str]:
    """The packages that extras of ours bring, those of theirs included, and of the core."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found, left = set(project["dependencies"]), names.split(",")
    while left:
        for one in project["optional-dependencies"][left.pop()]:
            if own := re.match(r"hydrahive\[([\w,-]+)\]", one):
                left += own[1].split(",")
            found.add(one)
    return {re.match(r"[\w-]+", one)[0].lower() for one in found}


def test_the_volunteers_image_has_no_ray_and_is_nobodys() -> None:
    text = (ROOT / "cluster" / "volunteer" / "Dockerfile").read_text()
    extras = re.search(r"'\.\[([\w,]+)\]'", text)[1]
    assert "ray" not in extras_of(extras)
    assert "ray" in extras_of("app")
    assert "urllib3" in extras_of(extras)
    final = text.rpartition("\nFROM ")[2]
    assert "USER 1000:1000" in final
    assert "pip" not in final
    for source in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE):
        assert all((ROOT / one).exists() for one in source.split()[:-1])
    words = json.loads(re.search(r"^ENTRYPOINT (.*)$", final, re.MULTILINE)[1])
    assert words[:2] == ["hydrahive", "volunteer"]
    assert set(words[2::2]) <= options_of("volunteer")


def test_the_volunteers_service_is_a_unit_without_privilege() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(ROOT / "cluster" / "volunteer" / "hydrahive-volunteer.service")
    service = unit["Service"]
    words = shlex.split(service["ExecStart"])
    assert words[1] == "volunteer"
    assert {word for word in words if word.startswith("--")} <= options_of("volunteer")
    assert service["ReadWritePaths"] == words[words.index("--folder") + 1]
    for name, value in {"NoNewPrivileges": "yes", "ProtectSystem": "strict", "ProtectHome": "read-only"}.items():
        assert service[name] == value


def options_of(command: str) -> set[str]:
    said = subprocess.run([*COMMAND, command, "--help"], capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"--[\w-]+", said))
