"""What every algorithm must keep, by being registered: the same bytes whatever is lost, and the right fixed point."""

import dataclasses
import signal

import numpy as np
import pytest
import torch

from conftest import FULL, ROOT, digests_of, full_only
from fragile import FragileFleet, trained
from hydrahive.core.config import AlgorithmConfig
from hydrahive.policies.flat_weights import FlatWeights
from hydrahive.runtime.config.parsing import load_run_config
from hydrahive.runtime.config.parts import subclasses
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.config.shipped import find_config
from hydrahive.runtime.fleet.inline import InlineFleet
from hydrahive.runtime.roles.env_worker import build_network
from hydrahive.runtime.schedule.schedules import schedule_of

OURS = [part for part in subclasses(AlgorithmConfig) if part.__module__.startswith("hydrahive.")]
REGISTERED = {part.__name__: part for part in OURS if hasattr(part, "maker")}
assert {"VTrace", "PPO", "AthQ", "DQN", "Rainbow", "SAC", "TQC", "TD3", "DDPG"} <= REGISTERED.keys(), RunConfig

REAL = ("TQC", "TD3", "DDPG")
"""Those that take real actions only."""

CARTPOLE, _ = find_config("cartpole/vtrace")

SMALL = ["--shards", "3", "--envs_per_shard", "4", "--fragment_length", "8", "--boundary_every", "5"]
SMALL += ["--policy.encoder.hidden", "[16]", "--policy.normalize", "true", "--learner.slices", "2"]

VALUES = {"warm_up": 100, "env_steps_per_gradient_step": 30, "minibatches": 2, "epochs": 2, "batch": 16}
"""Where an algorithm has such a key: enough to do in a small run."""


def with_values(name, values):
    known = {field.name for field in dataclasses.fields(REGISTERED[name])}
    given = [(f"--algorithm.{key}", str(value)) for key, value in values.items() if key in known]
    replay = ["--replay", "Uniform", "--replay.capacity", "4000"] if REGISTERED[name].replays == "sequences" else []
    env = ["--env.id", "Pendulum-v1"] if name in REAL else []
    return [*env, "--algorithm", name, *(word for pair in given for word in pair), *replay]


def test_a_page_is_read_at_one_sitting():
    for name, part in REGISTERED.items():
        page = ROOT / "src" / (part.maker.partition(":")[0].replace(".", "/") + ".py")
        assert len(page.read_text().splitlines()) <= 250, name


VARIANTS = {name: (name, []) for name in REGISTERED} | {
    f"{name}, curious": (name, ["--curiosity.bonus", "0.3", "--curiosity.gradient_steps", "3"])
    for name in ("PPO", "DQN", "AthQ")
}
VARIANTS |= {
    "SAC, real, dropout": (
        "SAC",
        ["--env.id", "Pendulum-v1", "--algorithm.dropout", "0.1", "--algorithm.layer_norm", "true"],
    ),
    "DDPG, wandering noise": ("DDPG", ["--algorithm.noise_correlation", "0.8"]),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_boundary_is_the_same_whatever_is_lost(variant):
    name, more = VARIANTS[variant]
    options = [*SMALL, *with_values(name, VALUES), *more, "--stop.env_steps", "2000"]
    config = load_run_config(CARTPOLE, options)
    undisturbed = trained(config, InlineFleet(config, "run", "cpu"))
    assert len(set(undisturbed.values())) == len(undisturbed) > 4, "it learns"
    plans = [{14: "die"}, {23: "lose update"}, {31: "lose result", 40: "die", 44: "join"}]
    if config.replay:
        plans += [{27: "lose replay"}, {47: "lose replay", 60: "die"}]
    at_once = load_run_config(CARTPOLE, [*options, "--learner.at_once", "3"])
    for number, plan in enumerate(plans):
        fleet = FragileFleet(at_once if number == 1 else config, plan)
        assert trained(config, fleet) == undisturbed, f"{plan}: {fleet.events}"
        assert fleet.events, f"{plan}: something was lost"


@full_only
@pytest.mark.parametrize("name", REGISTERED)
def test_bytes_are_the_same_on_workers_and_after_a_kill(name, hydrahive):
    """With real Ray: inline, on one and on three workers, killed and resumed on another number of them.

    Small, `tests/claims/test_replay.py` does it for Rainbow.
    """
    options = [*SMALL, *with_values(name, VALUES), "--metrics_every", 1, "--checkpoint.every_boundaries", 1]
    options += ["--stop.env_steps", 12_000]
    inline = digests_of(hydrahive.train("cartpole/vtrace", "inline", *options, "--workers", 0))
    for workers in (1, 3):
        told = hydrahive.train("cartpole/vtrace", f"on-{workers}", *options, "--workers", workers)
        assert digests_of(told) == inline
    killed = hydrahive.start_training("cartpole/vtrace", "killed", *options, "--workers", 0)
    hydrahive.stop_at(killed, "killed", 4_000, signal.SIGKILL)
    assert digests_of(hydrahive.train("cartpole/vtrace", "killed", *options, "--workers", 1)) == inline


CHAIN = {"learning_rate": 0.01, "discount": 0.9, "batch": 32, "warm_up": 100, "env_steps_per_gradient_step": 24}
CHAIN |= {"target_update": 0.1, "target_every": 1, "lowest": 0, "highest": 40, "entropy_cost": 0.01}
CHAIN |= {"temperature": 1e-3, "temperature_learning_rate": 0, "dropped": 0, "policy_delay": 1, "target_noise": 0}
CHAIN |= {"gradient_steps": 4, "epochs": 2, "gradient_norm": 100, "optimizer_epsilon": 1e-8, "huber_delta": 10}

DISCOUNT = CHAIN["discount"]

FIRST = sum(DISCOUNT**s * s for s in range(5)) / (1 - DISCOUNT**5)
"""V(0); V(s) = s + gamma V(s + 1)."""


def chain_values():
    values = [FIRST]
    for state in reversed(range(5)):
        values.insert(0, state + DISCOUNT * values[0])
    assert abs(values[0] - FIRST) < 1e-9
    return np.array(values[:5])


CASES = {name: (name, []) for name in REGISTERED} | {
    "DQN, 3 steps": ("DQN", ["--algorithm.n_step", "3"]),
    "DQN, noisy, duelling": ("DQN", ["--algorithm.noisy", "true", "--algorithm.duelling", "true"]),
    "DQN, quantiles": ("DQN", ["--algorithm.distribution", "quantiles", "--algorithm.atoms", "8"]),
    "AthQ, fresh": ("AthQ", ["--replay", "null"]),
    "SAC, real": ("SAC", ["--env.id", "games:RealChain-v0"]),
    "TD3, 3 steps": ("TD3", ["--algorithm.n_step", "3"]),
}


SMALL_CASES = [name for name in REGISTERED if name not in ("TQC", "DDPG", "Rainbow")]
"""Of which the others differ least."""


@pytest.mark.parametrize("case", CASES if FULL else [*SMALL_CASES, "DQN, 3 steps"])
def test_a_chain_that_is_cut_reaches_its_fixed_point(case, monkeypatch):
    """A cut is no end: what it led to counts. Whoever takes one for the other is wrong by a factor."""
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "games"))
    name, more = CASES[case]
    chain = "games:RealChain-v0" if name in REAL else "games:Chain-v0"
    options = ["--policy.encoder.hidden", "[32]", *with_values(name, CHAIN), "--env.id", chain, *more]
    options += ["--shards", "1", "--envs_per_shard", "8", "--fragment_length", "12", "--boundary_every", "1000"]
    config = load_run_config(CARTPOLE, [*options, "--lag", "0", "--stop.updates", "400"])
    fleet = InlineFleet(config, "run", "cpu")
    *_, last = schedule_of(config, fleet, None).updates()
    network = build_network(config, torch.Generator())
    FlatWeights(network).load(fleet.get(last.weights))
    rule = fleet._learner._rule
    with torch.no_grad():
        features = network.encode(torch.eye(5))
        if hasattr(rule, "critics"):  # of an action that changes nothing
            actions = torch.zeros(5, network.action_width) if network.action_width else None
            values = rule.critics(torch.eye(5), actions).mean((0, 2))
        else:
            values = network.values(features) if hasattr(network, "values") else network.scores(features).amax(1)
    np.testing.assert_allclose(values.numpy(), chain_values(), rtol=0.03)
