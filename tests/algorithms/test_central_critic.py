"""PPO with a critic of what all agents of a world see (MAPPO)."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from conftest import ROOT, full_only
from hydrahive.core.errors import ConfigError, UsageError
from hydrahive.policies.central_critic import CentralActorCritic
from hydrahive.policies.config import Mlp, PolicyConfig
from hydrahive.runtime.config.parsing import load_run_config
from hydrahive.runtime.config.shipped import find_config
from hydrahive.runtime.fleet.inline import InlineFleet
from hydrahive.runtime.roles.env_worker import build_network
from hydrahive.runtime.schedule.schedules import schedule_of

SPEAKER, _ = find_config("pettingzoo/speaker-listener")

OPTIONS = ["--algorithm", "PPO", "--algorithm.learning_rate", "1e-3", "--algorithm.minibatches", "4"]
OPTIONS += ["--algorithm.normalize_rewards", "true", "--lag", "0", "--policy.encoder.encoder.hidden", "[64]"]


def network_of(group=3, normalize=False):
    space = spaces.Box(-1, 1, (4,), np.float32)
    config = PolicyConfig(Mlp([16]), normalize=normalize)
    return CentralActorCritic(config, space, spaces.Discrete(2), torch.Generator().manual_seed(1), group)


@pytest.mark.parametrize("normalize", [True, False])
def test_values_are_of_the_whole_world_and_of_no_other(normalize):
    network = network_of(normalize=normalize)
    seen = torch.rand((5, 6, 4), generator=torch.Generator().manual_seed(2))
    joint = network.joint(seen)
    assert joint.shape == (5, 6, 3 * 4 + 3)
    for column in range(6):
        world = slice(3 * (column // 3), 3 * (column // 3) + 3)
        torch.testing.assert_close(joint[:, column, :12], seen[:, world].flatten(1))
        assert joint[:, column, 12:].argmax(-1).tolist() == [column % 3] * 5
    with torch.no_grad():
        before = network.central_values(joint.flatten(0, 1)).view(5, 6)
        seen[:, 0] = 0.0
        after = network.central_values(network.joint(seen).flatten(0, 1)).view(5, 6)
    changed = (before != after).all(0)
    assert changed.tolist() == [True] * 3 + [False] * 3, "its fellows' values change, and no other world's"
    assert (before[:, 0] != before[:, 1]).all(), "whose value it is counts"


def explained(central, updates=30):
    config = load_run_config(SPEAKER, [*OPTIONS, "--algorithm.central_critic", central, "--stop.updates", str(updates)])
    fleet = InlineFleet(config, "run", "cpu")
    told = [update.metrics["explained_variance"] for update in schedule_of(config, fleet, None).updates()]
    return np.mean(told[-10:])


@full_only
def test_a_listeners_value_depends_on_what_the_speaker_sees():
    pytest.importorskip("mpe2")
    assert explained("true") > explained("false") + 0.2


COIN = ["--env", "PettingZoo", "--env.id", "far_worlds", "--env.kwargs.does", "coin", "--policy.encoder", "Mlp"]
COIN += [
    "--env.groups",
    "null",
    "--policy.encoder.hidden",
    "[32]",
    "--algorithm.discount",
    "0.9",
    "--algorithm.central_critic",
    "true",
]
COIN += ["--shards", "2", "--envs_per_shard", "16", "--fragment_length", "16", "--stop.updates", "60"]


@pytest.mark.parametrize("normalize", ["true", pytest.param("false", marks=full_only)])
def test_values_of_what_only_the_world_knows(monkeypatch, normalize):
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "games"))
    told = {}
    for state in ("true", "false"):
        options = [*OPTIONS, *COIN, "--env.central_state", state, "--policy.normalize", normalize]
        config = load_run_config(SPEAKER, options)
        fleet = InlineFleet(config, "run", "cpu")
        figures = [update.metrics["explained_variance"] for update in schedule_of(config, fleet, None).updates()]
        told[state] = np.mean(figures[-10:])
    assert told["true"] > 0.8
    assert told["false"] < 0.3


def test_nobody_acts_on_what_a_world_says(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "games"))
    config = load_run_config(SPEAKER, [*OPTIONS, *COIN, "--env.central_state", "true"])
    network = build_network(config, torch.Generator().manual_seed(1))
    seen = torch.rand((32, config.env.make_vector(2).single_observation_space.shape[0]))
    other = seen.clone()
    other[:, -2:] += 1.0
    memory = torch.zeros((32, network.memory_size))
    torch.testing.assert_close(network.step(seen, memory)[0], network.step(other, memory)[0], rtol=0, atol=0)
    with torch.no_grad():
        before, after = (network.central_values(network.joint(rows)) for rows in (seen, other))
    assert (before != after).all()
    blind = [*OPTIONS, *COIN, "--env.central_state", "true", "--algorithm.central_critic", "false"]
    with pytest.raises(ConfigError, match="central_critic"):
        build_network(load_run_config(SPEAKER, blind), torch.Generator())


@pytest.mark.parametrize("options", [["--policy.core", "Gru"], ["--learner.slices", "3", "--algorithm.epochs", "2"]])
def test_it_learns_with_a_memory_and_in_slices(options):
    path, _ = find_config("swarm/obstacles")
    small = ["--envs_per_shard", "10", "--fragment_length", "8", "--algorithm", "PPO", "--env.time_limit", "5"]
    small += ["--algorithm.minibatches", "2", "--algorithm.central_critic", "true", "--stop.updates", "2"]
    fleet = InlineFleet(config := load_run_config(path, [*small, *options]), "run", "cpu")
    *_, last = schedule_of(config, fleet, None).updates()
    assert np.isfinite(last.metrics["loss"])


def test_what_cannot_have_one_is_refused():
    with pytest.raises(ConfigError, match="central_critic"):
        network_of(group=1)
    pictures = spaces.Box(0, 255, (3, 8, 8), np.uint8)
    with pytest.raises(ConfigError, match="central_critic"):
        CentralActorCritic(PolicyConfig(Mlp([4])), pictures, spaces.Discrete(2), torch.Generator(), 2)
    with pytest.raises(UsageError, match="central_critic"):
        load_run_config(SPEAKER, ["--algorithm", "VTrace", "--algorithm.central_critic", "true"])
