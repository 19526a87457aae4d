import numpy as np
import pytest
import torch
from gymnasium import spaces

from hydrahive.core.errors import ConfigError
from hydrahive.core.processor import gains_by_bfloat16
from hydrahive.policies.actor_critic import ActorCritic
from hydrahive.policies.config import Impala, Nature, PolicyConfig

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


def test_what_is_no_picture_is_refused():
    with pytest.raises(ConfigError, match="Nature"):
        Nature().build(spaces.Box(0, 1, (10,), np.float32), torch.Generator())
    with pytest.raises(ConfigError, match="Conv, for pictures as small as"):
        Nature().build(spaces.Box(0, 255, (4, 20, 20), np.uint8), torch.Generator())
