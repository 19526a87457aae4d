"""Several policies as one: probabilities, or means, averaged by weight."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces

from hydrahive.core.errors import UsageError
from hydrahive.policies.actor_critic import ActorCritic
from hydrahive.policies.config import Gru, Mlp, PolicyConfig
from hydrahive.policies.deep_q_network import DeepQNetwork
from hydrahive.policies.ensemble import Ensemble

SEEN = spaces.Box(-1, 1, (5,), np.float32)


def actor(action_space, seed, core=None):
    config = PolicyConfig(encoder=Mlp(hidden=[8]), core=core)
    return ActorCritic(config, SEEN, action_space, torch.Generator().manual_seed(seed))


def observations(rows=64):
    return torch.rand((rows, 5), generator=torch.Generator().manual_seed(5)) * 2 - 1


@torch.inference_mode()
def test_probabilities_are_averaged():
    members, weights = [actor(spaces.Discrete(4), seed) for seed in (1, 2, 3)], [1.0, 0.5, 0.5]
    seen, nothing = observations(), torch.zeros((64, 0))
    scores, _ = Ensemble(members, weights).step(seen, nothing)
    each = [one.step(seen, nothing)[0].softmax(-1) for one in members]
    expected = (each[0] * 0.5 + each[1] * 0.25 + each[2] * 0.25).argmax(-1)
    assert torch.equal(Ensemble(members, weights).distribution.mode(scores), expected)


@torch.inference_mode()
def test_drawn_actions_come_by_the_mean_probabilities():
    members = [actor(spaces.Discrete(3), seed) for seed in (1, 2)]
    both = Ensemble(members, [1.0, 3.0])
    seen = observations(1).repeat(40_000, 1)
    scores, _ = both.step(seen, torch.zeros((len(seen), 0)))
    noise = torch.from_numpy(both.distribution.noise(np.random.default_rng(3), (len(seen),)))
    drawn = both.distribution.drawn(scores, noise)
    each = [one.step(seen[:1], torch.zeros((1, 0)))[0].softmax(-1)[0] for one in members]
    found = torch.bincount(drawn, minlength=3) / len(drawn)
    assert torch.allclose(found, each[0] * 0.25 + each[1] * 0.75, atol=0.01)


@torch.inference_mode()
def test_what_is_not_legal_is_not_done():
    both = Ensemble([actor(spaces.Discrete(4), seed) for seed in (1, 2)], [1.0, 1.0])
    scores, _ = both.step(observations(), torch.zeros((64, 0)))
    legal = torch.zeros((64, 4), dtype=torch.bool)
    legal[:, 2] = True
    assert (both.distribution.mode(both.distribution.masked(scores, legal)) == 2).all()


@torch.inference_mode()
def test_means_of_numbers_are_averaged():
    space = spaces.Box(-2, 3, (2,), np.float32)
    members = [actor(space, seed) for seed in (1, 2)]
    both, seen, nothing = Ensemble(members, [1.0, 1.0]), observations(), torch.zeros((64, 0))
    scores, _ = both.step(seen, nothing)
    each = [one.distribution.mode(one.step(seen, nothing)[0]) for one in members]
    found = both.distribution.mode(scores)
    assert torch.allclose(found, (each[0] + each[1]) / 2)
    acts = both.distribution.for_env(found.numpy())
    assert ((acts >= -2) & (acts <= 3)).all()


@torch.inference_mode()
def test_each_remembers_for_itself():
    members = [
        actor(spaces.Discrete(3), 1, Gru(hidden=4)),
        actor(spaces.Discrete(3), 2),
        actor(spaces.Discrete(3), 3, Gru(hidden=6)),
    ]
    both, seen = Ensemble(members, [1.0, 1.0, 1.0]), observations()
    memory = torch.zeros((64, both.memory_size))
    assert both.memory_size == 10
    for _ in range(3):
        _, memory = both.step(seen, memory)
    alone = torch.zeros((64, 6))
    for _ in range(3):
        _, alone = members[2].step(seen, alone)
    assert torch.equal(memory[:, 4:], alone)


@torch.inference_mode()
def test_value_networks_vote():
    space = spaces.Discrete(3)

    def network(seed):
        config = PolicyConfig(encoder=Mlp(hidden=[8]))
        return DeepQNetwork(config, SEEN, space, torch.Generator().manual_seed(seed), 0.0)

    members = [network(seed) for seed in (1, 2, 3)]
    both, seen, nothing = Ensemble(members, [1.0, 1.0, 1.5]), observations(), torch.zeros((64, 0))
    votes = torch.stack([one.step(seen, nothing)[0].argmax(-1) for one in members])
    found = both.distribution.mode(both.step(seen, nothing)[0])
    agree = votes[0] == votes[1]
    assert torch.equal(found[agree], votes[0][agree]), "two of them outvote the third"
    assert torch.equal(
        found[~agree & (votes[0] != votes[2]) & (votes[1] != votes[2])],
        votes[2][~agree & (votes[0] != votes[2]) & (votes[1] != votes[2])],
    )


@pytest.mark.parametrize(
    "others",
    [spaces.Discrete(5), spaces.Box(-1, 1, (2,), np.float32)],
)
def test_other_actions_are_refused(others):
    with pytest.raises(UsageError, match="--ensemble"):
        Ensemble([actor(spaces.Discrete(4), 1), actor(others, 2)], [1.0, 1.0])
