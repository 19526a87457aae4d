"""Double Q-learning on sequences: its targets from the paper, its target network, its exploration."""

import numpy as np
import pytest
import torch

from conftest import full_only
from hydrahive.algorithms.base.rule import Computing, Round
from hydrahive.algorithms.q_config import AthQ, EpsilonGreedy
from hydrahive.core.errors import ConfigError
from hydrahive.core.replayed import Sample, Sequences
from hydrahive.envs.snake.config import Snake
from hydrahive.policies.config import Gru, Lstm, Mlp, PolicyConfig, Rnn
from hydrahive.policies.exploration import Detours
from hydrahive.replay.config import Ath
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.roles.env_worker import build_network
from hydrahive.runtime.roles.shard import Shard

SIZE = 6


def rule_of(core="none", **options):
    options = {"learning_rate": 0.01, "discount": 0.9, "target_update": 0.25, **options}
    config = RunConfig(
        env=Snake(size=SIZE, window=3), policy=PolicyConfig(Mlp([12]), core), algorithm=AthQ(**options), replay=Ath()
    )
    network = build_network(config, torch.Generator().manual_seed(3))
    return config.algorithm.build(network, Computing(torch.device("cpu")), seed=1)


def sequences_of(steps=5, count=4, seed=0, memory=0):
    random = np.random.default_rng(seed)
    terminated = np.zeros((steps, count), np.bool_)
    terminated[-1, : count // 2] = True
    return Sequences(
        observations=random.normal(size=(steps + 1, count, 17)).astype(np.float32),
        actions=random.integers(0, 3, (steps, count)),
        behaviour=np.zeros((steps, count, 3), np.float32),
        rewards=random.normal(size=(steps, count)).astype(np.float32),
        terminated=terminated,
        truncated=np.zeros_like(terminated),
        valid=np.ones_like(terminated),
        burn_in=np.zeros(count, np.int64),
        memory=np.zeros((count, memory), np.float32),
    )


def round_of(*batches, env_steps=0, stagnant=False):
    return Round((), Sample(batches, stagnant), env_steps)


def test_the_loss_is_that_of_double_q_learning():
    rule, sequences = rule_of(), sequences_of()
    rule.on.flat["target"].vector.mul_(0.5)
    with torch.no_grad():
        observations = torch.tensor(sequences.observations)
        online = rule.network.scores(rule.network.encoder(observations.flatten(0, 1))).view(6, 4, 3).numpy()
        judged = (
            rule.target_network.scores(rule.target_network.encoder(observations.flatten(0, 1))).view(6, 4, 3).numpy()
        )
    losses = []
    for t in range(5):
        for s in range(4):
            best = online[t + 1, s].argmax()
            following = 0.0 if sequences.terminated[t, s] else judged[t + 1, s, best]
            error = abs(sequences.rewards[t, s] + 0.9 * following - online[t, s, sequences.actions[t, s]])
            losses.append(0.5 * error**2 if error <= 1 else error - 0.5)
    assert rule.learn(round_of(sequences))["loss"] == pytest.approx(np.mean(losses), rel=1e-4)


def test_the_target_follows_slowly_and_each_batch_is_a_gradient_step():
    rule = rule_of()
    before = rule.on.flat["target"].numpy()
    rule.learn(round_of(sequences_of()))
    np.testing.assert_allclose(rule.on.flat["target"].numpy(), 0.75 * before + 0.25 * rule.weights.numpy(), atol=1e-6)
    rule.learn(round_of(*(sequences_of(seed=seed) for seed in range(3))))
    assert rule.gradient_steps == 4
    learned_nothing = rule.weights.numpy()
    rule.learn(round_of())
    np.testing.assert_array_equal(rule.weights.numpy(), learned_nothing)


@pytest.mark.parametrize("core", [pytest.param(Rnn(8), marks=full_only), Gru(8), Lstm(8, layers=2)])
def test_every_kind_of_memory_learns_and_is_restored_with_its_target(core):
    rule, other = rule_of(core, dropout=0.2), rule_of(core, dropout=0.2)
    batches = [sequences_of(seed=seed, memory=core.memory_size) for seed in range(40)]
    losses = [rule.learn(round_of(batch))["loss"] for batch in batches[:1] * 40]
    assert losses[-1] < 0.85 * losses[0]
    other.restore(rule.state(), rule.gradient_steps)
    rule.learn(round_of(*batches[:3]))
    other.learn(round_of(*batches[:3]))
    np.testing.assert_array_equal(rule.weights.numpy(), other.weights.numpy())
    np.testing.assert_array_equal(rule.on.flat["target"].numpy(), other.on.flat["target"].numpy())


def test_dropout_differs_from_slice_to_slice():
    rule = rule_of(dropout=0.5)
    features = torch.ones(4, 3, 12)
    first, again, other = (rule._dropped(features, place) for place in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert set(first.unique().tolist()) == {0.0, 2.0}


def test_observations_are_normalised_for_both_networks():
    config = RunConfig(env=Snake(size=SIZE, window=3), policy=PolicyConfig(Mlp([12]), normalize=True), algorithm=AthQ())
    network = build_network(config, torch.Generator().manual_seed(3))
    shard = Shard(config, "run", 0, config.env.make_vector(config.envs_per_shard))
    fragment, _ = shard.simulate(0, 0, network)
    rule = config.algorithm.build(network, Computing(torch.device("cpu")), seed=1)
    rule.learn(Round([fragment], None, 0))
    seen = fragment.observations[:-1][fragment.valid]
    for one in (rule.network, rule.target_network):
        np.testing.assert_allclose(one.observation_mean.numpy(), seen.mean(0), atol=1e-5)
    other = config.algorithm.build(build_network(config, torch.Generator()), Computing(torch.device("cpu")), seed=1)
    other.restore(rule.state(), rule.gradient_steps)
    np.testing.assert_array_equal(other.weights.numpy(), rule.weights.numpy())
    assert other.state().keys() == rule.state().keys()


def test_epsilon_decays_with_episodes_or_along_a_line():
    by_episode = EpsilonGreedy(start=0.9, decay=0.5, end=0.0, snap=0.01)
    assert [by_episode.epsilon(0, episodes) for episodes in (0, 1, 2, 7)] == [0.9, 0.45, 0.225, 0.0]
    line = EpsilonGreedy(start=1.0, end=0.1, over_env_steps=100)
    assert [line.epsilon(steps, 99) for steps in (0, 50, 100, 1000)] == pytest.approx([1.0, 0.55, 0.1, 0.1])


def test_actions_are_epsilon_greedy_and_later_shards_explore_less():
    rule = rule_of(exploration=EpsilonGreedy(start=0.3, ladder=1.0))
    scores = torch.tensor([[1.0, 3.0, 2.0]])
    first, last = (rule.network.behaviour(scores, rank).exp()[0] for rank in (0.0, 1.0))
    torch.testing.assert_close(first, torch.tensor([0.1, 0.8, 0.1]))
    torch.testing.assert_close(last, torch.tensor([0.03, 0.94, 0.03]))
    rule.network.exploration.zero_()
    assert rule.network.behaviour(scores, 0.0).exp()[0].tolist() == [0.0, 1.0, 0.0]


def test_careful_detours_are_on_only_when_stagnant_and_done_exploring():
    rule = rule_of(exploration=EpsilonGreedy(start=0.5, decay=1.0, careful=True))
    rule.learn(round_of(stagnant=True))
    assert not rule.network.is_careful
    rule = rule_of(exploration=EpsilonGreedy(start=0.0, careful=True))
    rule.learn(round_of(stagnant=True))
    assert rule.network.is_careful
    rule.learn(round_of(stagnant=False))
    assert not rule.network.is_careful


def test_detours_take_another_action_that_is_not_fatal():
    behaviour = np.log(
        np.array([[0.0, 1.0, 0.0]] * 4, np.float32),
        where=[[False, True, False]] * 4,
        out=np.full((4, 3), -np.inf, np.float32),
    )
    fatal = np.array([[0, 0, 0], [1, 1, 0], [1, 0, 1], [0, 0, 1]], np.bool_)
    left, draws = np.array([0, 0, 5, 0]), np.array([0.0, 0.0, 0.9, 0.9])
    counts = Detours(0.5, 3).apply(behaviour, np.ones(4, np.int64), fatal, left, draws)
    np.testing.assert_allclose(np.exp(behaviour), [[0.5, 0, 0.5], [0, 0, 1], [0, 1, 0], [0, 1, 0]], atol=1e-6)
    assert left.tolist() == [2, 2, 4, 0]
    assert counts.tolist() == [4, 2, 1, 2, 1]


def test_each_kind_of_memory_has_its_defaults():
    rates = {
        core: RunConfig(policy=PolicyConfig(core=kind), algorithm=AthQ(), replay=Ath()).algorithm
        for core, kind in {"none": "none", "rnn": Rnn(), "gru": Gru(), "lstm": Lstm()}.items()
    }
    assert all(algorithm.learning_rate and algorithm.discount for algorithm in rates.values())
    assert rates["rnn"].discount != rates["gru"].discount
    assert RunConfig(algorithm=AthQ(discount=0.5)).algorithm.discount == 0.5


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"algorithm": AthQ(exploration=EpsilonGreedy(careful=True)), "replay": None}, "algorithm.exploration.careful"),
        (
            {"algorithm": AthQ(exploration=EpsilonGreedy(careful=True)), "replay": Ath(stagnation_episodes=None)},
            "algorithm.exploration.careful",
        ),
        ({"replay": Ath(capacity=1_100, ratio=1.0)}, "replay.ratio"),
        ({"replay": Ath(), "schedule": "free-running"}, "schedule"),
    ],
)
def test_what_does_not_go_together_is_refused(options, key):
    with pytest.raises(ConfigError) as refused:
        RunConfig(**options)
    assert refused.value.key == key
