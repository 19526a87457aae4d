"""Deep Q-learning's losses against plain numpy, and each of its switches."""

import dataclasses

import numpy as np
import pytest
import torch

from conftest import ROOT
from hydrahive.algorithms.base.rule import Computing, Round
from hydrahive.algorithms.q_config import DQN, EpsilonGreedy, Rainbow
from hydrahive.algorithms.returns import projected, quantile_huber
from hydrahive.core.fragment import MASKED
from hydrahive.core.replayed import Draw, Sample, Told, Transitions
from hydrahive.core.schedules import Linear
from hydrahive.core.streams import stream
from hydrahive.envs.gym.config import Gym
from hydrahive.policies.config import Mlp, PolicyConfig
from hydrahive.replay.config import Rows
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.roles.env_worker import build_network

ROWS, STEPS = 12, 3


def rule_of(slices=1, **options):
    config = RunConfig(env=Gym(id="CartPole-v1"), policy=PolicyConfig(Mlp([16])), algorithm=DQN(**options))
    network = build_network(config, torch.Generator().manual_seed(1))
    rule = config.algorithm.build(network, Computing(torch.device("cpu"), slices), seed=1)
    rule.on.flat["target"].vector.mul_(0.5)
    return rule


def transitions_of(seed=0, legal=0):
    random = np.random.default_rng(seed)
    steps = random.integers(1, STEPS + 1, ROWS)
    rewards = random.normal(size=(STEPS, ROWS)).astype(np.float32)
    rewards[np.arange(STEPS)[:, None] >= steps] = 0
    mask = random.random((ROWS, legal)) < 0.5
    if legal:
        mask[np.arange(ROWS), random.integers(0, legal, ROWS)] = True
    return Transitions(
        keys=np.arange(ROWS) * 7,
        observations=random.normal(size=(ROWS, 4)).astype(np.float32),
        actions=random.integers(0, 2, ROWS),
        rewards=rewards,
        steps=steps,
        terminated=random.random(ROWS) < 0.3,
        following=random.normal(size=(ROWS, 4)).astype(np.float32),
        legal=mask,
        probabilities=random.random(ROWS) / ROWS,
        rows=500,
    )


def learned(rule, *drawn, env_steps=0):
    return rule.learn(Round((), Sample(transitions=drawn), env_steps))


def outputs(network, observations):
    with torch.no_grad():
        return network.outputs(network.encode(torch.tensor(observations))).numpy()


@pytest.mark.parametrize("legal", [0, 2])
@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("delta", [0.5, None])
def test_the_loss_is_that_of_n_step_double_q_learning_with_importance(double, delta, legal):
    options = {"n_step": STEPS, "discount": 0.9, "importance": 0.7, "double": double, "huber_delta": delta}
    rule, drawn = rule_of(**options, reward_clip=1.0), transitions_of(legal=legal)
    online, target = rule.network, rule.on.others["target"]
    taken = outputs(online, drawn.observations)[np.arange(ROWS), drawn.actions, 0]
    judged = outputs(target, drawn.following)[..., 0]
    chooses = outputs(online if double else target, drawn.following)[..., 0]
    chooses = np.where(drawn.legal, chooses, -np.inf) if legal else chooses
    losses, errors = [], []
    for i in range(ROWS):
        aim = sum(0.9**k * np.clip(drawn.rewards[k, i], -1, 1) for k in range(STEPS))
        if not drawn.terminated[i]:
            aim += 0.9 ** drawn.steps[i] * judged[i, chooses[i].argmax()]
        apart = abs(aim - taken[i])
        squared = delta is None or apart <= delta
        losses.append(apart**2 / 2 if squared else delta * (apart - delta / 2))
        errors.append(apart)
    weights = (drawn.rows * drawn.probabilities) ** -0.7
    weights /= weights.max()
    figures = learned(rule, drawn)
    np.testing.assert_allclose(figures["loss"], (weights * losses).mean(), rtol=1e-5)
    np.testing.assert_allclose(figures["td_error"], np.mean(errors), rtol=1e-5)
    judgement = rule.judgement()
    np.testing.assert_array_equal(judgement.keys, drawn.keys)
    np.testing.assert_allclose(judgement.errors, errors, rtol=1e-4)
    assert rule.judgement() is None, "it is told once"


def test_a_distribution_over_other_returns_becomes_one_over_the_supports():
    random, support = np.random.default_rng(0), torch.linspace(-2, 3, 11)
    returns = torch.tensor(random.normal(0, 3, (40, 11)), dtype=torch.float32)
    returns[0] = support  # exactly on them
    probabilities = torch.tensor(random.dirichlet(np.ones(11), 40), dtype=torch.float32)
    onto = projected(returns, probabilities, support).numpy()
    for s in range(40):
        expected = np.zeros(11)
        for value, share in zip(returns[s].clamp(-2, 3).tolist(), probabilities[s].tolist(), strict=True):
            near = np.maximum(0, 1 - np.abs(value - support.numpy()) / 0.5)  # a hat of each of the support's values
            expected += share * near
        np.testing.assert_allclose(onto[s], expected, atol=1e-5)
    np.testing.assert_allclose(onto[0], probabilities[0], atol=1e-6)
    np.testing.assert_allclose(onto.sum(1), 1, atol=1e-5)


def test_the_quantile_loss_is_smallest_at_the_quantiles():
    random = np.random.default_rng(0)
    samples = torch.tensor(random.exponential(1.0, (1, 4_000)), dtype=torch.float64)
    quantiles = torch.zeros((1, 5), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([quantiles], lr=0.02)
    for _ in range(800):
        optimizer.zero_grad()
        quantile_huber(quantiles, samples, 1e-3).sum().backward()
        optimizer.step()
    np.testing.assert_allclose(
        quantiles.detach()[0], np.quantile(samples, [0.1, 0.3, 0.5, 0.7, 0.9]), rtol=0.05, atol=0.02
    )


@pytest.mark.parametrize(
    "options", [{}, {"distribution": "categorical"}, {"distribution": "quantiles"}, {"duelling": True}]
)
def test_slices_sum_to_the_whole_gradient(options):
    rules = [rule_of(slices, **options) for slices in (1, 3)]
    for rule in rules:
        learned(rule, transitions_of())
    np.testing.assert_allclose(*(rule.weights.numpy() for rule in rules), atol=1e-6)


def test_noise_is_each_rows_own_and_gone_when_nobody_acts():
    rule = rule_of(noisy=True, duelling=True)
    network, same = rule.network, torch.ones((6, 4))
    with torch.no_grad():
        quiet = network.scores(network.encode(same))
        with network.stirred(lambda: stream(1, "noise", 0), 6):
            noisy = network.scores(network.encode(same))
        with network.stirred(lambda: stream(1, "noise", 0), 6):
            again = network.scores(network.encode(same))
        with network.stirred(lambda: stream(1, "noise", 1), 6):
            other = network.scores(network.encode(same))
        rows = 200_000
        with network.stirred(lambda: stream(1, "noise", 0), rows):
            many = network.head(network.encode(torch.ones((1, 4))).expand(rows, -1))
        mean = network.head(network.encode(torch.ones((1, 4))))[0]
        features = network.encode(torch.ones((1, 4)))[0]
    assert (quiet == quiet[0]).all()
    assert len(torch.unique(noisy[:, 0])) == 6
    assert torch.equal(noisy, again)
    assert not torch.equal(noisy, other)
    np.testing.assert_allclose(many.mean(0), mean, atol=5e-3)
    # Var = sum_i E[f_i^2] E[f_o^2] sigma^2 x_i^2 + sigma^2 E[f_o^2], E[f^2] = E|x| = sqrt(2 / pi)
    once = np.sqrt(2 / np.pi)
    deviation = 0.5 / 4
    expected = deviation**2 * (once**2 * float(features.square().sum()) + once)
    np.testing.assert_allclose(many.var(0), [expected] * 2, rtol=0.03)


def test_noise_is_learned_and_another_in_each_gradient_step():
    rule = rule_of(noisy=True)
    before = rule.network.head.weight_deviation.clone()
    learned(rule, transitions_of(), transitions_of(1))
    assert not torch.equal(before, rule.network.head.weight_deviation)
    first, second = (rule_of(noisy=True) for _ in range(2))
    second.on.optimizer.steps = 5
    losses = [learned(one, transitions_of())["loss"] for one in (first, second)]
    assert losses[0] != losses[1]


def test_the_target_is_copied_as_often_as_it_should():
    rule = rule_of(target_every=3, target_update=1.0)
    target = rule.on.flat["target"].vector
    before = target.clone()
    learned(rule, transitions_of(), transitions_of(1))
    assert torch.equal(target, before)
    learned(rule, transitions_of(2))
    assert torch.equal(target, rule.weights.vector)
    learned(rule, transitions_of(3))
    assert not torch.equal(target, rule.weights.vector)


def test_gradient_steps_follow_env_steps():
    every = DQN(warm_up=100, env_steps_per_gradient_step=3.0, batch=5)
    rounds = [(before, before + 64) for before in range(0, 6_400, 64)]
    drawn = [every.wants(Told(after, before, 0)) for before, after in rounds]
    assert {draw.size for draw in drawn} == {5}
    assert drawn[0].batches == 0
    assert sum(draw.batches for draw in drawn) == (6_400 - 100) // 3
    several = DQN(warm_up=0, env_steps_per_gradient_step=0.5)
    assert several.wants(Told(64, 32, 0)) == Draw(64, 32)


def test_only_what_is_legal_is_drawn_and_each_equally_often():
    network = rule_of(exploration=EpsilonGreedy(0.4, 0.4, over_env_steps=1)).network
    scores = torch.tensor([[3.0, MASKED], [MASKED, -5.0], [1.0, 2.0]])
    probabilities = network.behaviour(scores, 0.0).exp()
    np.testing.assert_allclose(probabilities, [[1, 0], [0, 1], [0.2, 0.8]], atol=1e-6)
    assert (network.behaviour(scores, 0.0)[0, 1] == np.float32(MASKED)).all()


def test_rainbow_is_dqn_with_its_improvements_and_prioritised_rows():
    config = RunConfig(env=Gym(id="CartPole-v1"), policy=PolicyConfig(Mlp([16])), algorithm=Rainbow())
    assert config.replay == Rows(priority_exponent=0.5)
    on = {"double", "duelling", "noisy"}
    assert all(getattr(config.algorithm, key) for key in on)
    assert (config.algorithm.n_step, config.algorithm.distribution) == (3, "categorical")
    assert RunConfig(env=Gym(id="CartPole-v1"), policy=PolicyConfig(Mlp([16])), algorithm=DQN()).replay == Rows()
    beta = dataclasses.replace(config.algorithm, importance=Linear(0.4, 1.0, 1_000))
    assert beta.changeable >= {"learning_rate", "importance", "target_every"}


def test_illegal_actions_are_never_taken(hydrahive):
    """Cards ends an episode as a cheat's when an illegal action is taken, at -10."""
    hydrahive.environment["PYTHONPATH"] = str(ROOT / "tests" / "games")
    options = ["--env.id", "games:Cards-v0", "--algorithm", "Rainbow", "--algorithm.warm_up", 200]
    options += ["--algorithm.env_steps_per_gradient_step", 16, "--fragment_length", 16, "--stop.env_steps", 8_000]
    hydrahive.train("cartpole/vtrace", "legal", *options, "--workers", 0)
    assert hydrahive.summary("legal")["score_mean"] > 0
