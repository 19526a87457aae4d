"""What agents do with observations of any float type, and with what they carry."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from hydrahive.core.errors import ConfigError
from hydrahive.policies.actor_critic import ActorCritic
from hydrahive.policies.agent import Seen
from hydrahive.policies.config import Gru, Mlp, PolicyConfig

TWO = spaces.Discrete(2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_observations_of_any_float_type_are_normalised(dtype):
    """L8: all of MuJoCo shows float64."""
    space = spaces.Box(-np.inf, np.inf, (3,), dtype)
    agent = ActorCritic(PolicyConfig(Mlp([8]), normalize=True), space, TWO, torch.Generator().manual_seed(1))
    agent.observation_mean.copy_(torch.tensor([1e6, 0.0, -3.0]))
    agent.observation_scale.copy_(torch.tensor([2.0, 1.0, 0.5]))
    seen = torch.tensor(np.array([[1e6 + 0.25, 1.0, 100.0]], dtype))
    same = ActorCritic(PolicyConfig(Mlp([8])), space, TWO, torch.Generator().manual_seed(1))
    expected = same.encode(torch.tensor([[0.5, 1.0, 10.0]]))
    torch.testing.assert_close(agent.encode(seen), expected)


def test_what_has_no_mean_is_not_normalised():
    with pytest.raises(ConfigError, match=r"policy\.normalize"):
        ActorCritic(PolicyConfig(Mlp([8]), normalize=True), spaces.Box(0, 255, (3,), np.uint8), TWO, torch.Generator())


def test_acting_carries_the_memory_and_takes_only_what_is_legal():
    space = spaces.Box(-1, 1, (3,), np.float32)
    agent = ActorCritic(PolicyConfig(Mlp([8]), Gru(4)), space, TWO, torch.Generator().manual_seed(1))
    noise = agent.noise(lambda purpose: np.random.default_rng(len(purpose)), 5, 200)
    legal = np.tile([True, False], (200, 1))
    carry = {"memory": torch.zeros((200, 4))}
    with agent.acting():
        first = agent.act(Seen(torch.ones((200, 3)), legal), carry, {"act": noise["act"][0]}, 0.0)
        second = agent.act(Seen(torch.ones((200, 3))), first.carry, {"act": noise["act"][1]}, 0.0)
    assert (first.actions == 0).all()
    assert 0 < second.actions.float().mean() < 1
    assert not torch.equal(first.carry["memory"], second.carry["memory"])
    assert (carry["memory"] == 0).all(), "what was carried is left as it was"
    assert first.counts.size == 0
