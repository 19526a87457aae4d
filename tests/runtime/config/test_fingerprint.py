"""Which code a run's bytes come from."""

import sys
from types import ModuleType

import pytest

from conftest import ROOT
from hydrahive.envs.atari.config import Atari
from hydrahive.envs.gym.config import Gym
from hydrahive.envs.pettingzoo.config import PettingZoo
from hydrahive.envs.snake.config import Snake
from hydrahive.envs.swarm.config import Swarm
from hydrahive.runtime.config.fingerprint import PACKAGES, difference_in_words, fingerprint_of, version_of


@pytest.mark.parametrize(
    ("env", "besides"),
    [
        (Snake(), set()),
        (Swarm(), {"pymunk"}),
        (Atari("pong"), {"ale-py"}),
        (Gym("CartPole-v1"), set()),
        (Gym("LunarLander-v3", snapshots="none"), {"box2d"}),
        (Gym("minigrid:MiniGrid-DoorKey-5x5-v0", wrappers=["minigrid.wrappers.ImgObsWrapper"]), {"minigrid"}),
        (Gym("hydrahive.envs.minatar:MinAtar/Breakout-v1"), {"minatar"}),
        (PettingZoo("pettingzoo.classic.connect_four_v3"), {"pettingzoo"}),
        (PettingZoo("mpe2.simple_speaker_listener_v4", groups={"s": ["s*"], "l": ["l*"]}), {"mpe2", "pettingzoo"}),
    ],
    ids=lambda value: getattr(value, "id", type(value).__name__),
)
def test_it_names_the_packages_that_compute(env, besides):
    found = fingerprint_of(env)
    assert set(found) == {"numerics", *PACKAGES, *besides}
    assert "unknown" not in found.values()


def test_an_environment_of_nobodys_package_adds_none(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "games"))
    assert set(fingerprint_of(Gym("games:Dials-v0"))) == {"numerics", *PACKAGES}


def test_differences_are_named_one_by_one():
    before = {"numerics": "1", "numpy": "2.4.6", "torch": "2.13.0"}
    assert difference_in_words(before, dict(before), "it was", "it is") == ""
    now = {**before, "numpy": "2.5.0", "pymunk": "7.3"}
    said = difference_in_words(before, now, "it was", "it is")
    assert said == "it was numpy 2.4.6, pymunk none; it is numpy 2.5.0, pymunk 7.3"


def test_a_module_that_is_not_what_was_installed_is_told(monkeypatch):
    installed = version_of("numba")
    module = ModuleType("numba")
    module.__version__ = "9.9.9"
    monkeypatch.setitem(sys.modules, "numba", module)
    assert version_of("numba") == f"{installed} (9.9.9 is loaded)"
    assert version_of("nobodys-package") == "unknown"
