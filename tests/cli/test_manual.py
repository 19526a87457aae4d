"""The manual's guides are executed: files are written, commands run, Python runs, each page in a folder of its own."""

import ast
import os
import re
import shlex
import subprocess
import sys

import pytest

from conftest import COMMAND, FULL, ROOT
from forks import Fork, can_fork
from hydrahive.runtime.config.parts import BASES, subclasses

DOCS = ROOT / "docs"
GUIDES = sorted([*(DOCS / "own").glob("*.md"), *(DOCS / "tutorials").glob("*.md")])
BLOCK = re.compile(r'^```(\w+)(?: title="([\w./-]+)")?\n(.*?)^```', re.MULTILINE | re.DOTALL)
LINES = 40
"""Of an example at most."""


def executed(language, title, text, environment):
    if title:
        with open(title, "w") as file:
            file.write(text)
    elif language == "sh":
        for command in text.splitlines():
            called(command, environment)
    elif language == "python":
        exec(compile(text, "a guide", "exec"), {"__name__": "guide"})


SMALLER = {
    "train": ["--workers", "0", "--stop.env_steps", "4_000"],
    "tune": ["--budget.trials", "1", "--budget.env_steps", "1_600", "--again.top", "0"],
}
"""What long commands are told besides, but for `make claims`, which runs each as it stands."""


def called(command, environment):
    words = shlex.split(command, comments=True)
    if not FULL and "hydrahive" in words and "--help" not in words:
        small = words[words.index("--stop.env_steps") + 1].replace("_", "") if "--stop.env_steps" in words else "4000"
        more = SMALLER.get(words[words.index("hydrahive") + 1], []) if int(small) >= 4_000 else []
        words, command = [*words, *more], f"{command} {shlex.join(more)}"
    if words[:1] == ["hydrahive"] and can_fork(words[1:], environment):
        process = Fork(words[1:], environment)
    else:
        process = subprocess.Popen(
            ["bash", "-ec", command], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    said = process.communicate(timeout=300)
    assert process.returncode == 0, f"{command}\n{said}"


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_guide_does_what_it_says(guide, tmp_path, monkeypatch):
    blocks = BLOCK.findall(guide.read_text())
    assert blocks, "an example comes first"
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("HYDRAHIVE_RUNS", raising=False)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "hydrahive").write_text("#!/bin/sh\nexec " + shlex.join(COMMAND) + ' "$@"\n')
    (tmp_path / "bin" / "hydrahive").chmod(0o755)
    path = os.pathsep.join([str(tmp_path / "bin"), os.path.dirname(sys.executable), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path}
    for language, title, text in blocks:
        executed(language, title, text, environment)


@pytest.mark.parametrize("guide", sorted((DOCS / "own").glob("*.md")), ids=lambda path: path.stem)
def test_an_example_is_short_and_tidy(guide):
    for language, title, text in BLOCK.findall(guide.read_text()):
        if language == "python" and title:
            lines = [line for line in text.splitlines() if line.strip()]
            assert len(lines) <= LINES, f"{title} has {len(lines)} lines"
            assert ast.get_docstring(ast.parse(text)), title


def test_the_manual_is_built_and_every_link_leads_somewhere(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    keys = (tmp_path / "site" / "reference" / "config.html").read_text()
    assert "an integer from 1" in keys
    pages = {path.relative_to(tmp_path / "site").as_posix() for path in (tmp_path / "site").rglob("*.html")}
    written = {path.relative_to(DOCS).with_suffix(".html").as_posix() for path in DOCS.rglob("*.md")}
    assert written <= pages
    outside = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?://[^"]+)"', keys)
    assert not outside, "nothing is fetched from elsewhere"


def test_every_key_of_a_config_stands_in_the_reference(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS / "making"))
    from reference import pages

    made = "\n".join(pages().values())
    for name in {
        part.__name__ for base in BASES for part in subclasses(base) if part.__module__.startswith("hydrahive.")
    }:
        assert f"## {name}\n" in made, name
    rows = [line for line in made.splitlines() if line.startswith("| `")]
    assert len(rows) > 250
    assert not [row for row in rows if row.endswith("|  |")], "each key has a meaning"
    assert "| `discount` | a number from 0 to 1 |" in made
