"""The bytes of every learning rule and environment are what they were: on this machine class, at this `numerics`.

Where nothing is kept for the machine's class there is nothing to compare with; `make golden` writes the file.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import FULL
from golden.record import FOLDER
from golden.recording import came_to, difference, golden_path, read_golden, recorded
from golden.runs import README_TABLE, README_TRAIN, config_of, portable_runs, runs
from hydrahive.runtime.config.fingerprint import NUMERICS
from hydrahive.runtime.config.machine_class import machine_class
from hydrahive.runtime.config.portable import PORTABLE_ENVIRONMENT
from hydrahive.runtime.config.run_config import RunConfig

KEPT = read_golden(golden_path(FOLDER, machine_class(RunConfig())))
WHY = f"no golden digests of {machine_class(RunConfig())} at numerics {NUMERICS}; `make golden` writes them"


def kept_of(name: str, part: str = "runs") -> dict:
    if KEPT is None or name not in KEPT.get(part, {}):
        pytest.skip(WHY)
    return KEPT[part][name]


def refuse_other_bytes(name: str, kept: dict, now: dict) -> None:
    where = difference(kept, now)
    if where and now["machine_class"] != kept["machine_class"]:  # equal bytes are welcome on any
        pytest.skip(f"this is {now['machine_class']}, the digests are those of {kept['machine_class']}")
    assert not where, f"{name}: {where}. If that is meant, raise NUMERICS, say why in CHANGELOG.md, and `make golden`"


NOW = [name for name in runs() if FULL or not name.startswith("atari/breakout-")]
"""Breakout's are Pong's with another ROM."""


@pytest.mark.parametrize("name", NOW)
def test_its_bytes_are_what_they_were(name):
    kept = kept_of(name)
    now = recorded(config_of(*runs()[name]))
    assert now["updates"][0]["optimizer"] != now["updates"][-1]["optimizer"], "nothing was learned"
    refuse_other_bytes(name, kept, now)


def test_the_portable_class_has_its_bytes_on_every_machine():
    said = subprocess.run(
        [sys.executable, "-c", "import json, record; print(json.dumps(record.portable()))"],
        env={**os.environ, **PORTABLE_ENVIRONMENT},
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert said.returncode == 0, said.stderr
    taken = json.loads(said.stdout.splitlines()[-1])
    for name in portable_runs():
        kept = read_golden(golden_path(FOLDER, taken[name]["machine_class"]))
        if kept is None:
            pytest.skip(f"no golden digests of {taken[name]['machine_class']}")
        refuse_other_bytes(name, kept["runs"][name], taken[name])


def test_the_readmes_digest_is_the_codes():
    kept = kept_of("table", "readme")
    refuse_another_end(kept, came_to(config_of(*README_TABLE)))


@pytest.mark.skipif(not FULL, reason="a minute; run by make claims")
def test_the_run_of_make_train_is_what_the_readme_shows():
    kept = kept_of("train", "readme")
    refuse_another_end(kept, came_to(config_of(*README_TRAIN)))


def refuse_another_end(kept: dict, now: dict) -> None:
    if now["machine_class"] != kept["machine_class"]:
        pytest.skip(f"this is {now['machine_class']}, the digests are those of {kept['machine_class']}")
    assert now == kept


def test_a_difference_is_named_by_its_update_and_part():
    run = {"digest": "a", "state_digest": "b", "shards": "c", "updates": [{"weights": "1", "counters": "2"}] * 3}
    assert difference(run, run) == ""
    later = {**run, "updates": [*run["updates"][:2], {"weights": "9", "counters": "2"}]}
    assert difference(run, later) == "update 3 is the first that differs, in: weights"
    assert "shards" in difference(run, {**run, "shards": "d"})
    assert "2 updates in place of 3" in difference(run, {**run, "updates": run["updates"][:2]})
    assert "how it is taken" in difference(run, {**run, "digest": "z"})
