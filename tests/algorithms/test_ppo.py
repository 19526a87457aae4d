"""PPO: its advantages from the paper, its clip, and what its gradient steps are taken on."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hydrahive.algorithms.base.batch import of_columns, stack
from hydrahive.algorithms.base.rule import Computing, Round
from hydrahive.algorithms.config import PPO
from hydrahive.algorithms.ppo import Rows, generalised_advantages
from hydrahive.core.errors import ConfigError
from hydrahive.core.schedules import Linear
from hydrahive.envs.gym.config import Gym
from hydrahive.envs.snake.config import Snake
from hydrahive.policies.config import Gru, Mlp, PolicyConfig
from hydrahive.replay.config import Ath
from hydrahive.runtime.config.machine_class import prepare_torch
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.roles.env_worker import build_network
from hydrahive.runtime.roles.shard import Shard

CPU = torch.device("cpu")


def acted(core="none", shards=2, env=None):
    """A config and a round of fragments, episodes that end and are cut among them."""
    config = RunConfig(
        env=env or Snake(size=6, window=3, starvation=3),
        policy=PolicyConfig(encoder=Mlp([16]), core=core),
        shards=shards,
        envs_per_shard=4,
        fragment_length=16,
        precision="highest",
    )
    prepare_torch(config, 1)
    network = build_network(config, torch.Generator().manual_seed(1))
    places = [Shard(config, "run", i, config.env.make_vector(config.envs_per_shard)) for i in range(shards)]
    return config, Round([shard.simulate(0, 0, network)[0] for shard in places], None, 0)


def rule_of(config, slices=1, **settings):
    network = build_network(config, torch.Generator().manual_seed(1))
    torch.nn.init.normal_(network.policy_head.weight, generator=torch.Generator().manual_seed(2))
    return PPO(**settings).build(network, Computing(CPU, slices), 3)


def literal(rewards, values, next_values, terminated, ended, config):
    """Schulman et al. 2016, equation 16, as it is written: a sum over all later steps of the episode."""
    steps, columns = rewards.shape
    advantages = np.zeros((steps, columns))
    for b in range(columns):
        for t in range(steps):
            weight = 1.0
            for later in range(t, steps):
                following = 0.0 if terminated[later, b] else config.discount * next_values[later, b]
                advantages[t, b] += weight * (rewards[later, b] + following - values[later, b])
                if ended[later, b]:
                    break
                weight *= config.discount * config.trace_decay
    return advantages


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 12))
def test_advantages_are_the_papers(seed, steps):
    random = np.random.default_rng(seed)
    config = PPO(discount=random.uniform(), trace_decay=random.uniform())
    rewards, values, next_values = random.normal(size=(3, steps, 4))
    terminated, truncated = random.random((2, steps, 4)) < 0.2
    ended = terminated | truncated
    given_ = [torch.tensor(array) for array in (rewards, values, next_values, terminated, ended)]
    expected = literal(rewards, values, next_values, terminated, ended, config)
    np.testing.assert_allclose(generalised_advantages(*given_, config).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_each_row_is_learned_from_once_an_epoch_and_orders_differ():
    config, round_ = acted()
    rule = rule_of(config, epochs=2, minibatches=5, normalize_advantages=False)
    (whole,) = stack(round_.fragments, 1, CPU)
    numbers = torch.arange(whole.rewards.numel(), dtype=torch.float32).view_as(whole.rewards)
    parts = [part.advantages for part in rule._minibatches(Rows(whole, numbers, numbers, numbers))]
    assert len(parts) == 10
    first, second = torch.cat(parts[:5]), torch.cat(parts[5:])
    assert sorted(first.tolist()) == sorted(second.tolist()) == numbers.flatten().tolist()
    assert first.tolist() != second.tolist()


@pytest.mark.parametrize("core", ["none", Gru(8)], ids=["rows", "columns"])
def test_slices_give_the_minibatchs_gradient(core):
    config, round_ = acted(core)
    whole, sliced = (rule_of(config, slices, minibatches=2, epochs=2) for slices in (1, 3))
    told = [rule.learn(round_) for rule in (whole, sliced)]
    torch.testing.assert_close(whole.weights.vector, sliced.weights.vector, rtol=1e-3, atol=1e-5)
    assert told[0]["policy_loss"] == pytest.approx(told[1]["policy_loss"], abs=1e-5)
    assert whole.gradient_steps == sliced.gradient_steps == 4


def test_columns_of_a_batch_are_those_columns_whatever_was_cut():
    """CartPole is cut after 500 steps; here after five."""
    env = Gym("CartPole-v1", vectorization="sync", kwargs={"max_episode_steps": 5})
    _, round_ = acted(env=env, shards=3)
    (whole,) = stack(round_.fragments, 1, CPU)
    assert len(whole.cut_rows)
    chosen = torch.tensor([7, 2, 10])
    part = of_columns(whole, chosen)
    assert torch.equal(part.observations, whole.observations[:, chosen])
    for (t, b), seen in zip(whole.cut_rows.tolist(), whole.cut_observations, strict=True):
        if b in chosen.tolist():
            where = [(t, chosen.tolist().index(b))]
            found = [
                seen_
                for row, seen_ in zip(part.cut_rows.tolist(), part.cut_observations, strict=True)
                if [tuple(row)] == where
            ]
            assert len(found) == 1
            assert torch.equal(found[0], seen)
    assert part.truncated.sum() == len(part.cut_rows)


def test_ratios_beyond_the_clip_teach_nothing_where_the_advantage_draws_them_out():
    config, round_ = acted(shards=1)
    rule = rule_of(config, policy_clip=0.2, value_cost=0.0)
    (whole,) = stack(round_.fragments, 1, CPU)
    behaviour = whole.behaviour.clone()
    behaviour.scatter_add_(-1, whole.actions.unsqueeze(-1), torch.full((*whole.actions.shape, 1), -20.0))
    shifted = dataclasses.replace(whole, behaviour=behaviour)  # so that the policy likes what was done more: r > 1.2
    rows = rule._picked(Rows(shifted, *[torch.ones_like(whole.rewards)] * 3), torch.arange(whole.rewards.numel()))
    loss = rule.loss(rows, 0.2, 0.0)
    assert loss.value.item() == pytest.approx(-1.2 * whole.valid.sum().item(), rel=1e-5)
    loss.value.backward()
    assert not rule.weights.gradient.any()
    down = Rows(rows.batch, -rows.advantages, rows.returns, rows.values)
    rule.loss(down, 0.2, 0.0).value.backward()
    assert rule.weights.gradient.any()


def test_a_value_goes_no_further_than_its_clip():
    config, round_ = acted(shards=1)
    rule = rule_of(config, value_clip=0.1)
    (whole,) = stack(round_.fragments, 1, CPU)
    far = torch.full_like(whole.rewards, 5.0)
    rows = rule._picked(Rows(whole, torch.zeros_like(far), far, torch.zeros_like(far)), torch.arange(far.numel()))
    clipped = rule.loss(rows, 0.2, 0.0).sums[1] / whole.valid.sum()
    assert clipped > (5.0 - 0.1) ** 2 - 1e-3  # the pessimistic one


def test_an_update_ends_when_the_policy_has_gone_too_far():
    config, round_ = acted()
    free = rule_of(config, epochs=10, minibatches=2, learning_rate=0.05)
    held = rule_of(config, epochs=10, minibatches=2, learning_rate=0.05, target_kl=0.01)
    free.learn(round_)
    held.learn(round_)
    assert free.gradient_steps == 20
    assert 0 < held.gradient_steps < 20


def test_it_learns_which_arm_pays():
    """One of three actions always pays: the policy goes as far towards it as the clip lets it, and no further."""
    config, round_ = acted(shards=1)
    network = build_network(config, torch.Generator().manual_seed(1))
    settings = {"learning_rate": 0.01, "minibatches": 1, "epochs": 4, "policy_clip": Linear(0.2, 0.1, 1000)}
    rule = PPO(**settings).build(network, Computing(CPU), 3)
    paid = [dataclasses.replace(one, rewards=(one.actions == 1).astype(np.float32)) for one in round_.fragments]
    before = rule.network.scores(rule.network.encode(torch.tensor(paid[0].observations[0]))).softmax(-1)[:, 1].mean()
    for _ in range(10):
        rule.learn(Round(paid, None, 0))
    after = rule.network.scores(rule.network.encode(torch.tensor(paid[0].observations[0]))).softmax(-1)[:, 1].mean()
    assert before.item() == pytest.approx(1 / 3)
    assert 1.1 * before < after < 1.6 * before


def test_a_restored_rule_goes_on_alike():
    config, round_ = acted(Gru(8))
    first, second = rule_of(config, minibatches=3), rule_of(config, minibatches=3)
    first.learn(round_)
    second.restore(first.state(), first.gradient_steps)
    first.learn(round_)
    second.learn(round_)
    assert torch.equal(first.weights.vector, second.weights.vector)


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"policy_clip": -0.1}, "policy_clip"),
        ({"epochs": 0}, "epochs"),
        ({"target_kl": 0.0}, "target_kl"),
        ({"reward_clip": 1.0, "normalize_rewards": True}, "reward_clip"),
        ({"trace_decay": 1.5}, "trace_decay"),
    ],
)
def test_values_that_make_no_sense_are_refused(settings, key):
    with pytest.raises(ConfigError) as refused:
        PPO(**settings)
    assert refused.value.key == key


def test_a_replay_is_refused():
    with pytest.raises(ConfigError, match="PPO learns from fresh rounds only"):
        RunConfig(algorithm=PPO(), replay=Ath())
