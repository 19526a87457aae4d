"""Environments of others: one digest wherever they are computed, or refused in one line; and what a look costs."""

import time

import pytest
import torch
import yaml

from conftest import FULL, ROOT, full_only
from corpus.kinds import FAMILIES
from corpus.run import as_page, verdict
from corpus.trying import config_for, tried
from fragile import FragileFleet, trained
from hydrahive.core.errors import HydrahiveError
from hydrahive.runtime.config.parsing import load_run_config
from hydrahive.runtime.config.shipped import shipped_experiments
from hydrahive.runtime.fleet.inline import InlineFleet
from hydrahive.runtime.inspect.envs.check import checked
from hydrahive.runtime.inspect.envs.look import look
from hydrahive.runtime.roles.env_worker import build_network

FEW = {
    "Gymnasium": "FrozenLake-v1",
    "Box2D": "BipedalWalker-v3",
    "MuJoCo": "Hopper-v5",
    "MiniGrid": "MiniGrid-Unlock-v0",
}
FEW |= {"MinAtar": "MinAtar/Asterix-v1", "PettingZoo": "leduc_holdem_v4", "MPE": "simple_tag_v3"}
"""One of each family."""


@pytest.fixture(autouse=True)
def games_at_hand(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "games"))


def config_of(family, name, folder):
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(config_for(FAMILIES[family][name])))
    return load_run_config(path, ["--workers", "0", "--stop.updates", "6"])


@pytest.mark.parametrize("family", FEW)
def test_one_of_each_family_is_the_same_whatever_is_lost(family, tmp_path):
    config = config_of(family, FEW[family], tmp_path)
    look(config)
    inline = trained(config, InlineFleet(config, "run", "cpu"))
    assert trained(config, FragileFleet(config, {5: "die", 9: "join", 14: "die"})) == inline


@full_only
def test_all_of_them_have_one_digest_or_are_refused_in_a_line(tmp_path):
    rows = {(of, name): tried(kind, tmp_path / of / name.replace("/", "_")) for of, kinds in FAMILIES.items() for name, kind in kinds.items()}  # fmt: skip
    (ROOT / "docs" / "benchmarks" / "corpus.md").write_text(as_page(rows))
    assert len(rows) >= 60
    assert [name for (_, name), row in rows.items() if "WRONG" in verdict(row)] == []


@full_only
@pytest.mark.parametrize("name", FAMILIES["PettingZoo"])
def test_pettingzoos_worlds_pass_check_env(name, tmp_path):
    wrong = [f"{one.check}: {one.says}" for one in checked(config_of("PettingZoo", name, tmp_path)) if not one.passed]
    assert wrong == []


def test_a_look_is_cheap(report):
    """For every shipped experiment; what is loaded and compiled once is not the look's."""
    took = {}
    for name, path in shipped_experiments().items():
        if not FULL and name not in ("cartpole/vtrace", "snake/vtrace", "swarm/vtrace-lstm", "pettingzoo/connect-four"):
            continue
        config = load_run_config(path, [])
        try:
            build_network(config, torch.Generator())
        except HydrahiveError:
            continue  # an extra that is not installed
        look(config)
        began = time.perf_counter()
        assert look(config) == (), name
        took[name] = time.perf_counter() - began
    worst = max(took, key=took.get)
    report.add("A look before training", f"A look before training takes at most {took[worst]:.2f} s ({worst}), of {len(took)} shipped ones.")  # fmt: skip
