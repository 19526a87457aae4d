"""Words: whatever terminal, locale, file name or number somebody has, what is said is right, and JSON is JSON."""

import fcntl
import json
import math
import os
import pty
import re
import struct
import subprocess
import termios

import pytest
import yaml

from conftest import COMMAND, ROOT, TINY

SMALL = [*TINY, "--stop.updates", 40, "--recording", "false"]


def config(path, **values):
    """Snake's config with these values, as a file."""
    plain = yaml.safe_load((ROOT / "experiments" / "snake" / "vtrace.yaml").read_text())
    path.write_text(yaml.safe_dump({**plain, **values}, allow_unicode=True), "utf-8")
    return path


@pytest.mark.parametrize(
    ("file", "name"),
    [("two words.yaml", "two-words"), ("größe #2.yaml", "gr-e-2"), ("-.yaml", "run")],
)
def test_a_run_is_named_after_any_file(hydrahive, tmp_path, file, name):
    path = config(tmp_path / file)
    hydrahive("train", path, *SMALL, "--stop.updates", 2)
    assert (hydrahive.runs / f"{name}-s1970" / "config.yaml").exists()


def test_what_is_not_utf_8_is_said_so(hydrahive, tmp_path):
    path = tmp_path / "latin.yaml"
    path.write_bytes("# größe\nseed: 1\n".encode("latin-1"))
    assert f"cannot read {path}: it is not UTF-8" in hydrahive("train", path, code=2).stderr


def test_numbers_are_read_as_people_write_them(hydrahive, tmp_path):
    path = tmp_path / "numbers.yaml"
    path.write_text("algorithm: {learning_rate: 2e-4, discount: 9.9e-1}\nstop: {env_steps: 3_000}\n")
    hydrahive("train", path, *SMALL, "--name", "n", "--algorithm.entropy_cost", "1e-3", "--stop.updates", 2)
    written = yaml.safe_load((hydrahive.runs / "n" / "config.yaml").read_text())["algorithm"]["init_args"]
    assert (written["learning_rate"], written["discount"], written["entropy_cost"]) == (2e-4, 0.99, 1e-3)
    for wrong in ("1e4", "12.5", "many"):
        refused = hydrahive("train", path, "--stop.env_steps", wrong, code=2).stderr
        assert "stop.env_steps" in refused
        assert len(refused.strip().splitlines()) == 1


def in_a_terminal(words, environment, columns):
    """What a command writes to a terminal of so many columns."""
    inside, outside = pty.openpty()
    fcntl.ioctl(outside, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(words, env=environment, stdin=outside, stdout=outside, stderr=outside)
    os.close(outside)
    written = b""
    while True:
        try:
            piece = os.read(inside, 65_536)
        except OSError:
            break
        if not piece:
            break
        written += piece
    assert process.wait(timeout=60) == 0, written.decode(errors="replace")
    return written.decode(errors="replace")


@pytest.mark.parametrize(("term", "columns"), [("xterm", 50), ("dumb", 50)])
def test_a_live_line_fits_its_terminal_and_a_dumb_one_is_spared(tmp_path, term, columns):
    words = ["train", "snake/vtrace", *map(str, SMALL), "--runs", str(tmp_path), "--stop.updates", "150"]
    environment = {**os.environ, "TERM": term}
    environment.pop("COLUMNS", None)
    written = in_a_terminal([*COMMAND, *words], environment, columns)
    drawn = re.findall(r"\r\x1b\[2K([^\r\n]*)", written)
    if term == "dumb":
        assert "\x1b" not in written
        assert " steps  " in written
    else:
        assert drawn
        assert max(map(len, drawn)) < columns


def test_any_locale_will_do_and_infos_of_any_kind_are_json(hydrahive, tmp_path):
    (tmp_path / "wild.py").write_text(WILD, "utf-8")
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    hydrahive.environment |= {**plain, "PYTHONPATH": str(tmp_path)}
    base = ["cartpole/vtrace", "--env.id", "wild:Wild-v0", "--envs_per_shard", 4, "--fragment_length", 8]
    hydrahive("train", *base, "--boundary_every", 2, "--stop.updates", 8, "--workers", 0, "--name", "wild")
    for path in (hydrahive.runs / "wild").glob("*.jsonl"):
        rows = [json.loads(line, parse_constant=float) for line in path.read_text("utf-8").splitlines()]
        assert all(math.isfinite(value) for row in rows for value in row.values() if isinstance(value, float)), path
        assert path.name != "metrics.jsonl" or any("episode_температура" in row for row in rows)
    told = json.loads(hydrahive("evaluate", "wild", "--episodes", 3, "--json").stdout)
    assert told["mean"] == 10
    for command in ("evaluate", "report", "snapshot", "plot", "runs"):
        hydrahive(command, "wild")


def test_what_newcomers_ask_is_answered(hydrahive, tmp_path):
    """Each was asked, or fallen over, by somebody who tried the manual."""
    (tmp_path / "wild.py").write_text(WILD, "utf-8")
    hydrahive.environment["PYTHONPATH"] = str(tmp_path)
    said = hydrahive("train", "cartpole/ppo", "--help").stdout
    assert said.rstrip().endswith((ROOT / "experiments" / "cartpole" / "ppo.yaml").read_text().rstrip())
    refused = hydrahive("train", "cartpole/ppo", "--env", "climb:Climb-v0", code=2).stderr
    assert "{class_path: Gym, init_args: {id: climb:Climb-v0}}" in refused
    assert "Rainbow" not in refused, "which is no environment"
    line = ["--algorithm.learning_rate.env_steps", 300, "--stop.env_steps", 600, "--boundary_every", 1]
    said = hydrahive("train", "cartpole/ppo", "--name", "a", *line, "--env.id", "wild:Wild-v0").stdout
    assert "algorithm.learning_rate is 0 from 300 env steps on, of 600" in said
    undrawn = hydrahive("train", "cartpole/ppo", "--name", "b", *line, "--env.id", "wild:Wild-v0").stderr
    assert "no recording: Wild-v0 draws no pictures" in undrawn
    assert "WARN" not in undrawn
    trained, before = (hydrahive("evaluate", "a", "--episodes", 5, *more).stdout for more in ([], ["--before"]))
    assert "a after 0 env steps" in before
    assert "a after 0 env steps" not in trained


WILD = '''
"""Says things in other alphabets, and numbers that no float holds."""

import gymnasium as gym
import numpy as np


class Wild(gym.Env):
    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        print("привет")
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.steps += 1
        over = self.steps >= 10
        infos = {"größe": 10**300 * 10**100, "sharpe": float("inf"), "температура": 2, "none": float("nan")}
        return np.zeros(2, np.float32), 1.0, over, False, infos if over else {}


gym.register("Wild-v0", entry_point=Wild)
'''
