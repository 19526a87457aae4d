"""Volunteers on another class of machine: refused in a line, and one class with `portable: true`. The command itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from conftest import COMMAND, wait_for
from gateways import gateway_with, opened, wanted_of
from hydrahive.runtime.cluster.lending.words import Wanted
from hydrahive.runtime.config.parsing import load_run_config
from hydrahive.runtime.config.portable import PORTABLE_ENVIRONMENT
from hydrahive.runtime.config.shipped import shipped_experiments
from volunteers import SIZES

PORTABLE = ["--portable=true", "--precision=highest"]
OTHER = {"ATEN_CPU_CAPABILITY": "default"}
"""What makes another class of this machine."""

PINNED = """
import dataclasses, json, sys
sys.path.insert(0, {tests!r})
from gateways import wanted_of
from hydrahive.runtime.config.parsing import load_run_config
from hydrahive.runtime.config.shipped import shipped_experiments
print(json.dumps(dataclasses.asdict(wanted_of(load_run_config(shipped_experiments()["snake/vtrace"], {options!r})))))
"""


@pytest.fixture
def hive(tmp_path):
    """A gateway that wants volunteers for what it is told: gives a way to send one, and the gateway."""
    with gateway_with(tmp_path / "ledger.sqlite") as gateway:
        key = opened(tmp_path / "ledger.sqlite", "alice")["alice"]
        wanted: list[Wanted] = []
        done = threading.Event()

        def announce():
            while not done.wait(0.5):
                for one in wanted:
                    gateway.soon(gateway.desk.announce, one)

        threading.Thread(target=announce, daemon=True).start()

        def volunteer(what: Wanted, seconds: float, **variables: str) -> tuple[subprocess.Popen[str], Path]:
            wanted[:] = [what]
            gateway.soon(gateway.desk.announce, what)
            log = tmp_path / f"log-{time.monotonic()}"
            command = [*COMMAND, "volunteer", gateway.url, "--folder", str(tmp_path / "v")]
            with log.open("w") as out:
                process = subprocess.Popen(
                    [*command, "--hours", str(seconds / 3600)], env={**os.environ, **variables, "HYDRAHIVE_KEY": key},
                    stdout=out, stderr=subprocess.STDOUT, text=True,
                )  # fmt: skip
            return process, log

        yield volunteer, gateway
        done.set()


def test_another_class_is_refused_in_one_line_and_portable_makes_one_class(hive):
    volunteer, gateway = hive
    here = wanted_of(load_run_config(shipped_experiments()["snake/vtrace"], SIZES))
    process, log = volunteer(here, 600, **OTHER)
    assert process.wait(120) == 1
    last = log.read_text().splitlines()[-1]
    assert "this machine cannot work for run 'r': its machine class is" in last
    assert "portable: true takes more machines" in last
    code = PINNED.format(tests=str(Path(__file__).parents[1]), options=[*SIZES, *PORTABLE])
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **PORTABLE_ENVIRONMENT},
        capture_output=True,
        text=True,
        check=True,
    )
    plain = json.loads(found.stdout)
    portable = replace(Wanted(**plain), known={int(nonce): digest for nonce, digest in plain["known"].items()})
    process, log = volunteer(portable, 600, **OTHER)
    try:
        wait_for(lambda: "working for run r" in log.read_text() or process.poll() is not None, "the volunteer")
        assert "working for run r" in log.read_text(), log.read_text()
        assert [one.account for one in gateway.soon(gateway.desk.announce, portable).sessions] == ["alice"]
    finally:
        process.terminate()
    assert process.wait(30) == 0
    assert not gateway.soon(gateway.desk.announce, portable).sessions  # it has said good-bye
    assert asdict(portable)["portable"]


def test_a_run_that_names_code_of_its_own_is_refused_by_whoever_is_asked_to_run_it(hive):
    volunteer, _ = hive
    here = wanted_of(load_run_config(shipped_experiments()["snake/vtrace"], SIZES))
    config = dict(here.config) | {"env": {"class_path": "somebody.Env", "init_args": {}}}
    process, log = volunteer(replace(here, config=config), 600)
    assert process.wait(120) == 1
    assert "names what a stranger is not asked to run: somebody" in log.read_text().splitlines()[-1]
