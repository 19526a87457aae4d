"""T13 to T15: nothing runs that was only sent, and no key is left where others can read it."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from hydrahive.core.errors import ConfigError
from hydrahive.envs.wrappers import wrappers_of
from hydrahive.runtime.config.named_code import named_code
from hydrahive.runtime.config.parsing import load_run_config
from hydrahive.runtime.config.plain import dump
from hydrahive.runtime.config.shipped import shipped_experiments

COMMAND = [sys.executable, "-m", "hydrahive.cli.main"]
GAME = """
from pathlib import Path
Path("ran").write_text("somebody's module was imported")
import gymnasium
import numpy as np
class Quiet(gymnasium.Env):
    observation_space, action_space = gymnasium.spaces.Box(-1, 1, (2,)), gymnasium.spaces.Discrete(2)
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(2, np.float32), {}
    def step(self, action):
        self.steps += 1
        return np.zeros(2, np.float32), float(action), self.steps % 9 == 0, False, {}
    def render(self): return None
gymnasium.register("Quiet-v0", Quiet)
"""
SIZES = [
    "--shards",
    "1",
    "--envs_per_shard",
    "2",
    "--fragment_length",
    "8",
    "--boundary_every",
    "2",
    "--workers",
    "0",
    "--stop.env_steps",
    "64",
]
SIZES += ["--ledger.enabled", "false", "--recording", "false"]


def command_in(tmp_path):
    """The command in a folder; `user` says whose key signs."""

    def command(*words, user="me"):
        env = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path / user)}
        env.pop("HYDRAHIVE_TRUST_CODE", None)
        (tmp_path / "ran").unlink(missing_ok=True)
        return subprocess.run(
            [*COMMAND, *map(str, words)],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return command


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with somebody's module, and a run of its environment that he has made."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "quiet.py").write_text(GAME)
    options = ["--env.class_path", "Gym", "--env.id", "quiet:Quiet-v0", *SIZES]
    done = command_in(folder)("train", "cartpole/ppo", "--name", "theirs", *options)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def at(trained, tmp_path):
    """The command beside a copy of that run."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    (tmp_path / "ran").unlink()
    return command_in(tmp_path)


READERS = [
    ["evaluate", "theirs", "--episodes", "2"],
    ["play", "theirs", "--out", "a.gif"],
    ["snapshot", "theirs"],
    ["serve", "theirs"],
    ["train", "runs/theirs/config.yaml", "--name", "again"],
]


@pytest.mark.parametrize("words", READERS, ids=lambda words: words[0])
def test_a_run_of_somebody_else_that_names_code_asks_before_it_is_imported(at, tmp_path, words):
    refused = at(*words, user="somebody else")
    assert refused.returncode == 2
    assert refused.stderr.splitlines() == [
        "hydrahive: error: run 'theirs' names code that does not come with hydrahive (quiet), and was not made by you; "
        "look at that code, then give --trust-code to run it"
    ]
    assert not (tmp_path / "ran").exists()


def test_it_runs_once_that_is_trusted_and_ones_own_does_not_ask(at, tmp_path):
    words = ["evaluate", "theirs", "--episodes", "2"]
    assert at(*words, "--trust-code", user="somebody else").returncode == 0
    assert (tmp_path / "ran").exists()
    assert at(*words).returncode == 0, "one's own does not ask"
    resumed = at("train", "cartpole/ppo", "--name", "theirs", "--env.class_path", "Gym", "--env.id", "quiet:Quiet-v0",
                 *SIZES, "--stop.env_steps", 128, user="somebody else")  # fmt: skip
    assert resumed.returncode == 0, "who resumes names the code himself: " + resumed.stderr


def test_a_signature_is_of_this_run_and_this_code(at, tmp_path):
    """Nobody can put another module's name under it, nor copy it beside another run."""
    run = tmp_path / "runs" / "theirs"
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("quiet:Quiet-v0", "evil:Quiet-v0"))
    (tmp_path / "evil.py").write_text(GAME)
    refused = at("evaluate", "theirs", "--episodes", "2")
    assert refused.returncode == 2
    assert "(evil)" in refused.stderr
    assert not (tmp_path / "ran").exists()
    shutil.copytree(run, tmp_path / "runs" / "copy")
    (run / "run.json").write_text((run / "run.json").read_text().replace('"run_id": "', '"run_id": "0'))
    config.write_text(config.read_text().replace("evil:Quiet-v0", "quiet:Quiet-v0"))
    assert at("evaluate", "theirs", "--episodes", "2").returncode == 2


def test_what_comes_with_us_is_free_for_everybody():
    for path in shipped_experiments().values():
        assert named_code(yaml.safe_load(path.read_text())) == [], path
    dumped = dump(load_run_config(shipped_experiments()["snake/vtrace"]))
    assert named_code(yaml.safe_load(dumped)) == [], "nor is what a run writes of it"
    change = {"from_update": 4, "key": "algorithm.discount", "value": 0.9}
    assert named_code({"changes": [change]}) == [], "a key that may change is none"


SPELLINGS = [
    {"env": {"class_path": "Gym", "init_args": {"id": "evil:C-v0"}}},
    {"env": {"class_path": "Gym", "init_args": {"id": "X-v0", "wrappers": ["evil.D"]}}},
    {"env": {"class_path": "Gym", "init_args": {"wrappers": [{"class_path": "evil.F"}]}}},
    {"env": {"class_path": "PettingZoo", "init_args": {"id": "evil"}}},
    {"env": {"class_path": "hydrahive.envs.pettingzoo.config.PettingZoo", "init_args": {"id": "evil.x_v0"}}},
    {"env": {"class_path": "evil.Env"}},
    {"env": "evil.Env"},
    {"algorithm": "evil.Alg"},
    {"policy": {"encoder": "evil.E"}},
    {"env.class_path": "evil"},
    {"env": '{"class_path": "evil.Env"}'},
    {"config": "/path/other.yaml"},
    {"init_args.id": "evil:X-v0"},
    {"changes": [{"from_update": 4, "key": "algorithm.discount", "value": {"class_path": "evil.V"}}]},
    {"changes": "evil.C"},
    {"changes": ["evil.C"]},
    {"pilot": "evil.P"},
    {"pilot": {"class_path": "evil.P"}},
    {"pilot": {"search": {"space": {"algorithm.discount": {"class_path": "evil.D"}}}}},
    {"pilot": {"search": {"space": "evil.S"}}},
    {"pilot": {"search": {"class_path": "evil.S", "space": {}}}},
    {"pilot.search": {"space": {}}},
]


@pytest.mark.parametrize("plain", SPELLINGS, ids=str)
def test_code_is_seen_however_it_is_spelled(plain):
    assert named_code(plain), "a reader of configs takes it for the same"


@pytest.mark.parametrize("path", ["builtins.type", "os.system", "subprocess.Popen", "importlib.import_module"])
def test_pythons_own_library_has_no_wrappers(path):
    with pytest.raises(ConfigError, match="Python's own library has none"):
        wrappers_of([path], "gymnasium.Wrappers")


def test_commands_that_read_no_config_import_nothing_from_the_current_folder(tmp_path):
    for name in ("torch", "ray", "yaml", "json", "sqlite3", "org", "decimal", "numpy"):
        (tmp_path / f"{name}.py").write_text(GAME)
    hydrahive = Path(sys.executable).with_name("hydrahive")
    for words in (["ledger", "balance"], ["query", "alice", "balance"], ["stop", "x"], ["runs"], ["worker"]):
        subprocess.run([hydrahive, *words], cwd=tmp_path, capture_output=True, timeout=120, check=False)
        assert not (tmp_path / "ran").exists(), words


def test_a_key_cannot_be_read_from_a_process_by_others_of_its_user(tmp_path):
    """Its folder in /proc is root's then; a test that is root itself can only see whose it is."""
    subprocess.run([*COMMAND, "ledger", "accounts", "open", "alice", "--ledger", tmp_path / "l.sqlite"], check=True,
                   capture_output=True, timeout=60)  # fmt: skip
    environment = {**os.environ, "HYDRAHIVE_KEY": "hh_secret"}
    if os.getuid() == 0:
        code = "from hydrahive.cli.hidden import hide_from_others as h; import ctypes; h(); print(ctypes.CDLL(None).prctl(3))"
        told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
        assert told.stdout.strip() == "0"
        return
    words = [*COMMAND, "query", "alice", "--url", "http://127.0.0.1:9"]
    process = subprocess.Popen(words, env=environment, stdin=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                read = Path(f"/proc/{process.pid}/environ").read_bytes()
            except PermissionError:
                return
            assert time.monotonic() < deadline, read
            time.sleep(0.2)
    finally:
        process.send_signal(signal.SIGKILL)
