"""One policy for each group of agents: nothing that one group learns reaches another."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from hydrahive.core.errors import ConfigError
from hydrahive.core.laid_out import GroupedBox
from hydrahive.policies.actor_critic import ActorCritic
from hydrahive.policies.config import Gru, Mlp, PerGroup, PolicyConfig

SPACE = GroupedBox([3, 5])


def rows(group, count=4):
    random = np.random.default_rng(group)
    seen = random.normal(size=(count, SPACE.widths[group]))
    return torch.from_numpy(np.stack([SPACE.laid_out(row, group) for row in seen]))


def network(actions=None):
    config = PolicyConfig(encoder=PerGroup(Mlp([8])))
    made = ActorCritic(config, SPACE, actions or spaces.Discrete(4), torch.Generator().manual_seed(0))
    with torch.no_grad():  # heads begin at zero, where nothing could be told
        made.policy_head.weight.normal_(generator=torch.Generator().manual_seed(1))
    return made


def said(network, observations):
    scores, _ = network.step(observations, torch.zeros(len(observations), 0))
    return scores


@pytest.mark.parametrize("actions", [spaces.Discrete(4), spaces.Box(-1, 1, (3,))], ids=["counted", "continuous"])
def test_what_one_group_learns_changes_nothing_for_the_other(actions):
    made = network(actions)
    before = [(said(made, rows(group)).detach(), valued(made, rows(group)).detach()) for group in (0, 1)]
    optimizer = torch.optim.SGD(made.parameters(), 0.1)
    (said(made, rows(0)).square().sum() + valued(made, rows(0)).sum()).backward()
    optimizer.step()
    after = [(said(made, rows(group)), valued(made, rows(group))) for group in (0, 1)]
    assert not any(torch.equal(now, then) for now, then in zip(after[0], before[0], strict=True))
    assert all(torch.equal(now, then) for now, then in zip(after[1], before[1], strict=True))


def valued(network, observations):
    return network.values(network.encode(observations))


def test_a_row_among_others_is_seen_as_alone():
    made = network()
    mixed = torch.stack([row for pair in zip(rows(0), rows(1), strict=True) for row in pair])
    torch.testing.assert_close(said(made, mixed)[0::2], said(made, rows(0)))
    torch.testing.assert_close(said(made, mixed)[1::2], said(made, rows(1)))


def test_it_needs_groups_and_no_shared_memory():
    with pytest.raises(ConfigError, match="groups"):
        ActorCritic(PolicyConfig(encoder=PerGroup()), spaces.Box(0, 1, (3,)), spaces.Discrete(2), torch.Generator())
    with pytest.raises(ConfigError, match="none, beside PerGroup"):
        PolicyConfig(encoder=PerGroup(), core=Gru())
