"""The contract of `docs/batched.md`: its simulator, and others that keep their state elsewhere."""

import ctypes
import json
import re
import sys

import gymnasium
import numpy as np
import pytest

from conftest import ROOT
from fragile import FragileFleet, trained
from hydrahive.core.errors import HydrahiveError
from hydrahive.runtime.config.parsing import load_run_config
from hydrahive.runtime.fleet.inline import InlineFleet
from hydrahive.runtime.inspect.envs.check import checked
from hydrahive.runtime.inspect.envs.look import look

PAGE = (ROOT / "docs" / "batched.md").read_text()
BASE = ROOT / "experiments" / "cartpole" / "vtrace.yaml"
SMALL = ["--envs_per_shard=6", "--fragment_length=8", "--boundary_every=2", "--stop.updates=8", "--shards=2"]
SMALL += ["--policy.encoder.hidden=[8]", "--workers=0", "--recording=false", "--env.vectorization=vector"]


@pytest.fixture(scope="module")
def balls(tmp_path_factory):
    """The page's module."""
    folder = tmp_path_factory.mktemp("balls")
    (folder / "balls.py").write_text(re.search(r"```python\n(.*?)```", PAGE, re.DOTALL).group(1))
    sys.path.insert(0, str(folder))
    import balls

    yield balls
    sys.path.remove(str(folder))


class Opaque:
    """Three float64 of each game in memory that only a C program would know, and a generator's state."""

    def __init__(self, count):
        self._memory = (ctypes.c_double * (3 * count))()
        self.numbers = np.frombuffer(self._memory, np.float64).reshape(count, 3)


def in_memory_of_c(balls, snapshots):
    """The page's simulator with its state elsewhere; `snapshots` says how it takes it out."""

    class Far(balls.Balls):
        def __init__(self, num_envs=1):
            super().__init__(num_envs)
            self.far = Opaque(num_envs)
            self.ball, self.paddle = self.far.numbers[:, :2], self.far.numbers[:, 2]

        def step(self, actions):
            given = super().step(actions)
            self.far.numbers[:, 2], self.paddle = self.paddle, self.far.numbers[:, 2]
            return given

    class Keeps(Far):
        def snapshot(self):
            luck = self.luck.bit_generator.state["state"]
            words = [luck[name] >> shift & (2**64 - 1) for name in ("state", "inc") for shift in (0, 64)]
            return {"numbers": self.far.numbers, "luck": np.array(words, np.uint64)}

        def restore(self, state):
            self.far.numbers[:] = state["numbers"]
            low, high, low_inc, high_inc = (int(word) for word in state["luck"])
            held = self.luck.bit_generator.state
            held["state"] = {"state": low | high << 64, "inc": low_inc | high_inc << 64}
            self.luck.bit_generator.state = held

    class Forgets(Keeps):
        def restore(self, state):
            self.far.numbers[:] = state["numbers"]

    class Odd(Keeps):
        def snapshot(self):
            return {"luck": self.luck}

    return {"none": Far, "keeps": Keeps, "forgets": Forgets, "odd": Odd}[snapshots]


def config_of(name, *options):
    return load_run_config(BASE, [*SMALL, "--env.id", name, *options])


def alike_everywhere(config):
    inline = trained(config, InlineFleet(config, "run", "cpu"))
    assert trained(config, FragileFleet(config, {5: "die", 9: "join", 14: "die"})) == inline


def test_the_pages_simulator_passes_all_checks_and_is_the_same_everywhere(balls):
    assert len(PAGE.splitlines()) <= 100
    config = config_of("balls:Balls-v0")
    assert look(config) == ()
    assert {
        one.check: one.verdict for one in checked(config, ["made", "spaces", "steps", "seeding", "second"])
    } == dict.fromkeys(("made", "spaces", "steps", "seeding", "second"), "ok")
    alike_everywhere(config)


def test_it_is_learned(balls):
    """Chance catches a third; the paddle reaches every ball."""
    options = ["--algorithm", "PPO", "--envs_per_shard=32", "--fragment_length=32", "--stop.updates=40"]
    config = config_of("balls:Balls-v0", *options, "--policy.encoder.hidden=[32]")
    fleet, last = InlineFleet(config, "run", "cpu"), []
    from hydrahive.runtime.schedule.schedules import schedule_of

    for update in schedule_of(config, fleet, None).updates():
        last = update.episodes.scores or last
    assert np.mean(last) > 0.8


@pytest.mark.parametrize(
    ("snapshots", "says"),
    [
        ("none", "snapshots: none"),
        ("forgets", "goes on otherwise when restored"),
        ("odd", "its snapshot() gave 'luck': Generator"),
    ],
)
def test_state_that_is_not_kept_is_told(balls, snapshots, says):
    gymnasium.register("FarBalls-v0", vector_entry_point=in_memory_of_c(balls, snapshots))
    with pytest.raises(HydrahiveError) as refused:
        look(config_of("FarBalls-v0"))
    assert says in str(refused.value)


def test_a_simulator_may_keep_its_state_itself(balls):
    gymnasium.register("FarBalls-v0", vector_entry_point=in_memory_of_c(balls, "keeps"))
    config = config_of("FarBalls-v0")
    assert look(config) == ()
    alike_everywhere(config)


def test_or_not_at_all(balls):
    gymnasium.register("FarBalls-v0", vector_entry_point=in_memory_of_c(balls, "none"))
    config = config_of("FarBalls-v0", "--env.snapshots=none")
    assert look(config) == ()
    alike_everywhere(config)


def test_envpool_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "envpool", None)
    env = json.dumps({"class_path": "EnvPool", "init_args": {"id": "CartPole-v1"}})
    with pytest.raises(HydrahiveError, match=r"pip install 'hydrahive\[envpool\]'"):
        load_run_config(BASE, ["--env", env])


@pytest.mark.parametrize("name", ["CartPole-v1", "MiniGrid-DoorKey-5x5-v0", "Ant-v4"])
def test_envpools_games_are_the_same_everywhere(name):
    pytest.importorskip("envpool", reason="the extra `envpool` is not installed")
    env = json.dumps({"class_path": "EnvPool", "init_args": {"id": name}})
    config = load_run_config(BASE, [option for option in SMALL if "vectorization" not in option] + ["--env", env])
    look(config)
    alike_everywhere(config)


def test_what_envpool_does_not_have_is_refused():
    pytest.importorskip("envpool", reason="the extra `envpool` is not installed")
    for init, says in (
        ({"id": "CartPol-v1"}, r"CartPole-v1.*\?"),
        ({"id": "CartPole-v1", "kwargs": {"num_envs": 3}}, "num_envs, which the run decides"),
    ):
        with pytest.raises(HydrahiveError, match=says):
            load_run_config(BASE, ["--env", json.dumps({"class_path": "EnvPool", "init_args": init})])
