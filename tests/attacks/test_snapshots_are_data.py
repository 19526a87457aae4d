"""T1: a snapshot is data. Whoever wrote it, restoring it imports nothing, calls nothing, and reads nothing else."""

import os
import subprocess
import sys
from enum import Enum
from http import HTTPStatus

import gymnasium
import numpy as np
import pytest

from hydrahive.core.errors import SnapshotUnsupportedError, StateRefusedError
from hydrahive.core.state import as_json_array, from_json_array
from hydrahive.envs.plain import state as plain_state

RAN = []


class Phase(Enum):
    DAY = 1
    NIGHT = 2


class Enemy:
    def __init__(self):
        RAN.append("Enemy was made by its __init__")

    def __setattr__(self, name, value):
        RAN.append("its __setattr__ ran")

    @property
    def trap(self):
        RAN.append("a property was got")


class Field(gymnasium.Env):
    def __init__(self):
        self.phase, self.board, self.random = Phase.DAY, np.zeros(4, np.int64), np.random.default_rng(0)
        self.enemies, self.numpy, self.legend = [Enemy()], np, {"a": 1}


@pytest.fixture
def field():
    made = Field()
    RAN.clear()
    return made


def forged(field, value):
    """A snapshot of a field that says that its `phase` is `value`."""
    state = plain_state.capture(field)
    tree = from_json_array(state["tree"])
    tree["holder"][0][1] = value
    return {**state, "tree": as_json_array(tree)}


HOSTILE = {
    "a flag of os.system": {"flag": ["os", "system", "touch ran"]},
    "an enum of os.environ": {"enum": ["os", "environ", "PATH"]},
    "os.system by its own module": {"named": [os.system.__module__, "system"]},
    "os.system through our module": {"named": [__name__, "os.system"]},
    "eval": {"named": ["builtins", "eval"]},
    "a class of Python's": {"named": ["subprocess", "Popen"]},
    "a Popen": {"object": [["subprocess", "Popen"], [["returncode", 0]]]},
    "an environment as an object": {"object": [[__name__, "Field"], []]},
    "a module that nobody has imported": {"named": ["this", "s"]},
    "a function of hydrahive": {"named": ["hydrahive.core.durable", "write_whole"]},
    "an enum that is none": {"enum": [__name__, "Enemy", "trap"]},
    "a member that is none": {"enum": [__name__, "Phase", "NOON"]},
    "a property as a method": {"method": [0, "unwrapped"]},
    "a method that is none": {"method": [0, "__dict__"]},
    "a method of what comes later": {"method": [99, "step"]},
    "a part before the first": {"same": -1},
    "a generator that is a function": {"generator": {"dict": [[["bit_generator", "seed"]]]}},
    "an array that is not there": {"array": "env.nowhere"},
    "a view of objects": {"view": [{"array": "env.board"}, 0, "O", [4], [8]]},
    "a view beyond the end": {"view": [{"array": "env.board"}, 8, "<i8", [4], [8]]},
    "a view before the beginning": {"view": [{"array": "env.board"}, 0, "<i8", [4], [-8]]},
    "a view of gigabytes": {"view": [{"array": "env.board"}, 0, "<i8", [10**10], [0]]},
    "letters that are objects": {"text": ["env.board", "O", [4]]},
    "an environment that is none": {"holder": []},
    "a kind that nothing is": {"reduce": ["os.system", "touch ran"]},
    "two kinds at once": {"named": ["os", "system"], "same": 0},
    "a list that does not say what it is": [1, 2],
    "a method of an array that writes files": {"list": [{"array": "env.board"}, {"method": [1, "tofile"]}]},
    "a method of a list that nobody held": {"list": [{"list": []}, {"method": [2, "pop"]}]},
    "a dict of a kind of its own": {"dict": [[], "defaultdict"]},
}


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_no_capture_writes_is_refused_in_a_line(field, value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    imported = set(sys.modules)
    with pytest.raises(StateRefusedError) as refused:
        plain_state.restore(field, forged(field, value))
    assert "\n" not in str(refused.value)
    assert set(sys.modules) == imported
    assert [RAN, list(tmp_path.iterdir())] == [[], []]


def test_a_module_that_an_environment_holds_is_not_written_to(field):
    state = plain_state.capture(field)
    tree = from_json_array(state["tree"])
    pairs = dict(tree["holder"])
    pairs["numpy"] = {"holder": [["sum", {"named": [__name__, "Enemy"]}]]}
    with pytest.raises(StateRefusedError, match="an environment where a module is"):
        plain_state.restore(field, {**state, "tree": as_json_array({"holder": list(pairs.items())})})
    assert np.sum([1, 2]) == 3


def test_a_method_of_the_environments_class_is_not_replaced(field):
    """By one of a container it held, which gives whatever the snapshot wants when the environment is stepped."""
    state = plain_state.capture(field)
    tree = from_json_array(state["tree"])
    tree["holder"].append(["step", {"named": [__name__, "Enemy"]}])
    with pytest.raises(StateRefusedError, match="replaces a method"):
        plain_state.restore(field, {**state, "tree": as_json_array(tree)})
    names = plain_state.Names.of(field)
    field.step = field.reset
    with pytest.raises(SnapshotUnsupportedError, match="replaces its method step"):
        plain_state.capture(field, names)
    plain_state.capture(field)  # as one that was made so


def test_what_a_fresh_process_would_not_find_is_refused_when_it_is_captured(field):
    names = plain_state.Names.of(field)
    field.legend["late"] = field.random.random
    with pytest.raises(SnapshotUnsupportedError, match="holds the method random"):
        plain_state.capture(field, names)
    field.legend = {"status": HTTPStatus.OK}
    plain_state.restore(Field(), plain_state.capture(field, names), names)


def test_arrays_of_objects_are_refused(field):
    state = plain_state.capture(field)
    with pytest.raises(StateRefusedError, match="no array of plain numbers"):
        plain_state.restore(field, {**state, "env.board": np.array([print], object)})


def test_nesting_without_end_is_refused(field):
    state = plain_state.capture(field)
    for deep in (b'{"tuple":[' * 100_000, b'{"tuple":[' * 900 + b"1" + b"]}" * 900):
        with pytest.raises(StateRefusedError, match=r"nested too deeply|cannot be read"):
            plain_state.restore(field, {**state, "tree": np.frombuffer(deep, np.uint8)})


def test_objects_of_ones_own_are_made_again_without_running_any_of_them(field):
    field.enemies += [Enemy(), Enemy()]
    vars(field.enemies[2])["strength"] = 5
    field.phase = Phase.NIGHT
    state, fresh = plain_state.capture(field), Field()
    RAN.clear()
    plain_state.restore(fresh, state)
    assert RAN == []
    assert fresh.phase is Phase.NIGHT
    assert [vars(enemy).get("strength") for enemy in fresh.enemies] == [None, None, 5]


ATTACKED = """
import gymnasium, sys
class Quiet(gymnasium.Env):
    observation_space, action_space = gymnasium.spaces.Box(-1, 1, (2,)), gymnasium.spaces.Discrete(2)
    def __init__(self): self.steps, self.flag = 0, None
    def seen(self): return __import__("numpy").zeros(2, "f4")
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed); self.steps = 0
        return self.seen(), {}
    def step(self, action):
        self.steps += 1
        return self.seen(), float(action), self.steps % 9 == 0, False, {}
gymnasium.register("Quiet-v0", Quiet)
"""

TAMPER = """
import json, sys
from pathlib import Path
from safetensors.numpy import load, save
from hydrahive.core.state import as_json_array, from_json_array
from hydrahive.runtime.runs.checkpoints import CheckpointStore, read_checkpoint
from dataclasses import replace
folder = Path(sys.argv[1])
for path in sorted(folder.iterdir()):
    read = read_checkpoint(path)
    state = dict(read.boundary.state)
    name = next(name for name in state if name.endswith("envs/tree"))
    text = json.dumps(from_json_array(state[name]))
    assert '["flag", null]' in text
    run = json.dumps({"flag": ["os", "system", "touch " + sys.argv[2]]})
    state[name] = as_json_array(json.loads(text.replace('["flag", null]', '["flag", ' + run + ']')))
    for file in path.iterdir(): file.unlink()
    path.rmdir()
    CheckpointStore(folder).write(replace(read.boundary, state=state), read.seconds, read.machine_class,
        fingerprint=read.fingerprint, standings=read.standings)
"""


def test_a_checkpoint_that_somebody_wrote_runs_nothing_when_its_run_goes_on(tmp_path):
    """As whoever can write a bucket would: sums and seals made anew, only the state is another one."""
    (tmp_path / "quiet.py").write_text(ATTACKED)
    hydrahive = [sys.executable, "-m", "hydrahive.cli.main"]
    sizes = [
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
    ]
    options = ["--env.class_path", "Gym", "--env.id", "quiet:Quiet-v0", *sizes, "--ledger.enabled", "false"]

    def train(steps):
        command = [*hydrahive, "train", "cartpole/ppo", "--name", "quiet", *options, "--stop.env_steps", str(steps)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)

    first = train(128)
    assert first.returncode == 0, first.stderr
    checkpoints, ran = tmp_path / "runs" / "quiet" / "checkpoints", tmp_path / "ran"
    subprocess.run([sys.executable, "-c", TAMPER, checkpoints, ran], cwd=tmp_path, check=True, timeout=60)
    again = train(256)
    assert again.returncode == 1
    assert "names os.system" in again.stderr or "a member of os.system" in again.stderr, again.stderr
    assert "Traceback" not in again.stderr
    assert not ran.exists()
