import numpy as np
import pytest
import torch
from gymnasium import spaces

from hydrahive.core.errors import ConfigError
from hydrahive.policies.actor_critic import ActorCritic
from hydrahive.policies.config import Conv, Mlp, PolicyConfig
from hydrahive.policies.distributions import chosen, entropy, gumbel_noise, kl_divergence
from hydrahive.policies.flat_weights import ALIGNMENT, FlatWeights

BOX = spaces.Box(-1, 1, (7,), np.float32)
PLANES = spaces.Box(0, 255, (4, 9, 9), np.uint8)


def policy(seed=0, encoder=None, space=BOX):
    config = PolicyConfig(encoder=encoder or Mlp([33, 17]))
    return ActorCritic(config, space, spaces.Discrete(3), torch.Generator().manual_seed(seed))


def values(network, observations):
    return network.values(network.encoder(observations))


def test_a_network_follows_its_flat_vector():
    mine, other = policy(1), policy(2)
    weights, others = FlatWeights(mine), FlatWeights(other)
    observations = torch.randn(5, 7)
    assert not torch.equal(values(mine, observations), values(other, observations))
    weights.load(others.numpy())
    assert torch.equal(values(mine, observations), values(other, observations))


def test_every_parameter_starts_on_64_bytes():
    network = policy()
    FlatWeights(network, with_gradients=True)
    for parameter in network.parameters():
        assert parameter.data_ptr() % (4 * ALIGNMENT) == 0
        assert parameter.grad.data_ptr() % (4 * ALIGNMENT) == 0


def test_named_arrays_come_back():
    weights, others = FlatWeights(policy(1)), FlatWeights(policy(2))
    weights.load_named(weights.vector, others.named(others.vector))
    assert torch.equal(weights.vector, others.vector)
    with pytest.raises(ValueError, match="expected shape"):
        weights.load_named(weights.vector, {})


def test_the_first_policy_is_uniform_and_orthogonal():
    network = policy()
    assert torch.equal(network.step(torch.randn(4, 7), torch.zeros(4, 0))[0], torch.zeros(4, 3))
    matrix = network.encoder.layers[1].weight.double()  # float32 products may be of any precision here
    torch.testing.assert_close(matrix @ matrix.T, 2 * torch.eye(17, dtype=torch.float64), atol=1e-5, rtol=1e-5)


def test_convolutions_read_planes_and_bytes():
    network = policy(encoder=Conv([8, 8], [1, 2], 32), space=PLANES)
    assert values(network, torch.randint(0, 255, (2, 4, 9, 9), dtype=torch.uint8)).shape == (2,)
    with pytest.raises(ConfigError, match="Conv"):
        policy(encoder=Conv())


@pytest.mark.parametrize(
    "space", [spaces.MultiDiscrete([[2, 2], [2, 2]]), spaces.Box(-1, 1, (2, 2)), spaces.MultiBinary(3)]
)
def test_actions_without_a_distribution_are_refused(space):
    with pytest.raises(ConfigError, match=r"Discrete|dimension"):
        ActorCritic(PolicyConfig(), BOX, space, torch.Generator())


def test_gumbel_noise_draws_from_the_distribution():
    logits = np.log(np.array([0.5, 0.3, 0.2], np.float32))
    draws = np.argmax(logits + gumbel_noise(np.random.default_rng(0), (200_000, 3)), axis=1)
    np.testing.assert_allclose(np.bincount(draws) / len(draws), [0.5, 0.3, 0.2], atol=0.005)


def test_probabilities_entropy_and_divergence_agree_with_torch():
    p, q = torch.randn(2, 6, 4).log_softmax(-1)
    actions = torch.tensor([0, 1, 2, 3, 0, 1])
    ours = torch.distributions.Categorical(logits=p), torch.distributions.Categorical(logits=q)
    torch.testing.assert_close(chosen(p, actions), ours[0].log_prob(actions))
    torch.testing.assert_close(entropy(p), ours[0].entropy())
    torch.testing.assert_close(kl_divergence(p, q), torch.distributions.kl_divergence(*ours))
