import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch.utils._python_dispatch import TorchDispatchMode

from hydrahive.core.errors import ConfigError
from hydrahive.core.machine import gains_by_bfloat16
from hydrahive.policies.actor_critic import ActorCritic
from hydrahive.policies.config import Gru, Impala, Nature, PolicyConfig
from hydrahive.policies.flat_weights import FlatWeights

FRAMES = spaces.Box(0, 255, (4, 84, 84), np.uint8)
ACTIONS = spaces.Discrete(6)


def pictures(count=5):
    return torch.from_numpy(np.random.default_rng(0).integers(0, 255, (count, 4, 84, 84), np.uint8))


def test_nature_is_the_published_network():
    encoder = Nature().build(FRAMES, torch.Generator().manual_seed(0))
    assert sum(p.numel() for p in encoder.parameters()) == 1_684_128  # 8,224 + 32,832 + 36,928 + 3,136 * 512 + 512
    x = pictures().float() / 255
    for layer in encoder.convolutions:
        x = torch.relu(layer(x))
    expected = torch.relu(encoder.linear(x.flatten(1)))
    torch.testing.assert_close(encoder(pictures()), expected, rtol=1e-4, atol=1e-4)


def test_impala_is_the_published_network():
    encoder = Impala().build(FRAMES, torch.Generator().manual_seed(0))
    layers = [layer for layer in encoder.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert len(layers) == 15
    assert encoder.linear.in_features == 32 * 11 * 11
    x = pictures().float() / 255
    for section in encoder.sections:
        x = torch.nn.functional.max_pool2d(section.convolution(x), 3, 2, 1)
        for block in section.blocks:
            inner, outer = block.convolutions
            x = x + outer(torch.relu(inner(torch.relu(x))))
    expected = torch.relu(encoder.linear(torch.relu(x).flatten(1)))
    torch.testing.assert_close(encoder(pictures()), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("encoder", [Nature(), Impala()], ids=str)
def test_acting_in_bfloat16_says_nearly_the_same(encoder):
    network = ActorCritic(PolicyConfig(encoder=encoder), FRAMES, ACTIONS, torch.Generator().manual_seed(0))
    torch.nn.init.normal_(network.policy_head.weight, std=0.01, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        scores, _ = network.step(pictures(), torch.zeros(5, 0))
        network.acts_in_bfloat16 = True
        rounded, _ = network.step(pictures(), torch.zeros(5, 0))
    assert rounded.dtype == torch.float32
    assert (rounded - scores).abs().max() < 0.05 * scores.abs().max()
    assert (not torch.equal(rounded, scores)) == gains_by_bfloat16("cpu")


@pytest.mark.parametrize("encoder", [Nature(), Impala()], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_prepared_observations_have_the_same_features(encoder, dtype):
    network = ActorCritic(PolicyConfig(encoder=encoder), FRAMES, ACTIONS, torch.Generator().manual_seed(0))
    seen = pictures(6).unflatten(0, (3, 2))
    with torch.no_grad(), torch.autocast("cpu", dtype, enabled=dtype == torch.bfloat16):
        prepared = network.prepared(seen)
        assert prepared.shape[:2] == seen.shape[:2]
        assert prepared.dtype == dtype
        features = network.encode(prepared.flatten(0, 1))
        assert torch.equal(features, network.encode(seen.flatten(0, 1)))
        assert torch.equal(network.encode(prepared[-1]), network.encode(seen[-1]))


@pytest.mark.parametrize("shape", [(4, 84, 84), (1, 36, 40), (3, 84, 82), (2, 37, 84)])
def test_folding_pictures_changes_nothing(shape):
    """Those whose sides are multiples of 4 are folded: the first convolution sums the same products."""
    space = spaces.Box(0, 255, shape, np.uint8)
    encoder = Nature(features=8).build(space, torch.Generator().manual_seed(0))
    seen = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (3, *shape), np.uint8))
    x = seen.float() / 255
    for layer in encoder.convolutions:
        x = torch.relu(layer(x))
    expected = torch.relu(encoder.linear(x.flatten(1)))
    torch.testing.assert_close(encoder(seen), expected, rtol=1e-4, atol=1e-4)
    assert (encoder.prepared(seen).shape[1] == 16 * shape[0]) == (shape[1] % 4 == shape[2] % 4 == 0)
    expected.sum().backward()
    plain = encoder.convolutions[0].weight.grad.clone()
    encoder.zero_grad()
    encoder(seen).sum().backward()
    torch.testing.assert_close(encoder.convolutions[0].weight.grad, plain, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("in_bfloat16", [False, True])
def test_acting_for_long_says_the_same_and_hears_of_new_weights(in_bfloat16):
    network = ActorCritic(
        PolicyConfig(encoder=Nature(), core=Gru(8)), FRAMES, ACTIONS, torch.Generator().manual_seed(0)
    )
    torch.nn.init.normal_(network.policy_head.weight, std=0.01, generator=torch.Generator().manual_seed(1))
    weights = FlatWeights(network)
    network.acts_in_bfloat16 = in_bfloat16
    memory = torch.zeros(5, network.memory_size)
    told = []
    for _ in range(2):
        with torch.inference_mode():
            alone = network.step(pictures(), memory)
        with network.acting():
            for _ in range(2):
                with Casts() as casts:
                    together = network.step(pictures(), memory)
        assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))
        if in_bfloat16 and gains_by_bfloat16("cpu"):
            assert (512, 3136) not in casts.shapes, "the second step casts no weights again"
        told.append(together[0].clone())
        weights.load(weights.numpy() * np.float32(1.5))
    assert not torch.equal(*told)


def test_acting_leaves_what_learns_as_it_was():
    network = ActorCritic(PolicyConfig(encoder=Nature(8)), FRAMES, ACTIONS, torch.Generator().manual_seed(0))
    network.acts_in_bfloat16 = True
    network.policy_head.requires_grad_(False)
    before = [weight.requires_grad for weight in network.parameters()]
    with pytest.raises(ValueError, match="as an environment may"), network.acting():
        raise ValueError("as an environment may")
    assert [weight.requires_grad for weight in network.parameters()] == before
    assert torch.is_grad_enabled()


class Casts(TorchDispatchMode):
    """Notes the shapes of what is cast to bfloat16."""

    def __init__(self):
        super().__init__()
        self.shapes = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.ops.aten._to_copy.default and kwargs.get("dtype") == torch.bfloat16:
            self.shapes.append(tuple(args[0].shape))
        return func(*args, **kwargs)


def test_what_is_no_picture_is_refused():
    with pytest.raises(ConfigError, match="Nature"):
        Nature().build(spaces.Box(0, 1, (10,), np.float32), torch.Generator())
    with pytest.raises(ConfigError, match="Conv, for pictures as small as"):
        Nature().build(spaces.Box(0, 255, (4, 20, 20), np.uint8), torch.Generator())
