"""The habits of the room: no function of the ledger without its assertions, and none of them switched off."""

import ast
import subprocess
import sys

import pytest

from conftest import ROOT

FILES = sorted((ROOT / "src" / "hydrahive" / "ledger").glob("*.py"))
FUNCTIONS = [
    pytest.param(path, node, id=f"{path.stem}.{node.name}:{node.lineno}")
    for path in FILES
    for node in ast.walk(ast.parse(path.read_text()))
    if isinstance(node, ast.FunctionDef)
]


def test_every_function_asserts_at_least_twice():
    lazy = []
    for parameter in FUNCTIONS:
        path, node = parameter.values
        asserts = sum(isinstance(below, ast.Assert) for below in ast.walk(node))
        if asserts < 2:
            lazy.append(f"{path.name}:{node.lineno} {node.name}: {asserts}")
    assert len(FUNCTIONS) > 60
    assert not lazy, "\n".join(lazy)


def test_no_function_is_longer_than_tigers_allow():
    long = [p.id for p in FUNCTIONS if p.values[1].end_lineno - p.values[1].lineno >= 70]
    assert not long


def test_without_assertions_there_is_no_ledger(tmp_path):
    code = "from pathlib import Path; from hydrahive.ledger.ledger import Ledger; Ledger(Path('%s'))"
    result = subprocess.run(
        [sys.executable, "-O", "-c", code % (tmp_path / "ledger.sqlite")], capture_output=True, text=True
    )
    assert result.returncode != 0
    assert "without its assertions" in result.stderr
    assert not (tmp_path / "ledger.sqlite").exists()
